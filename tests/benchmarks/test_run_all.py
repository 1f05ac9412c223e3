"""Everything that has a results file is measured by one command."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks import measure, run_all


def test_every_results_file_has_its_script() -> None:
    names = {json.loads(path.read_text())["name"] for path in measure.RESULTS.glob("*.json")}
    choices = {"hearing", "stdp_settings"}  # accuracies by which settings were chosen: hours, and no claim of speed
    changes = {"against_commit"}  # what one change cost, measured when it was made
    assert names - choices - changes <= {script for script, _, _ in run_all.RUNS}
    assert {"stdp", "conversion"} <= names


def test_what_is_converted_is_trained_first_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def started(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, returncode=len(commands) - 1)

    monkeypatch.setattr(run_all, "TRAINED", tmp_path / "relu")
    monkeypatch.setattr(subprocess, "run", started)
    run_all.prepare()
    assert commands[0][-2:] == ["--out", str(tmp_path / "relu")]
    with pytest.raises(SystemExit, match="was not trained"):
        run_all.prepare()
    (tmp_path / "relu").mkdir()
    run_all.prepare()
    assert len(commands) == 2
