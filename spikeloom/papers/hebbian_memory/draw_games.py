"""Figures of the card game: histograms of flips per game, and a game as a film."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from PIL import Image

from ...plot.style import CYCLE, GREY, INK, RED, WIDTH, Array, tidy

Face = Literal["down", "up", "none"]


def flips(
    played: Mapping[str, Sequence[int]], expected: Mapping[int, float], title: str = "Flips of a game", most: int = 40
) -> Figure:
    """Plot histograms of the flips per game, one panel per player, below that of optimal play.

    Args:
        played: flips of every game, by player.
        expected: distribution of flips with perfect memory and optimal play, {flips: probability}.
        most: last bin, which includes all longer games.

    >>> figure = flips({"agent": [4, 6, 6]}, {4: 1 / 3, 6: 2 / 3})
    >>> [axes.get_title(loc="right") for axes in figure.axes]
    ['mean 5.33', 'mean 5.33']
    """
    best = sum(count * share for count, share in expected.items())
    panels: dict[str, tuple[dict[int, float], float, str]] = {
        "perfect memory": (dict(expected), best, f"mean {best:.2f}")
    }
    for name, games in played.items():
        values, counts = np.unique(np.minimum(games, most), return_counts=True)
        shares = dict(zip(values.tolist(), (counts / len(games)).tolist(), strict=True))
        mean = float(np.mean(games))
        panels[name] = (shares, mean, f"mean {mean:.2f}")
    longest = max(max(shares) for shares, _, _ in panels.values())
    figure = Figure(figsize=(0.8 * WIDTH, 1.3 * len(panels) + 0.9), layout="constrained")
    figure.suptitle(title, fontsize=13)
    grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, (shares, mean, summary)), colour in zip(grid, panels.items(), [INK, *CYCLE], strict=False):
        tidy(axes)
        axes.bar(list(shares), [100 * share for share in shares.values()], width=0.8, color=colour)
        axes.axvline(mean, color=GREY, linewidth=1.0, linestyle="--")
        axes.set_title(name, loc="left", fontsize=10)
        axes.set_title(summary, loc="right", fontsize=10)
        axes.set_ylabel("games [%]")
    grid[-1].set_xlabel("flips" if longest < most else f"flips ({most}: and more)")
    grid[-1].set_xlim(0, longest + 1)
    return figure


@dataclass(frozen=True)
class Scene:
    """State of a game for a figure.

    Args:
        title: title of the figure.
        faces: visible state of each cell.
        images: features of the image of each cell, [n, F].
        chosen: the chosen cell; -1 before the first action.
        chances: probability of each action, [n].
        memory: memory weights of the player, [values, keys]; None: no panel.
        largest: weight with the brightest colour.
    """

    title: str
    faces: Sequence[Face]
    images: Array
    chosen: int
    chances: Array
    memory: Array | None = None
    largest: float = 1.0


def scene(moment: Scene) -> Figure:
    """Plot the table, the probability of each action below its cell, and the memory beside the table.

    >>> moment = Scene("flip 1", ["up", "down"], np.eye(2), 0, np.array([0.7, 0.3]), np.eye(3))
    >>> [axes.get_title(loc="left") for axes in scene(moment).axes]
    ['flip 1', 'memory']
    """
    cells = len(moment.faces)
    columns = cells if cells <= 3 else -(-cells // 2)
    figure = Figure(figsize=(WIDTH if moment.memory is not None else 0.65 * WIDTH, 4.4), dpi=80)
    width = 0.56 if moment.memory is not None else 0.96
    table = figure.add_axes((0.02, 0.03, width, 0.85))
    rows = -(-cells // columns)
    table.set_xlim(-0.05, columns)
    table.set_ylim(rows + 0.02, -0.05)
    table.set_axis_off()
    table.set_autoscale_on(False)
    table.set_title(moment.title, loc="left", fontsize=13)
    for cell, face in enumerate(moment.faces):
        _card(table, moment, cell, face, cell % columns, cell // columns)
    if moment.memory is not None:
        beside = figure.add_axes((0.65, 0.13, 0.32, 0.72))
        beside.imshow(moment.memory, cmap="viridis", vmin=0.0, vmax=moment.largest, interpolation="nearest")
        beside.set_title("memory", loc="left", fontsize=12)
        beside.set_xlabel("key neuron", fontsize=9)
        beside.set_ylabel("value neuron", fontsize=9)
        beside.tick_params(labelsize=8)
    return figure


def _card(axes: Axes, moment: Scene, cell: int, face: Face, x: float, y: float) -> None:
    chosen = cell == moment.chosen
    edge, width = (RED, 3.0) if chosen else ("#b9c0c9" if face == "none" else INK, 1.2)
    fill = {"down": "#dfe5ec", "up": "#ffffff", "none": "none"}[face]
    style = ":" if face == "none" and not chosen else "-"
    box = (x + 0.08, y + 0.06), 0.8, 0.66
    axes.add_patch(
        FancyBboxPatch(
            *box, boxstyle="round,pad=0,rounding_size=0.06", facecolor=fill, edgecolor=edge, linewidth=width,
            linestyle=style,
        )
    )  # fmt: skip
    if face == "up":
        image = moment.images[cell]
        high = 2 if len(image) % 2 == 0 and len(image) > 3 else 1
        axes.imshow(
            image.reshape(high, -1), extent=(x + 0.14, x + 0.82, y + 0.64, y + 0.14), aspect="auto", cmap="Spectral",
            vmin=0.0, vmax=1.0, interpolation="nearest", zorder=3,
        )  # fmt: skip
    elif face == "down":
        axes.text(x + 0.48, y + 0.39, "?", ha="center", va="center", fontsize=20, color=GREY)
    chance = float(moment.chances[cell])
    axes.plot([x + 0.08, x + 0.88], [y + 0.82] * 2, color="#e3e8ee", linewidth=5, solid_capstyle="butt")
    axes.plot([x + 0.08, x + 0.08 + 0.8 * chance], [y + 0.82] * 2, color=CYCLE[0], linewidth=5, solid_capstyle="butt")
    axes.text(x + 0.08, y + 0.95, f"{100 * chance:.0f} %", fontsize=8, color=GREY, va="center")


@dataclass(frozen=True)
class Film:
    """Figures of the same size, saved as an animated GIF that loops.

    >>> stream = io.BytesIO()
    >>> Film([Figure(figsize=(1, 1)), Figure(figsize=(1, 1), facecolor="red")]).savefig(stream, dpi=40)
    >>> Image.open(io.BytesIO(stream.getvalue())).n_frames
    2
    """

    figures: Sequence[Figure]
    seconds: float = 1.0
    """Duration of each figure [s]; the last one takes twice as long."""

    def text(self, x: float, y: float, s: str, **style: Any) -> None:
        """Add a text to every figure."""
        for figure in self.figures:
            figure.text(x, y, s, **style)

    def savefig(self, fname: Any, *, dpi: float, bbox_inches: str = "") -> None:
        """Save to a file or stream. All frames have the size of their figure; `bbox_inches` is ignored."""
        pictures = []
        for figure in self.figures:
            stream = io.BytesIO()
            figure.savefig(stream, dpi=dpi, format="png")
            pictures.append(Image.open(stream).convert("RGB").quantize(128))
        times = [round(1000 * self.seconds)] * len(pictures)
        times[-1] *= 2
        pictures[0].save(
            fname, format="GIF", save_all=True, append_images=pictures[1:], duration=times, loop=0, disposal=1
        )
