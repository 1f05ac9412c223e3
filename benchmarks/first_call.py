"""Cost of the first call: seconds in a new process, with an empty kernel cache and with a full one.

`import` is `import spikeloom` with torch; `first` builds the layer and runs it forward and backward for the first
time, `second` does it again.
"""

import json
import os
import subprocess
import sys
import tempfile
from typing import Any

from . import measure

LAYERS = {
    "LIF": "from spikeloom.neurons import LIF; layer = LIF()",
    "ALIF": "from spikeloom.neurons import ALIF; layer = ALIF()",
    "LSNN": "from spikeloom.papers.lsnn.network import LSNN; layer = LSNN(8, 4, 4, 2)",
}


ONCE = """
import json, time
moments = [time.perf_counter()]
import torch
import spikeloom
moments.append(time.perf_counter())
{layer}
for _ in range(2):
    out = layer(torch.rand(20, 4, 8, requires_grad=True))[0]
    (out if isinstance(out, torch.Tensor) else out[0]).sum().backward()
    moments.append(time.perf_counter())
print(json.dumps([after - before for before, after in zip(moments, moments[1:])]))
"""
"""A program of its own, so that nothing is imported when its clock starts."""


def in_own_process(name: str, cache: str) -> dict[str, float]:
    """Seconds of each part in a new process, with this folder as the kernel cache."""
    command = [sys.executable, "-c", ONCE.format(layer=LAYERS[name])]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "SPIKELOOM_CACHE": cache}
    )
    return dict(zip(("import", "first", "second"), json.loads(done.stdout), strict=True))


def layer(name: str, rounds: int) -> dict[str, Any]:
    """One layer: per round an empty cache, then the cache that this left."""
    empty, full = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            empty.append(in_own_process(name, cache))
            full.append(in_own_process(name, cache))

    def summary(times: list[dict[str, float]]) -> dict[str, dict[str, float]]:
        return {part: measure.spread([time[part] for time in times]) for part in times[0]}

    return {"name": name, "seconds": {"empty cache": summary(empty), "full cache": summary(full)}}


if __name__ == "__main__":
    options = measure.options(__doc__, rounds=3)
    done = [layer(name, options.rounds) for name in LAYERS if not options.only or name in options.only]
    for work in done:
        for cache, parts in work["seconds"].items():
            print(
                f"{work['name']:6s}{cache:12s}",
                *(f"{part} {value['median']:7.3f} s  " for part, value in parts.items()),
            )
    measure.save("first_call", __doc__, options, done)
