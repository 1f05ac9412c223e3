"""Receptive fields, labels, spikes, accuracy and voltages show the numbers they are given."""

import io
import struct
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from spikeloom.papers.diehl_cook.draw_fields import (
    accuracy_curve,
    assignments,
    input_image,
    receptive_fields,
    spikes_per_neuron,
)
from spikeloom.papers.diehl_cook.draw_voltages import Membrane, voltages
from spikeloom.plot.confusion import confusion
from spikeloom.plot.images import CLASS_COLOURS


def drawn_width(figure: Figure) -> int:
    """Pixels of the figure as a run saves it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=120, bbox_inches="tight")
    width: int = struct.unpack(">I", buffer.getvalue()[16:20])[0]
    return width


def shown(axes: Axes) -> np.ndarray:
    """The values of the picture, nan where there are none."""
    return np.ma.filled(np.ma.asarray(axes.images[0].get_array(), dtype=float), np.nan)


def words(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_every_neuron_has_its_tile_in_rows_of_a_square() -> None:
    weights = np.random.default_rng(0).random((7, 4, 5))
    figure = receptive_fields(weights, highest=0.5, labels=np.array([0, 1, 2, 3, -1, 5, 12]))
    axes = figure.axes[0]
    picture = shown(axes)
    assert picture.shape == (12, 15)
    for n in range(9):
        row, column = divmod(n, 3)
        tile = picture[4 * row : 4 * row + 4, 5 * column : 5 * column + 5]
        assert np.array_equal(tile, weights[n]) if n < 7 else np.isnan(tile).all()
    assert axes.images[0].get_clim() == (0, 0.5)
    assert axes.images[0].get_cmap().name == "hot_r"
    assert words(axes) == ["0", "1", "2", "3", "–", "5", "12"]
    left, top = axes.texts[4].get_position()  # in the middle tile's corner
    assert 4.5 < left < 5.5
    assert 3.5 < top < 4.5
    assert 1100 < drawn_width(figure) < 1300


def test_channels_lie_beside_each_other_and_a_row_of_inputs_is_folded() -> None:
    pair = np.random.default_rng(1).random((1, 2, 3, 3))
    assert np.array_equal(shown(receptive_fields(pair).axes[0]), np.concatenate([pair[0, 0], pair[0, 1]], 1))
    row = shown(receptive_fields(np.arange(5.0)[None]).axes[0])
    assert np.array_equal(row, np.array([[0, 1, 2], [3, 4, np.nan], [np.nan] * 3]), equal_nan=True)


def test_labels_are_left_out_where_tiles_are_small() -> None:
    figure = receptive_fields(np.zeros((101, 2, 2)), labels=np.zeros(101, dtype=int))
    assert words(figure.axes[0]) == []


def test_the_labels_of_neurons_are_coloured_and_counted() -> None:
    figure = assignments(np.array([2, 0, -1, 2, 1]), ["zero", "one", "two", "three"])
    axes = figure.axes[0]
    assert shown(axes).tolist() == [[2, 0, -1], [2, 1, -2], [-2, -2, -2]]
    assert words(axes) == ["two", "zero", "–", "two", "one"]
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert said == ["zero: 1 neuron", "one: 1 neuron", "two: 2 neurons", "three: 0 neurons", "none: 1 neuron"]
    image: Any = axes.images[0]
    colours = image.get_cmap().colors
    assert list(colours[2:]) == list(CLASS_COLOURS[:4])
    for label, colour in enumerate(colours, start=-2):
        assert image.cmap(image.norm(label)) == pytest.approx(image.cmap(label + 2)), colour
    assert 1000 < drawn_width(figure) < 1400


def test_many_neurons_and_classes_have_colours_without_words() -> None:
    figure = assignments(np.arange(-1, 449) % 20)
    image: Any = figure.axes[0].images[0]
    assert len(set(image.get_cmap().colors)) == 22
    assert words(figure.axes[0]) == []
    assert len(figure.legends[0].get_texts()) == 21
    silent = assignments(np.full(4, -1))
    assert [text.get_text() for text in silent.legends[0].get_texts()][-1] == "none: 4 neurons"


def test_the_input_is_a_picture_for_each_polarity_on_one_scale() -> None:
    counts = np.array([[[0, 3], [1, 0]], [[0, 0], [0, 7]]])
    figure = input_image(counts, "A sample")
    on, off = figure.axes[:2]
    assert np.array_equal(shown(on), counts[0])
    assert np.array_equal(shown(off), counts[1])
    assert on.images[0].get_clim() == off.images[0].get_clim() == (0, 7)
    assert [axes.get_title() for axes in (on, off)] == ["ON: 4 spikes", "OFF: 7 spikes"]
    assert drawn_width(figure) > 900
    single = input_image(np.zeros((3, 4)))
    assert (single.axes[0].get_title(), single.axes[0].images[0].get_clim()) == ("0 spikes", (0, 1))
    assert drawn_width(single) > 400
    titles = [axes.get_title() for axes in input_image(np.ones((3, 2, 2))).axes[:3]]
    assert titles == [f"channel {c}: 4 spikes" for c in range(3)]


def test_spikes_of_neurons_by_interval() -> None:
    counts = np.array([[3, 0, 1], [2, 0, 0]])
    figure = spikes_per_neuron(counts)
    axes = figure.axes[0]
    assert np.array_equal(shown(axes), counts)
    assert axes.get_title(loc="left") == "6 spikes, 2.0 per neuron; 1 of 3 neurons silent"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("neuron", "interval")
    image: Any = axes.images[0]
    assert image.cmap(image.norm(0)) == pytest.approx((1, 1, 1, 1))
    assert image.cmap(image.norm(1)) != pytest.approx((1, 1, 1, 1))
    assert 1100 < drawn_width(figure) < 1300


def test_many_patterns_are_summed_with_their_neighbours_and_no_spike_is_lost() -> None:
    counts = np.random.default_rng(2).poisson(0.5, (1001, 4))
    axes = spikes_per_neuron(counts, "pattern").axes[0]
    assert axes.get_ylabel() == "pattern, sums of 4"
    assert shown(axes).shape == (251, 4)
    assert np.array_equal(shown(axes)[1], counts[4:8].sum(0))
    assert shown(axes).sum() == counts.sum()
    assert axes.get_ylim() == (1003.5, -0.5)
    assert drawn_width(spikes_per_neuron(np.zeros((2, 3)))) > 900


def test_accuracy_is_drawn_in_per_cent_against_samples() -> None:
    curves: dict[str, Any] = {"all": [0.1, 0.5, 0.75], "soft": np.array([0.2, 0.6, 0.8])}
    figure = accuracy_curve([100, 200, 300], curves, {"paper": 0.95}, "Votes")
    axes = figure.axes[0]
    assert [np.asarray(line.get_ydata()).tolist() for line in axes.lines[:2]] == [[10, 50, 75], [20, 60, 80]]
    assert np.asarray(axes.lines[0].get_xdata()).tolist() == [100, 200, 300]
    assert np.asarray(axes.lines[2].get_ydata()).tolist() == [95, 95]
    legend = axes.get_legend()
    assert legend is not None
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["all, last 75.0 %", "soft, last 80.0 %", "paper 95.0 %"]
    assert axes.get_ylim() == (0, 100)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("training samples seen", "accuracy [%]")
    assert 1100 < drawn_width(figure) < 1400


def test_voltages_have_their_thresholds_and_spikes() -> None:
    random = np.random.default_rng(3)
    voltage = -60 + random.random((20, 5)) * [0, 4, 1, 3, 2]
    threshold = -52 + np.linspace(0, 1, 20)[:, None] * np.ones(5)
    spikes = np.zeros((20, 5))
    spikes[[4, 9], 3] = 1
    one = Membrane("excitatory", voltage, threshold, spikes)
    figure = voltages([one, Membrane("inhibitory", voltage[:, :2], -40.0)], dt=0.5, most=2)
    top, bottom = figure.axes
    assert top.get_title(loc="left") == "excitatory, 2 of 5 neurons"
    assert [line.get_label() for line in top.lines[::2]] == ["neuron 1", "neuron 3"]
    assert np.array_equal(top.lines[2].get_ydata(), voltage[:, 3])
    assert np.array_equal(top.lines[3].get_ydata(), threshold[:, 3])
    marks = [np.asarray(part.get_offsets()) for part in top.collections if isinstance(part, PathCollection)]
    assert [len(part) for part in marks] == [0, 2]
    assert np.array_equal(marks[1], [[2.0, threshold[4, 3]], [4.5, threshold[9, 3]]])
    assert len(bottom.lines) == 3  # two neurons and the threshold of both
    assert set(np.asarray(bottom.lines[1].get_ydata())) == {-40.0}
    assert (bottom.get_xlabel(), bottom.get_ylabel(), bottom.get_xlim()) == ("time [ms]", "voltage [mV]", (0, 10))
    assert 1100 < drawn_width(figure) < 1400


def test_spikes_without_a_threshold_are_marked_above_the_voltages() -> None:
    voltage = np.linspace(-65, -55, 6)[:, None]
    axes = voltages([Membrane("layer", voltage, spikes=np.eye(6)[:, :1])]).axes[0]
    assert len(axes.lines) == 1
    assert np.asarray(axes.collections[0].get_offsets()).tolist() == [[0.0, -55.0]]
    fixed = voltages([Membrane("layer", np.zeros((6, 2)), np.array([1.0, 2.0]))]).axes[0]
    assert [float(np.asarray(line.get_ydata())[0]) for line in fixed.lines] == [0.0, 1.0, 0.0, 2.0]


def test_confusion_has_a_column_for_samples_without_an_answer() -> None:
    figure = confusion(np.array([[3, 1, 0], [0, 2, 2]]), ["a", "b"], "Test")
    axes = figure.axes[0]
    assert axes.get_title() == "Test: 62.5% right"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "none"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert axes.texts[-1].get_position() == (2, 1)
    assert words(axes)[-1] == "2"
    assert drawn_width(figure) > 400
