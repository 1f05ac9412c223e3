"""Figures show the numbers they are given, say what their axes are, and can be drawn."""

import io
import struct

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from spikeloom.papers.hebbian_memory.draw_memory import populations
from spikeloom.papers.lsnn.draw_episode import digit, recall
from spikeloom.plot.confusion import confusion
from spikeloom.plot.curves import Panel, learning_curves, running_mean
from spikeloom.plot.images import labelled
from spikeloom.plot.raster import Rows, layered, raster, rate_histogram
from spikeloom.plot.traces import draw_thresholds, most_adapting, most_varying, softmax


def drawn_width(figure: Figure) -> int:
    """Pixels of the figure as a run saves it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=120, bbox_inches="tight")
    width: int = struct.unpack(">I", buffer.getvalue()[16:20])[0]
    return width


def ticks(axes: Axes) -> list[tuple[float, float]]:
    """(row, time) of every spike in a raster."""
    lines = [line for part in axes.collections if isinstance(part, LineCollection) for line in part.get_segments()]
    return [((line[0][1] + line[1][1]) / 2, line[0][0]) for line in lines]


@pytest.fixture
def hidden() -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    return {name: (random.random((60, n)) < 0.1).astype(float) for name, n in (("regular", 4), ("adaptive", 3))}


def test_a_raster_has_a_tick_for_every_spike_at_its_time() -> None:
    first, second = np.zeros((5, 2)), np.zeros((5, 1))
    first[1, 0] = first[4, 1] = second[2, 0] = 1
    figure = raster([Rows("a", first), Rows("b", second, bands=[(0.0, 1.0)])], dt=0.5)
    axes = figure.axes[0]
    assert ticks(axes) == [(0, 0.5), (1, 2.0), (2, 1.0)]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert axes.get_xlim() == (0, 2.5)
    assert drawn_width(figure) > 900


def test_rasters_take_tensors_and_batches() -> None:
    spikes = torch.zeros(5, 3, 2, requires_grad=True)
    with torch.no_grad():
        spikes[1, 0, 0] = spikes[4, 2, 1] = 1
    assert ticks(raster(spikes).axes[0]) == [(0, 1.0)]
    assert ticks(raster(spikes[:, 2]).axes[0]) == [(1, 4.0)]
    assert ticks(raster([Rows("a", spikes.to(torch.bfloat16), sample=2)]).axes[0]) == [(1, 4.0)]
    assert ticks(raster(spikes.detach().numpy(), dt=0.5).axes[0]) == [(0, 0.5)]
    assert ticks(raster(spikes.detach()[:, 0].tolist()).axes[0]) == [(0, 1.0)]
    names = [label.get_text() for label in raster({"input": spikes, "hidden": spikes}).axes[0].get_yticklabels()]
    assert names == ["input", "hidden"]
    assert [axes.get_ylabel() for axes in layered({"input": spikes, "hidden": spikes > 0}).axes] == ["input", "hidden"]
    images = torch.zeros(5, 3, 2, 4, 4)
    assert Rows("maps", images).spikes.shape == (5, 32)
    with pytest.raises(ValueError, match=r"Rows needs spikes \[T, N\] or \[T, B, \*N\], but got \[5\]"):
        Rows("a", np.zeros(5))
    with pytest.raises(ValueError, match="Rows has 3 samples, but was asked for 3"):
        Rows("a", spikes, sample=3)


def test_other_figures_take_tensors() -> None:
    rates = rate_histogram({"hidden": torch.tensor([0.0, 5.0], requires_grad=True)}).axes[0]
    assert sum(part.get_height() for group in rates.containers for part in group) == 2
    assert softmax(torch.zeros(2, 4, requires_grad=True)).tolist() == [[0.25] * 4] * 2
    assert most_varying(torch.tensor([[0.0, 0.0], [0.0, 2.0]]), 1).tolist() == [1]
    assert most_adapting(torch.tensor([[1.0, 1.0, 4.0]])).tolist() == [2]
    assert confusion(torch.eye(3)).axes[0].get_title() == "Confusion: 100.0% right"
    assert len(labelled(torch.zeros(2, 4, 4), ["a", "b"]).axes) == 2
    axes = Figure().add_subplot()
    draw_thresholds(axes, torch.rand(5, 3))
    assert len(axes.lines) == 3


def test_the_rate_histogram_counts_every_neuron() -> None:
    figure = rate_histogram({"regular": np.array([0.0, 5.0, 5.0]), "adaptive": np.array([30.0])}, target=10.0)
    axes = figure.axes[0]
    assert sum(part.get_height() for group in axes.containers for part in group) == 4
    legend = axes.get_legend()
    assert legend is not None
    labels = [text.get_text() for text in legend.get_texts()]
    assert set(labels) == {"regular (3), mean 3.3 Hz", "adaptive (1), mean 30.0 Hz", "target 10 Hz"}
    assert drawn_width(figure) > 700


def test_silent_neurons_can_be_counted() -> None:
    assert drawn_width(rate_histogram({"all": np.zeros(4)})) > 700


def test_the_recall_figure_shows_input_hidden_answer_and_thresholds(hidden: dict[str, np.ndarray]) -> None:
    groups = np.array([[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]], dtype=bool)
    inputs = np.zeros((60, 8))
    inputs[21, 2] = 1  # the first neuron of group 1, during the second symbol
    logits = np.zeros((60, 2))
    averages = np.array([[0.0, 0.0], [0.0, 0.0], [0.0, np.log(3.0)]])
    arguments = (inputs, groups, ("zero", "one", "store", "recall"), hidden, logits, averages, np.array([0, 0, 1]))
    figure = recall(*arguments, np.array([False, False, True]), np.random.default_rng(2).random((60, 3)))
    top, middle, answer, thresholds = figure.axes
    assert ticks(top) == [(2, 21.0)]
    assert len(ticks(middle)) == sum(spikes.sum() for spikes in hidden.values())
    levels = [
        segment[0][1] for part in answer.collections if hasattr(part, "get_segments") for segment in part.get_segments()
    ]
    assert levels == pytest.approx([0.75, 1.0])
    assert len(thresholds.lines) == 3
    assert thresholds.get_xlabel() == "time [ms]"
    assert "adaptive neurons, 3 of 3" in thresholds.get_title(loc="left")
    assert 1100 < drawn_width(figure) < 1400
    assert len(recall(*arguments, np.array([False, False, True])).axes) == 3
    without = recall(*arguments[:3], {}, *arguments[4:], np.array([False, False, True]))
    assert [axes.get_title(loc="left") for axes in without.axes] == ["input spikes, 2 of 2 neurons per group", "answer"]


@pytest.mark.parametrize("channels", [1, 6])
def test_the_digit_figure_shows_image_rasters_and_probabilities(channels: int, hidden: dict[str, np.ndarray]) -> None:
    logits = np.zeros((60, 10))
    logits[:, 7] = 50.0
    image = np.arange(9).reshape(3, 3)
    figure = digit(image, np.ones((60, channels)), hidden, logits, 7, 3, np.random.default_rng(2).random((60, 3)), 50.0)
    assert figure.get_suptitle() == "Digit 7, read as 3"
    heat = next(axes for axes in figure.axes if axes.get_ylabel() == "class")
    shown = heat.images[0].get_array()
    assert shown is not None
    assert shown.shape == (10, 60)
    assert np.asarray(shown)[7] == pytest.approx(np.ones(60))
    assert any(axes.get_ylabel() == "probability" for axes in figure.axes)  # the colour bar
    assert any(image.shape == np.asarray(axes.images[0].get_array()).shape for axes in figure.axes if axes.images)
    assert 1100 < drawn_width(figure) < 1400


def test_learning_curves_have_their_values_levels_and_labels() -> None:
    updates = np.arange(1, 101)
    values = 1.0 / updates
    charts = [
        Panel("loss", {"training": (updates, values)}, logarithmic=True),
        Panel("error", {"validation": (updates, values)}, {"chance": 0.5}, smooth=10),
    ]
    figure = learning_curves(charts, "Learning")
    loss, error = figure.axes
    assert np.array_equal(loss.lines[0].get_ydata(), values)
    assert loss.get_yscale() == "log"
    assert np.array_equal(error.lines[1].get_ydata(), running_mean(values, 10))
    assert error.lines[2].get_label() == "chance 0.5"
    assert (error.get_xlabel(), error.get_ylabel()) == ("update", "error")
    assert drawn_width(figure) > 1100


def test_the_running_mean_ends_with_the_mean_of_the_window() -> None:
    values = np.random.default_rng(3).random(50)
    assert running_mean(values, 7)[-1] == pytest.approx(values[-7:].mean())
    assert running_mean(values, 7)[3] == pytest.approx(values[:4].mean())


def test_the_confusion_matrix_shows_counts_and_the_share_right() -> None:
    counts = np.array([[3, 1], [0, 4]])
    figure = confusion(counts, ["a", "b"], "Test")
    axes = figure.axes[0]
    assert axes.get_title() == "Test: 87.5% right"
    assert [(t.get_position(), t.get_text()) for t in axes.texts] == [((0, 0), "3"), ((1, 0), "1"), ((1, 1), "4")]
    assert drawn_width(figure) > 400


def test_a_class_that_never_occurs_is_an_empty_row() -> None:
    assert len(confusion(np.array([[2, 0], [0, 0]])).axes[0].texts) == 1


def test_softmax_of_large_numbers_stays_finite() -> None:
    assert softmax(np.array([1000.0, 1000.0 + np.log(3.0)])) == pytest.approx([0.25, 0.75])


def test_varying_and_adapting_neurons_are_found() -> None:
    traces = np.array([[1.0, 1.0, 1.0, 1.0], [1.0, 9.0, 1.2, 4.0]])
    assert most_varying(traces, 2).tolist() == [1, 3]
    assert most_varying(traces, 99).tolist() == [0, 1, 2, 3]
    assert most_adapting(traces).tolist() == [1]
    assert most_adapting(np.ones((4, 3))).tolist() == [0]


def test_populations_stand_beside_the_rates_of_their_neurons() -> None:
    spikes = np.zeros((10, 3))
    spikes[::2, 1] = spikes[4, 2] = 1
    figure = populations({"keys": spikes, "values": np.zeros((10, 2))}, dt=5.0)
    axes, beside = figure.axes[:2]
    assert ticks(axes) == [(1, 0.0), (1, 10.0), (1, 20.0), (1, 30.0), (1, 40.0), (2, 20.0)]
    values, edges, _ = next(part for part in beside.patches if isinstance(part, StepPatch)).get_data()
    assert values.tolist() == [0.0, 100.0, 20.0]  # Hz
    assert edges.tolist() == [-0.5, 0.5, 1.5, 2.5]
    assert beside.get_title() == "mean 40.0 Hz"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["1", "3"]
    assert drawn_width(figure) > 900
