"""A leaderboard as pictures, and as one page of HTML that needs nothing else."""

import base64
import html
import io
import json
from collections.abc import Sequence
from typing import Any

from evaluation.reports.leaderboard import COVERAGE, Leaderboard
from evaluation.reports.leaderboard_json import as_json
from evaluation.reports.leaderboard_text import LEAK, cell, cost_table, notes_of, statements_of, title

LEAST_SECONDS = 0.01
"""Where what took no time is drawn on a logarithmic axis."""
STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; color: #1c1c1c; }
table { border-collapse: collapse; margin: 1rem 0; } td, th { padding: .25rem .7rem; border-bottom: 1px solid #ddd; }
th { text-align: left; background: #f5f5f5; } td + td { font-variant-numeric: tabular-nums; white-space: nowrap; }
tr.floor td { color: #777; } img { max-width: 100%; } .leaks { background: #fdeaea; padding: .5rem 1rem; }
"""


def as_png(board: Leaderboard) -> bytes:
    """A picture: one panel per metric, one interval per experiment, in the order of the table; floors hollow."""
    # Figure and canvas without pyplot: no global state, no display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = board.rows[::-1]
    figure = Figure(figsize=(3.2 * len(board.metrics) + 2.0, 0.36 * len(rows) + 1.6), dpi=120, layout="constrained")
    panels = figure.subplots(1, len(board.metrics), sharey=True, squeeze=False)[0]
    for axes, metric in zip(panels, board.metrics, strict=True):
        base = next((row.metrics.get(metric) for row in rows if row.experiment == board.base), None)
        if base is not None:
            axes.axvspan(base.low, base.high, color="0.92", zorder=0)
        for place, row in enumerate(rows):
            interval = row.metrics.get(metric)
            if interval is None:
                continue
            colour = "0.45" if row.is_floor else "#1f5fa8"
            axes.plot([interval.low, interval.high], [place, place], color=colour, linewidth=1.8)
            fill = "white" if row.is_floor else colour
            axes.plot([interval.value], [place], "o", markersize=5, markeredgecolor=colour, markerfacecolor=fill)
        axes.set_title(metric, fontsize=9)
        axes.grid(axis="x", color="0.9", linewidth=0.6)
        axes.tick_params(labelsize=8)
        axes.set_axisbelow(True)
    panels[0].set_yticks(range(len(rows)), [row.experiment + (LEAK if row.leaks else "") for row in rows], fontsize=8)
    panels[0].set_ylim(-0.6, len(rows) - 0.4)
    heading = title(board) + (f"; band: {board.base}" if board.base else "")
    heading += f"\n{LEAK} from tables with accepted leaks: {', '.join(board.leaks)}" if board.leaks else ""
    figure.suptitle(heading, fontsize=9)  # pyright: ignore[reportUnknownMemberType]: matplotlib leaves **kwargs untyped
    FigureCanvasAgg(figure)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")  # pyright: ignore[reportUnknownMemberType]
    return picture.getvalue()


def cost_png(board: Leaderboard) -> bytes:
    """A picture: accuracy against seconds of training, coverage as the size of a mark, the front filled and joined."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(9.0, 4.6), dpi=120, layout="constrained")
    axes = figure.subplots()
    front = board.pareto_front
    joined: list[tuple[float, float]] = []
    for row in board.rows:
        cost, value = board.costs.get(row.experiment), row.metrics.get(board.sorted_by)
        if row.is_floor or cost is None or cost.total_seconds is None or value is None:
            continue
        x, on_front = max(cost.total_seconds, LEAST_SECONDS), row.experiment in front
        size = 20.0 + 300.0 * row.beyond_accuracy.get(COVERAGE, 0.0)
        axes.errorbar(
            [x], [value.value], [[value.value - value.low], [value.high - value.value]], color="0.7", zorder=1
        )
        axes.scatter(
            [x], [value.value], s=size, color="#1f5fa8" if on_front else "white", edgecolors="#1f5fa8", zorder=2
        )
        axes.annotate(row.experiment, (x, value.value), xytext=(7, 4), textcoords="offset points", fontsize=7)
        joined += [(x, value.value)] if on_front else []
    if joined:
        axes.plot(*zip(*sorted(joined), strict=True), color="#1f5fa8", linewidth=0.8, linestyle=":", zorder=0)
    axes.set_xscale("log")
    axes.set_xlabel("seconds of training with all that it needs (logarithmic)", fontsize=8)
    axes.set_ylabel(board.sorted_by, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(color="0.92", linewidth=0.6)
    axes.set_title(f"{board.dataset}, {board.split}; size: {COVERAGE}; filled: on the front", fontsize=9)
    FigureCanvasAgg(figure)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def as_html(board: Leaderboard) -> str:
    """One page: what was compared, the table, both pictures, what each experiment chose and cost, and the JSON."""
    leaks = "".join(f"<p>{html.escape(line)}</p>" for line in statements_of(board) if LEAK in line)
    said = "".join(f"<li>{html.escape(line)}</li>" for line in statements_of(board) if LEAK not in line)
    results = [["experiment", "kind", *board.metrics]]
    results += [
        [("* " if row.is_floor else "") + row.experiment, row.kind, *(cell(row, metric) for metric in board.metrics)]
        for row in board.rows
    ]
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        f"<title>{html.escape(f'{board.dataset}, {board.split}')}</title><style>{STYLE}</style></head><body>",
        f"<h1>{html.escape(board.dataset)}, {html.escape(board.split)}</h1>",
        f"<div class='leaks'>{leaks}</div>" if leaks else "",
        f"<ul>{said}</ul>",
        html_table(results),
        _picture(as_png(board), "intervals"),
        "<h2>Quality against cost</h2>" if board.costs else "",
        html_table(cost_table(board)) if board.costs else "",
        _picture(cost_png(board), "quality against cost") if board.costs else "",
        "".join(f"<p>{html.escape(note)}</p>" for note in notes_of(board)),
        f"<script type='application/json' id='leaderboard'>{_inline(as_json(board))}</script>",
        "</body></html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def html_table(rows: Sequence[Sequence[str]]) -> str:
    """A table, its first row the head; rows whose first cell begins with * are those of floors."""
    head = "".join(f"<th>{html.escape(text)}</th>" for text in rows[0])
    body = ""
    for cells in rows[1:]:
        mark = " class='floor'" if cells[0].startswith("*") else ""
        body += f"<tr{mark}>{''.join(f'<td>{html.escape(text)}</td>' for text in cells)}</tr>\n"
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table>"


def _picture(png: bytes, what: str) -> str:
    return f"<p><img alt='{what}' src='data:image/png;base64,{base64.b64encode(png).decode()}'></p>"


def _inline(plain: dict[str, Any]) -> str:
    """JSON that cannot end the element it stands in."""
    return json.dumps(plain).replace("<", "\\u003c")
