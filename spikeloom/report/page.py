"""HTML elements. All arguments are escaped, except those that are HTML already."""

import base64
import re
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

STYLE = Path(__file__).with_name("style.css")


class Piece(str):
    """String that is HTML already."""

    __slots__ = ()


def html(value: object) -> str:
    """Convert a value to HTML: a Piece stays as it is, everything else is escaped."""
    return value if isinstance(value, Piece) else escape(str(value))


def section(title: str, *content: str) -> str:
    """Return a section with a heading."""
    anchor = re.sub(r"\W+", "-", title.lower())
    return f'<section id="{escape(anchor)}"><h2>{escape(title)}</h2>{"".join(content)}</section>'


def table(head: Sequence[object], rows: Iterable[Sequence[object]], kind: str = "") -> str:
    """Return a table; numbers are right-aligned."""
    top = f"<thead><tr>{_cells(head, 'th')}</tr></thead>" if head else ""
    body = "".join(f"<tr>{_cells(row, 'td')}</tr>" for row in rows)
    return f'<div class="wide"><table class="{escape(kind)}">{top}<tbody>{body}</tbody></table></div>'


def _cells(row: Sequence[object], name: str) -> str:
    return "".join(f"<{name}{_right(cell)}>{html(cell)}</{name}>" for cell in row)


def _right(cell: object) -> str:
    return ' class="number"' if re.fullmatch(r"[-\d][\d.,e+-]*( %| n?J| Hz)?", str(cell)) else ""


def paragraph(text: object, kind: str = "") -> str:
    """Return a paragraph."""
    return f'<p class="{escape(kind)}">{html(text)}</p>'


def bullets(items: Iterable[object]) -> str:
    """Return a bullet list."""
    return f"<ul>{''.join(f'<li>{html(item)}</li>' for item in items)}</ul>"


def code(text: str) -> str:
    """Return a block of code."""
    return f"<pre><code>{escape(text)}</code></pre>"


def prose(docstring: str) -> str:
    """Convert a docstring to paragraphs; indented blocks such as equations and tables are preformatted."""
    blocks = re.split(r"\n\s*\n", docstring.strip("\n"))
    return "".join(
        f"<pre>{escape(block)}</pre>" if re.match(r"\s{2,}|\|", block) else paragraph(block.strip()) for block in blocks
    )


def picture(file: str, content: bytes, caption: str) -> str:
    """Return a figure with an embedded PNG or GIF file."""
    data = base64.b64encode(content).decode()
    stem, _, kind = file.rpartition(".")
    name = stem.replace("_", " ")
    return (
        f'<figure><img src="data:image/{escape(kind)};base64,{data}" alt="{escape(name)}">'
        f"<figcaption><b>{escape(name)}</b> {escape(caption)}</figcaption></figure>"
    )


def page(title: str, header: str, sections: Iterable[str]) -> str:
    """Return the whole document."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE.read_text(encoding='utf-8')}</style></head>\n"
        f"<body><header>{header}</header><main>\n{chr(10).join(sections)}\n</main></body></html>\n"
    )
