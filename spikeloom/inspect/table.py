"""Tables as text for a terminal, and as HTML for a notebook."""

from collections.abc import Sequence
from html import escape

WIDTH = 80
"""Columns of a terminal that every table fits into."""
LEAST = 8
"""Columns that the first cell of a row keeps, however wide the others are."""


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]], width: int = WIDTH) -> str:
    """Return a table with aligned columns, the first to the left; first cells that are too wide lose their beginning.

    >>> print(text_table(["layer", "rate"], [["layers.1", "0.02"], ["a", "0.5"]]))
    layer     rate
    layers.1  0.02
    a          0.5
    >>> print(text_table(["layer", "rate"], [["encoder.layers.12", "0.02"]], width=16))
    layer       rate
    …layers.12  0.02
    """
    cells = [list(head), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    widths[0] = min(widths[0], max(width - sum(widths[1:]) - 2 * (len(head) - 1), LEAST))
    lines = []
    for row in cells:
        first = row[0] if len(row[0]) <= widths[0] else "…" + row[0][len(row[0]) - widths[0] + 1 :]
        rest = [cell.rjust(size) for cell, size in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *rest]).rstrip())
    return "\n".join(lines)


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in HTML, everything escaped.

    >>> html_table(["layer"], [["<a>"]])
    '<table><thead><tr><th>layer</th></tr></thead><tbody><tr><td>&lt;a&gt;</td></tr></tbody></table>'
    """
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
