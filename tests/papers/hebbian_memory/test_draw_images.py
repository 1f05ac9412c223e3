"""What a network heard, saw and drew: panels, scales, histograms."""

import numpy as np

from spikeloom.papers.hebbian_memory.draw_images import errors, gallery, recalled

IMAGES = np.random.default_rng(0).random((5, 28, 28))
WORDS = np.random.default_rng(1).standard_normal((4, 30, 20))


def test_a_sample_is_shown_with_words_pictures_and_drawing() -> None:
    figure = recalled(WORDS[:3], IMAGES[:3], WORDS[3], IMAGES[1], 1.5 * IMAGES[4], ["4", "7", "0", "7"])
    titles = [axes.get_title() for axes in figure.axes]
    assert titles.count("with this") == 3
    assert {"stored: 4", "stored: 7", "stored: 0", "asked with: 7", "stored with it", "drawn from memory"} <= set(
        titles
    )
    shown = {axes.get_title(): axes.images[0] for axes in figure.axes}
    assert np.array_equal(np.asarray(shown["stored: 7"].get_array()), WORDS[1].T)
    assert np.array_equal(np.asarray(shown["stored with it"].get_array()), IMAGES[1])
    drawn = shown["drawn from memory"]
    assert drawn.get_clim() == (0.0, 1.0)  # brighter than white is white, as in the other pictures
    assert np.array_equal(np.asarray(drawn.get_array()), 1.5 * IMAGES[4])


def test_the_gallery_has_what_was_stored_above_what_was_drawn() -> None:
    figure = gallery(np.concatenate([IMAGES, IMAGES]), 1 - np.concatenate([IMAGES, IMAGES]), list("0123456789"))
    shown = [np.asarray(axes.images[0].get_array()) for axes in figure.axes]
    assert len(shown) == 20
    for above, below in zip(shown[::2], shown[1::2], strict=True):
        np.testing.assert_allclose(above + below, 1.0)
    boxes = [axes.get_subplotspec().rowspan.start for axes in figure.axes]  # type: ignore[union-attr]
    assert boxes[:12] == [0, 1] * 6
    assert boxes[12:] == [2, 3] * 4


def test_errors_are_counted_whole_and_summarised() -> None:
    values = {"right": np.linspace(0.01, 0.03, 101), "other": np.linspace(0.02, 0.2, 101)}
    figure = errors(values)
    for axes, row in zip(figure.axes, values.values(), strict=True):
        assert sum(bar.get_height() for bar in axes.patches) == len(row)  # type: ignore[attr-defined]
        assert f"mean {row.mean():.4f} ± {row.std():.4f}" in axes.get_title(loc="left")
        assert f"median {np.median(row):.4f}" in axes.get_title(loc="left")
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()


def test_errors_that_are_all_zero_can_be_drawn() -> None:
    assert len(errors({"right": np.zeros(4)}).axes) == 1
