"""One document model for every report: blocks, and their writers to Markdown, to one HTML file and to plain text.

How things look belongs here: the marks, the style sheet, how a table is fitted into a terminal. What a report says
belongs to the report.
"""

import base64
import html
import json
import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MARKS: Mapping[str, str] = {"better": "▲", "worse": "▼", "cannot tell": "≈"}
"""The outcomes of a paired test."""
LEAK = "†"
"""Marks numbers from tables whose leaks were accepted."""
FRONT = "◆"
"""Marks experiments on the front of quality against cost."""

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.55 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; color: #1c1c1c; background: #fff;
       max-width: 76rem; margin: 2.5rem auto 5rem; padding: 0 1.5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .6rem; padding-top: .8rem; border-top: 1px solid #e3e3e3; }
p, li { max-width: 62rem; }
p.lead { font-size: 1.15rem; color: #444; margin-top: 0; }
figure { margin: 1.2rem 0; }
figure img { max-width: 100%; height: auto; }
figcaption, p.note { color: #5a5a5a; font-size: .88rem; max-width: 62rem; }
div.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .82rem; font-variant-numeric: tabular-nums; margin: .6rem 0; }
th, td { padding: .25rem .7rem .25rem 0; text-align: left; white-space: nowrap; border-bottom: 1px solid #ececec;
         vertical-align: top; }
th { border-bottom: 1.5px solid #9a9a9a; font-weight: 600; }
td.text { white-space: normal; min-width: 22rem; }
tr.starred td { color: #777; }
.better { color: #1a6e33; } .worse, .collapsed { color: #b3261e; font-weight: 600; } .leak { background: #fdeaea; }
"""

LONG = 60
"""Characters from which HTML wraps a cell of a table."""
NAMES = 24
"""Columns of a terminal that the first column of a table may take before it is shortened."""
SHORTEST = 12
"""Columns that it keeps in any case."""
CLASSES = {"▲": "better", "▼": "worse", "collapsed": "collapsed", LEAK: "leak"}
"""The class of a cell or bullet that contains a word."""


@dataclass(frozen=True)
class Heading:
    """The heading of a section."""

    text: str


@dataclass(frozen=True)
class Paragraph:
    """Plain text."""

    text: str
    kind: str = ""
    """lead or note, for how it looks."""


@dataclass(frozen=True)
class Bullets:
    """A list of statements."""

    items: Sequence[str]


@dataclass(frozen=True)
class Notes:
    """Small print; Markdown joins it into one paragraph."""

    items: Sequence[str]


@dataclass(frozen=True)
class Table:
    """Cells under a head; the first column names the rows."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    starred: Collection[int] | None = None
    """Rows, from 0, whose name gets an asterisk. Plain text indents the others in step, unless this is None."""
    align: str = "<"
    """The alignment of all columns but the first in plain text: < or >."""


@dataclass(frozen=True)
class Picture:
    """A PNG file, by name. Plain text leaves it out."""

    name: str
    caption: str


@dataclass(frozen=True)
class Data:
    """Values for programs, inside HTML. The other writers leave them out."""

    name: str
    values: Any


Block = Heading | Paragraph | Bullets | Notes | Table | Picture | Data


def as_markdown(blocks: Sequence[Block], *, title: str = "") -> str:
    """Markdown; pictures are links to `<name>.png` beside it."""
    parts = [f"# {title}" if title else "", *map(_markdown, blocks)]
    return "\n\n".join(part for part in parts if part) + "\n"


def as_html(title: str, blocks: Sequence[Block], pictures: Mapping[str, bytes]) -> str:
    """One HTML file that holds its pictures and runs no script."""
    body = "\n".join(_html(block, pictures) for block in blocks)
    name = html.escape(title)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{name}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<h1>{name}</h1>\n{body}\n</body>\n</html>\n"
    )


def as_text(blocks: Sequence[Block], *, width: int) -> str:
    """Plain text for a terminal of `width` columns; columns of a table that do not fit beside one another go below."""
    return "\n\n".join(part for block in blocks if (part := _text(block, width))) + "\n"


def _markdown(block: Block) -> str:
    match block:
        case Heading(text):
            return f"## {text}"
        case Paragraph(text):
            return text
        case Bullets(items):
            return "\n".join(f"- {item}" for item in items)
        case Notes(items):
            return "; ".join(items)
        case Table(head, rows, starred):
            names = [f"{row[0]} *" if place in (starred or ()) else row[0] for place, row in enumerate(rows)]
            whole = [head, *([name, *row[1:]] for name, row in zip(names, rows, strict=True))]
            escaped = [[cell.replace("|", "\\|") for cell in row] for row in whole]
            lines = [f"| {' | '.join(row)} |" for row in escaped]
            return "\n".join([lines[0], "|" + " --- |" * len(head), *lines[1:]])
        case Picture(name, caption):
            return f"![{caption}]({name}.png)"
        case Data():
            return ""


def _html(block: Block, pictures: Mapping[str, bytes]) -> str:
    match block:
        case Heading(text):
            return f"<h2>{html.escape(text)}</h2>"
        case Paragraph(text, kind):
            return _element("p", text, kind)
        case Bullets(items):
            return "<ul>\n" + "\n".join(_element("li", item, *_classes(item)) for item in items) + "\n</ul>"
        case Notes(items):
            return "\n".join(_element("p", item, "note") for item in items)
        case Table(head, rows, starred):
            titles = "".join(_element("th", cell) for cell in head)
            body = "\n".join(_html_row(row, is_starred=place in (starred or ())) for place, row in enumerate(rows))
            return (
                f'<div class="wide"><table>\n<thead><tr>{titles}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'
            )
        case Picture(name, caption):
            data = base64.b64encode(pictures[name]).decode()
            text = html.escape(caption)
            return (
                f'<figure><img alt="{text}" src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>'
            )
        case Data(name, values):
            inert = json.dumps(values).replace("<", "\\u003c")  # it cannot end the element that holds it
            return f'<script type="application/json" id="{name}">{inert}</script>'


def _html_row(row: Sequence[str], *, is_starred: bool) -> str:
    cells = [f"* {row[0]}", *row[1:]] if is_starred else row
    kind = ' class="starred"' if is_starred else ""
    shown = (_element("td", cell, "text" if len(cell) > LONG else "", *_classes(cell)) for cell in cells)
    return f"<tr{kind}>{''.join(shown)}</tr>"


def _element(tag: str, text: str, *kinds: str) -> str:
    names = " ".join(filter(None, kinds))
    shown = f' class="{names}"' if names else ""
    return f"<{tag}{shown}>{html.escape(text)}</{tag}>"


def _classes(text: str) -> list[str]:
    words = text.split()
    return [kind for mark, kind in CLASSES.items() if mark in words]


def _text(block: Block, width: int) -> str:
    match block:
        case Heading(text):
            return text
        case Paragraph(text):
            return _wrapped([text], width)
        case Bullets(items) | Notes(items):
            return _wrapped(items, width)
        case Table():
            return _text_table(block, width)
        case Picture() | Data():
            return ""


def _wrapped(items: Sequence[str], width: int) -> str:
    return "\n".join(
        textwrap.fill(item, width, subsequent_indent="  ", break_long_words=False) for item in items if item
    )


def _text_table(table: Table, width: int) -> str:
    """The table in pieces, each as wide as the terminal allows and beginning with the names of the rows."""
    names = [row[0] for row in table.rows]
    if table.starred is not None:
        names = [("* " if place in table.starred else "  ") + name for place, name in enumerate(names)]
    names = [table.head[0], *names]
    whole = [table.head, *table.rows]
    widths = [max(len(row[column]) for row in whole) + 2 for column in range(len(table.head))]
    longest = max(map(len, names))
    room = width - min(longest, NAMES)
    pieces: list[list[int]] = [[]]
    for column in range(1, len(table.head)):
        if pieces[-1] and sum(widths[other] for other in pieces[-1]) + widths[column] > room:
            pieces.append([])
        pieces[-1].append(column)
    widest = max(sum(widths[column] for column in piece) for piece in pieces)
    of_names = min(longest, max(SHORTEST, width - widest))

    def line(name: str, row: Sequence[str], piece: Sequence[int]) -> str:
        cells = (f"  {row[column]:{table.align}{widths[column] - 2}}" for column in piece)
        return "".join([f"{shortened(name, of_names):<{of_names}}", *cells]).rstrip()

    return "\n\n".join(
        "\n".join(line(name, row, piece) for name, row in zip(names, whole, strict=True)) for piece in pieces
    )


def shortened(name: str, width: int) -> str:
    """Cuts the middle: names of one study differ at their ends.

    >>> shortened("dynamicpo-dmpo-k15", 9)
    'dyna…-k15'
    """
    if len(name) <= width:
        return name
    tail = (width - 1) // 2
    return f"{name[: width - 1 - tail]}…{name[len(name) - tail :]}"
