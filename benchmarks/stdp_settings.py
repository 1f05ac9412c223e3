"""Settings of learning without a teacher, compared on 5,000 training images that are held out of learning and naming.

No test image is seen: `--held-out 5000` puts training images in their place. Runs that are there are not made again, so
the command goes on where it was stopped; all together take about an hour on one core.

    python -m benchmarks.stdp_settings FOLDER_OF_THE_RUNS --only 400
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from . import measure

HELD_OUT = 5000
Setting = dict[str, float]
# Network: task, preset, seeds, settings; {} is the preset. The camera is compared after one pass.
NETWORKS: dict[str, tuple[str, str, int, list[Setting]]] = {
    "400": (
        "stdp_mnist", "default", 2,
        [{}, {"homeostasis_step": 0.05}, {"homeostasis_step": 0.1}, {"homeostasis_step": 0.05, "lr_end": 1.0}],
    ),
    "100": ("stdp_mnist", "100", 1, [{}, {"homeostasis_step": 0.02}, {"homeostasis_step": 0.05}]),
    "camera": (
        "nmnist", "default", 1,
        [{"epochs": 1, **other} for other in ({}, {"gain": 2.0}, {"gain": 4.0}, {"homeostasis_step": 0.05})],
    ),
    "1600": ("stdp_mnist", "1600", 1, [{}, {"epochs": 1}, {"epochs": 1, "homeostasis_step": 0.1}]),
}  # fmt: skip


def accuracy(task: str, preset: str, setting: Setting, seed: int, folder: Path) -> float:
    """By all activity, of one run."""
    words = [word for name, value in setting.items() for word in (f"--{name.replace('_', '-')}", f"{value:g}")]
    if not (folder / "result.json").is_file():
        command = ["resume", str(folder)]
        if not (folder / "config.json").is_file():
            command = ["train", task, "--preset", preset, "--seed", str(seed), "--out", str(folder)]
            command += ["--held-out", str(HELD_OUT), "--figures", "0", *words]
        subprocess.run([sys.executable, "-m", "spikeloom", *command], check=True, stdout=subprocess.DEVNULL)
    value: float = json.loads((folder / "result.json").read_text())["test"]["accuracy"]
    return value


def compare(name: str, runs: Path) -> dict[str, Any]:
    """All settings of one network."""
    task, preset, seeds, settings = NETWORKS[name]
    rows = []
    for setting in settings:
        label = ", ".join(f"{key} {value:g}" for key, value in setting.items()) or "as the preset"
        found = [accuracy(task, preset, setting, seed, runs / f"{name}, {label}, seed {seed}") for seed in range(seeds)]
        rows.append({"setting": label, "held_out_accuracy": found, "mean": sum(found) / len(found)})
        print(name, rows[-1], flush=True)
    return {"name": name, "settings": {"task": task, "preset": preset, "held_out": HELD_OUT}, "rows": rows}


def main() -> None:
    """Compare and save."""
    given = measure.options(__doc__, rounds=1, run=True)
    names = [name for name in NETWORKS if not given.only or name in given.only]
    measure.save("stdp_settings", __doc__, given, [compare(name, given.run) for name in names])


if __name__ == "__main__":
    main()
