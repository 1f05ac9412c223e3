"""Pieces of HTML. Everything that goes in is escaped here, except what is already a piece."""

import base64
import re
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

STYLE = Path(__file__).with_name("style.css")


class Piece(str):
    """Text that is HTML already."""

    __slots__ = ()


def html(value: object) -> str:
    """A value as HTML: a Piece as it is, all else escaped."""
    return value if isinstance(value, Piece) else escape(str(value))


def section(title: str, *content: str) -> str:
    """A heading and what stands below it."""
    anchor = re.sub(r"\W+", "-", title.lower())
    return f'<section id="{escape(anchor)}"><h2>{escape(title)}</h2>{"".join(content)}</section>'


def table(head: Sequence[object], rows: Iterable[Sequence[object]], kind: str = "") -> str:
    """A table; numbers stand on the right."""
    top = f"<thead><tr>{_cells(head, 'th')}</tr></thead>" if head else ""
    body = "".join(f"<tr>{_cells(row, 'td')}</tr>" for row in rows)
    return f'<div class="wide"><table class="{escape(kind)}">{top}<tbody>{body}</tbody></table></div>'


def _cells(row: Sequence[object], name: str) -> str:
    return "".join(f"<{name}{_right(cell)}>{html(cell)}</{name}>" for cell in row)


def _right(cell: object) -> str:
    return ' class="number"' if re.fullmatch(r"[-\d][\d.,e+-]*( %| n?J| Hz)?", str(cell)) else ""


def paragraph(text: object, kind: str = "") -> str:
    """One paragraph."""
    return f'<p class="{escape(kind)}">{html(text)}</p>'


def bullets(items: Iterable[object]) -> str:
    """A list."""
    return f"<ul>{''.join(f'<li>{html(item)}</li>' for item in items)}</ul>"


def code(text: str) -> str:
    """Lines to type."""
    return f"<pre><code>{escape(text)}</code></pre>"


def prose(docstring: str) -> str:
    """A docstring: paragraphs, and indented blocks such as equations and tables as they stand."""
    blocks = re.split(r"\n\s*\n", docstring.strip("\n"))
    return "".join(
        f"<pre>{escape(block)}</pre>" if re.match(r"\s{2,}|\|", block) else paragraph(block.strip()) for block in blocks
    )


def picture(file: str, content: bytes, caption: str) -> str:
    """A PNG or GIF file, inside the page."""
    data = base64.b64encode(content).decode()
    stem, _, kind = file.rpartition(".")
    name = stem.replace("_", " ")
    return (
        f'<figure><img src="data:image/{escape(kind)};base64,{data}" alt="{escape(name)}">'
        f"<figcaption><b>{escape(name)}</b> {escape(caption)}</figcaption></figure>"
    )


def page(title: str, header: str, sections: Iterable[str]) -> str:
    """The whole document."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE.read_text(encoding='utf-8')}</style></head>\n"
        f"<body><header>{header}</header><main>\n{chr(10).join(sections)}\n</main></body></html>\n"
    )
