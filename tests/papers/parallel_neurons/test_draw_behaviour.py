"""The gallery and the bars show the numbers they are given."""

import io
import struct

import numpy as np
import pytest
from matplotlib.collections import EventCollection, PathCollection, PolyCollection
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure

from spikeloom.papers.parallel_neurons.draw_behaviour import Behaviour, gallery
from spikeloom.plot.bars import grouped, robustness


def drawn_width(figure: Figure) -> int:
    """Pixels of the figure as a run saves it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=120, bbox_inches="tight")
    width: int = struct.unpack(">I", buffer.getvalue()[16:20])[0]
    return width


def behaviour(name: str, threshold: float | None = None) -> Behaviour:
    time = np.arange(40) * 0.5
    spikes = np.isin(np.arange(40), (4, 9, 30)).astype(float)
    return Behaviour(name, time, np.sin(time), np.cos(time), spikes, threshold)


def test_the_gallery_shows_input_membrane_and_spikes_of_every_behaviour() -> None:
    names = ["tonic", "phasic", "burst", "rebound", "class 2", "latency"]
    figure = gallery([behaviour(name, 0.3 if name == "burst" else None) for name in names], "All")
    assert len(figure.axes) == 12
    assert [axes.get_title(loc="left") for axes in figure.axes[::2]] == names
    for top, bottom in zip(figure.axes[::2], figure.axes[1::2], strict=True):
        assert np.array_equal(top.lines[0].get_ydata(), np.cos(np.arange(40) * 0.5))
        assert np.array_equal(bottom.lines[0].get_ydata(), np.sin(np.arange(40) * 0.5))
        (ticks,) = (part for part in top.collections if isinstance(part, EventCollection))
        assert np.sort(ticks.get_positions()).tolist() == [2.0, 4.5, 15.0]
        assert ticks.get_lineoffset() > 1.0
    assert [len(axes.lines) for axes in figure.axes[::2]] == [1, 1, 2, 1, 1, 1]
    assert np.unique(np.asarray(figure.axes[4].lines[1].get_ydata())).tolist() == [0.3]
    assert (figure.get_suptitle(), figure.get_supxlabel()) == ("All", "time [ms]")
    assert 1100 < drawn_width(figure) < 1300


def test_a_silent_constant_neuron_can_be_shown() -> None:
    flat = np.zeros(10)
    figure = gallery([Behaviour("nothing", np.arange(10.0), flat, flat, flat)])
    low, high = figure.axes[0].get_ylim()
    assert low < 0 < high
    assert drawn_width(figure) > 200


def test_bars_have_their_heights_deviations_and_published_marks() -> None:
    nan = float("nan")
    mean = [[70.0, 80.0], [75.0, nan]]
    figure = grouped(["LIF", "SB"], ["basic", "augmented"], mean, [[1.0, 2.0], [nan, nan]], [[nan, nan], [77.0, 86.0]])
    axes = figure.axes[0]
    bars = [part for part in axes.containers if isinstance(part, BarContainer)]
    assert [[bar.get_height() for bar in one] for one in bars] == [[70.0, 75.0], [80.0]]
    errors = [part for part in axes.containers if isinstance(part, ErrorbarContainer)]
    ends = [[segment[:, 1].tolist() for segment in one.lines[2][0].get_segments()] for one in errors]
    assert ends == [[[69.0, 71.0]], [[78.0, 82.0]]]
    marks = [np.asarray(part.get_offsets()) for part in axes.collections if isinstance(part, PathCollection)]
    assert [part[:, 1].tolist() for part in marks] == [[77.0], [86.0]]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["LIF", "SB"]
    legend = axes.get_legend()
    assert legend is not None
    labels = [text.get_text() for text in legend.get_texts()]
    assert sorted(labels) == ["augmented", "basic", "published"]
    assert axes.get_ylabel() == "accuracy [%]"
    assert 1100 < drawn_width(figure) < 1300


def test_bars_alone() -> None:
    axes = grouped(["a"], ["x"], [[3.0]], ylabel="rate [Hz]").axes[0]
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["x"]
    assert axes.get_ylabel() == "rate [Hz]"


def test_too_few_values_for_the_bars() -> None:
    with pytest.raises(ValueError, match="cannot reshape array of size 1"):
        grouped(["a", "b"], ["x"], [[3.0]])


def test_robustness_goes_from_no_noise_to_most() -> None:
    snr = [0.0, np.inf, 10.0]
    figure = robustness(
        snr, {"LIF": ([30.0, 80.0, 60.0], [5.0, 1.0, 2.0]), "SB": ([50.0, 90.0, 70.0], [0.0, 0.0, 0.0])}
    )
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["no noise", "10", "0"]
    assert [line.get_label() for line in axes.lines] == ["LIF", "SB"]
    assert np.asarray(axes.lines[0].get_ydata()).tolist() == [80.0, 60.0, 30.0]
    band = next(part for part in axes.collections if isinstance(part, PolyCollection))
    edges = np.asarray(band.get_paths()[0].vertices)[:, 1]
    assert (edges.min(), edges.max()) == (25.0, 81.0)
    assert 1100 < drawn_width(figure) < 1300
