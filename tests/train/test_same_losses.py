"""Two processes that share a batch train the network that one process would."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from spikeloom import cli
from spikeloom.train import checkpoint

DATA = os.environ.get("SPIKELOOM_DATA", "")
OPTIONS = ["--downsampled", "--delays", "4", "--n-regular", "20", "--n-adaptive", "20", "--n-in", "20"]
OPTIONS += ["--connectivity", "0.3", "--updates", "12", "--validate-every", "12", "--validation-images", "64"]
OPTIONS += ["--rate-cost", "100", "--figures", "0", "--temperature", "1e-8", "--lr-decay-every", "5"]


def train(folder: Path, ranks: int, batch: int) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    command = ["train", "sequential_mnist", "--preset", "smoke", "--out", str(folder), *OPTIONS]
    command += ["--batch-train", str(batch)]
    if ranks == 1:
        torch.set_num_threads(1)
        assert cli.main(command) == 0
    else:
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*launch, "-m", "spikeloom", *command], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return lines, checkpoint.load(folder / "checkpoints" / "last.pt")["parts"]["model"]


@pytest.mark.slow
@pytest.mark.skipif(not (Path(DATA) / "mnist").is_dir(), reason="needs the MNIST files: set SPIKELOOM_DATA")
def test_two_ranks_have_the_losses_of_one_process_with_the_whole_batch(tmp_path: Path) -> None:
    one, model = train(tmp_path / "one", 1, 32)
    two, shared = train(tmp_path / "two", 2, 16)
    assert len(one) == len(two) == 12
    for alone, together in zip(one, two, strict=True):
        # sums over the batch in another order: the last bits of float32 differ
        assert together["loss"] == pytest.approx(alone["loss"], rel=1e-5)
        for name in ("active_inputs", "active_recurrent", "active_output", "synapses_created", "lr"):
            assert together[name] == alone[name], name
    for name in model:
        torch.testing.assert_close(shared[name], model[name], rtol=1e-3, atol=1e-5)
    theta = "hidden.synapse.theta"
    assert torch.equal(shared[theta] > 0, model[theta] > 0)
