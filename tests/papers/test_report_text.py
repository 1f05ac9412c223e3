"""Text of a report is true of the run, whatever its options: descriptions, captions, published numbers."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spikeloom.cli.find import find_task
from spikeloom.cli.help import tasks
from spikeloom.papers.diehl_cook import nmnist
from spikeloom.papers.lsnn import store_recall
from spikeloom.plot.curves import Panel, learning_curves
from spikeloom.train import experiment
from spikeloom.train.figures import plot_learning_curves
from spikeloom.train.run import Run

ABOUT_OTHERS = ("Paper:", "Source:", "Sources:", "Data:")
FACTS = {  # numbers that hold with any options
    "babi": "an error of at most 5 %",
    "concentration": "needs 5.33 flips of four cards and 8.67 of six; a random card that is down each time, 8 and 18",
}
NAMES = ("N-TIDIGITS18", "10 x 10 taxels", "64 channels")


@pytest.mark.parametrize("name", tasks())
def test_a_description_holds_for_all_options(name: str) -> None:
    module = find_task(name)
    paragraphs = [" ".join(text.split()) for text in str(module.__doc__).split("\n\n")]
    own = " ".join(text for text in paragraphs if not text.startswith(ABOUT_OTHERS))
    for fact in (FACTS.get(name, "none of its own"), *NAMES):
        own = own.replace(fact, "")
    assert re.findall(r"\S*\d\S*", own) == []
    fields = {field.replace("-", "_") for field in re.findall(r"`-*(\w[\w-]*)`", own)}
    known = {*module.PRESETS, *vars(module), *vars(module.PRESETS["smoke"]), *vars(next(iter(module.PRESETS.values())))}
    assert fields - known - {*tasks(), "real_accuracy", "camera", "nmnist"} == set()


def test_only_a_network_that_learned_from_nmnist_is_compared_with_it() -> None:
    start = nmnist.PRESETS["default"]
    assert set(experiment.published(nmnist, replace(start, recordings="nmnist"))) == {"accuracy", "accuracy_rate"}
    assert experiment.published(nmnist, replace(start, recordings="camera")) == {}


@pytest.mark.parametrize(("model", "adapts"), [("lsnn", True), ("lif", False), ("lstm", False)])
def test_a_caption_names_adaptive_thresholds_only_where_there_are_some(
    model: Any, adapts: bool, tmp_path: Path
) -> None:
    options = replace(store_recall.PRESETS["smoke"], model=model)
    run = Run(tmp_path, "store_recall", "smoke", 0, quiet=True)
    store_recall.train(options, run)
    store_recall.plot(options, run)
    caption = run.read_json("figures/captions.json")["sequence"]
    assert ("adaptive thresholds" in caption) == adapts


def test_a_caption_speaks_of_an_average_only_where_one_is_drawn(tmp_path: Path) -> None:
    for updates, smoothed in ((6, False), (100, True)):
        run = Run(tmp_path / str(updates), "t", "p", 0, quiet=True)
        lines = [{"update": n, "loss": 1.0 / n} for n in range(1, updates + 1)]
        plot_learning_curves(run, "Learning", {"loss": {"training": "loss"}}, {}, 20, lines=lines)
        caption = run.read_json("figures/captions.json")["learning_curves"]
        assert ("moving average" in caption) == smoothed
        panel = Panel("loss", {"training": ([line["update"] for line in lines], [1.0] * updates)}, smooth=20)
        drawn = learning_curves([panel]).axes[0].lines
        assert any("moving average of 20 points" in str(line.get_label()) for line in drawn) == smoothed
