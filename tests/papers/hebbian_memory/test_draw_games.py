"""Pictures of games: bars that add up, a scene for every cell, a film with all its pictures."""

import io
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from PIL import Image

from spikeloom.papers.hebbian_memory import draw_games


def moment(cells: int = 4, memory: bool = True) -> draw_games.Scene:
    faces: list[draw_games.Face] = ["up", "down", "none", "down", "down", "up"]
    images = np.arange(10.0 * cells).reshape(cells, 10) / (10 * cells)
    return draw_games.Scene(
        "flip 1", faces[:cells], images, 2, np.full(cells, 1 / cells), np.eye(3) if memory else None
    )


def test_every_game_is_in_a_bar_and_long_ones_share_the_last() -> None:
    figure = draw_games.flips({"agent": [4, 4, 6, 90]}, {4: 0.25, 6: 0.75}, most=20)
    best: Any
    agent: Any
    best, agent = figure.axes
    assert [bar.get_height() for bar in best.patches] == [25.0, 75.0]
    bars = {bar.get_x() + bar.get_width() / 2: bar.get_height() for bar in agent.patches}
    assert bars == pytest.approx({4: 50.0, 6: 25.0, 20: 25.0})
    assert agent.get_title(loc="right") == "mean 26.00"  # not that of the bars
    assert agent.get_xlabel() == "flips (20: and more)"


@pytest.mark.parametrize("cells", [2, 4, 5, 6])
def test_a_scene_has_a_card_for_every_cell_and_marks_the_chosen(cells: int) -> None:
    figure = draw_games.scene(moment(cells))
    cards = [patch for patch in figure.axes[0].patches if isinstance(patch, FancyBboxPatch)]
    assert len(cards) == cells
    assert [card.get_linewidth() > 2 for card in cards] == [cell == 2 for cell in range(cells)]
    shown = figure.axes[0].images
    assert len(shown) == sum(face == "up" for face in moment(cells).faces)
    assert min(image.get_zorder() for image in shown) > max(card.get_zorder() for card in cards)
    assert len(figure.axes) == 2
    assert len(draw_games.scene(moment(cells, memory=False)).axes) == 1


def test_a_film_shows_its_figures_in_turn_and_begins_again() -> None:
    stream = io.BytesIO()
    figures = [Figure(figsize=(2, 1), facecolor=colour) for colour in ("red", "white", "blue")]
    draw_games.Film(figures, 0.5).savefig(stream, dpi=50, bbox_inches="tight")
    with Image.open(io.BytesIO(stream.getvalue())) as film:
        assert (film.format, film.n_frames, film.size, film.info["loop"]) == ("GIF", 3, (100, 50), 0)  # type: ignore[attr-defined]
        seen = []
        for number in range(3):
            film.seek(number)
            seen.append((film.convert("RGB").getpixel((5, 5)), film.info["duration"]))
    assert seen == [((255, 0, 0), 500), ((255, 255, 255), 500), ((0, 0, 255), 1000)]
