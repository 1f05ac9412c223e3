"""Learning curves as inline SVG, from the lines of metrics.jsonl."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 420, 190, 52, 12, 26
POINTS = 300
"""Maximum number of points per line."""

Line = tuple[list[int], list[float]]


def charts(metrics: Sequence[Mapping[str, Any]]) -> str:
    """Return one chart per metric; `validation_loss` shares the chart of `loss`."""
    names = list(dict.fromkeys(name for line in metrics for name in line if name != "update"))
    groups: dict[str, dict[str, Line]] = {}
    for name in names:
        points = [(line["update"], line[name]) for line in metrics if name in line]
        groups.setdefault(name.removeprefix("validation_"), {})[name] = thin(points)
    return "".join(chart(group, lines) for group, lines in groups.items())


def thin(points: Sequence[tuple[int, float]]) -> Line:
    """Return every k-th point and the last."""
    stride = max(1, -(-len(points) // POINTS))
    kept = [*points[::stride], *([points[-1]] if (len(points) - 1) % stride else [])]
    return [update for update, _ in kept], [value for _, value in kept]


def chart(title: str, lines: Mapping[str, Line]) -> str:
    """Return one set of axes with a line per metric."""
    updates = [update for line in lines.values() for update in line[0]]
    values = [value for line in lines.values() for value in line[1]]
    first, last, low, high = min(updates), max(updates), min(values), max(values)
    if low >= 0 and low < 0.5 * high:
        low = 0.0
    if high == low:
        high, low = high + 0.5 * abs(high) + 1e-9, low - 0.5 * abs(low) - 1e-9

    def x(update: float) -> float:
        return LEFT + (WIDTH - LEFT - 8) * (update - first) / max(1, last - first)

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)

    parts = []
    for level in (low, (low + high) / 2, high):
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - 8}" y1="{y(level):.1f}" y2="{y(level):.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(level) + 3.5:.1f}" text-anchor="end">{level:.3g}</text>')
    for update, anchor in ((first, "start"), (last, "end")):
        parts.append(f'<text x="{x(update):.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}">{update:,}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 8}" text-anchor="middle">update</text>')
    for name, (at, line) in lines.items():
        kind = "validation" if name.startswith("validation_") else "training"
        track = " ".join(f"{x(update):.1f},{y(value):.1f}" for update, value in zip(at, line, strict=True))
        parts.append(f'<polyline fill="none" class="{kind}" points="{track}"/>')
        if len(at) < 40:
            parts += [
                f'<circle class="{kind}" cx="{x(u):.1f}" cy="{y(v):.1f}" r="2.2"/>'
                for u, v in zip(at, line, strict=True)
            ]
    keys = " ".join(
        f'<span class="key {"validation" if name.startswith("validation_") else "training"}">{escape(name)}</span>'
        for name in lines
    )
    drawing = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
    return f'<figure class="chart">{drawing}<figcaption>{keys}</figcaption></figure>'
