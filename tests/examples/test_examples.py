"""Every example runs, in at most 60 lines."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))
SHORT = {"sparse_mlp.py": ["500"], "behaviours.py": ["behaviours.png"]}
DATA = {"sparse_mlp.py": "mnist"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example(path: Path, tmp_path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 60
    needed = Path(os.environ.get("SPIKELOOM_DATA", "")) / DATA.get(path.name, "")
    if path.name in DATA and not ("SPIKELOOM_DATA" in os.environ and needed.is_dir()):
        pytest.skip(f"needs the {DATA[path.name]} files in $SPIKELOOM_DATA")
    environment = os.environ | {"PYTHONPATH": str(path.parents[1])}
    if "SPIKELOOM_DATA" in environment:  # which may be relative, and the example runs elsewhere
        environment["SPIKELOOM_DATA"] = str(Path(environment["SPIKELOOM_DATA"]).resolve())
    done = subprocess.run(
        [sys.executable, path, *SHORT.get(path.name, [])],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    if path.name == "behaviours.py":
        assert (tmp_path / "behaviours.png").stat().st_size > 10_000
        return
    losses = [float(line.split()[3]) for line in done.stdout.splitlines() if "  loss " in line]
    assert losses[-1] < losses[0]


def test_every_behaviour_is_what_its_name_says() -> None:
    from examples.behaviours import behaviours

    when = {
        behaviour.name: [step for step, fired in enumerate(behaviour.spikes) if fired] for behaviour in behaviours()
    }
    assert len(when["tonic spiking (T)"]) > 50  # as long as the current lasts
    assert min(when["class 2 (T)"]) > 50  # only once the ramp is high enough
    assert when["coincidence (T)"] == [22, 23]  # two pulses together, not those far apart
    assert when["phasic spiking (D)"] == [20]  # at the onset only
    assert when["phasic bursting (D)"] == list(range(20, 29))
    assert when["rebound (D)"] == [60]  # when the inhibition ends
    assert min(when["accommodation (D)"]) > 85  # the fast ramp, not the slow one
    assert when["threshold varies (D)"] == [80]  # excitation right after inhibition, neither alone
