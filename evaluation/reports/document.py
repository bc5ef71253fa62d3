"""A page as blocks, written as Markdown or as one HTML file that needs nothing beside it."""

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.55 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; color: #1c1c1c; background: #fff;
       max-width: 74rem; margin: 2.5rem auto 5rem; padding: 0 1.5rem; }
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
.better { color: #1a6e33; } .worse, .collapsed { color: #b3261e; font-weight: 600; }
"""

LONG = 60
"""Characters from which a cell of a table is wrapped."""
MARKS = {"▲": "better", "▼": "worse", "collapsed": "collapsed"}


@dataclass(frozen=True)
class Heading:
    """Of a section."""

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
class Table:
    """Texts under a head."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Picture:
    """A PNG file, by name."""

    name: str
    caption: str


Block = Heading | Paragraph | Bullets | Table | Picture


def as_markdown(title: str, blocks: Sequence[Block]) -> str:
    """Markdown; pictures are links to `<name>.png` beside it."""
    return "\n\n".join([f"# {title}", *map(_markdown, blocks)]) + "\n"


def as_html(title: str, blocks: Sequence[Block], pictures: Mapping[str, bytes]) -> str:
    """One HTML file with its pictures inside, without scripts."""
    body = "\n".join(_html(block, pictures) for block in blocks)
    name = html.escape(title)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{name}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<h1>{name}</h1>\n{body}\n</body>\n</html>\n"
    )


def _markdown(block: Block) -> str:
    match block:
        case Heading(text):
            return f"## {text}"
        case Paragraph(text):
            return text
        case Bullets(items):
            return "\n".join(f"- {item}" for item in items)
        case Table(head, rows):
            escaped = [[cell.replace("|", "\\|") for cell in row] for row in (head, *rows)]
            lines = [f"| {' | '.join(row)} |" for row in escaped]
            return "\n".join([lines[0], "|" + " --- |" * len(head), *lines[1:]])
        case Picture(name, caption):
            return f"![{caption}]({name}.png)"


def _html(block: Block, pictures: Mapping[str, bytes]) -> str:
    match block:
        case Heading(text):
            return f"<h2>{html.escape(text)}</h2>"
        case Paragraph(text, kind):
            return f'<p class="{kind}">{html.escape(text)}</p>' if kind else f"<p>{html.escape(text)}</p>"
        case Bullets(items):
            return "<ul>\n" + "\n".join(f"<li>{html.escape(item)}</li>" for item in items) + "\n</ul>"
        case Table(head, rows):
            titles = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
            lines = ["<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows]
            body = "\n".join(lines)
            return (
                f'<div class="wide"><table>\n<thead><tr>{titles}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'
            )
        case Picture(name, caption):
            data = base64.b64encode(pictures[name]).decode()
            text = html.escape(caption)
            return (
                f'<figure><img alt="{text}" src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>'
            )


def _cell(text: str) -> str:
    kinds = ["text"] if len(text) > LONG else []
    kinds += [kind for mark, kind in MARKS.items() if mark in text.split()]
    names = f' class="{" ".join(kinds)}"' if kinds else ""
    return f"<td{names}>{html.escape(text)}</td>"
