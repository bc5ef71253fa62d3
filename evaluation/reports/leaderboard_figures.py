"""Pictures of a leaderboard: intervals by metric, and quality against cost."""

from typing import Any

from evaluation.reports.document import LEAK
from evaluation.reports.leaderboard import COVERAGE, Leaderboard
from evaluation.reports.panels import as_png, blank_figure

LEAST_SECONDS = 0.01
"""Where a logarithmic axis shows what took no time."""


def board_title(board: Leaderboard) -> str:
    """Data set, split and size in a line."""
    size = f"{board.users:,} users, {board.rows_evaluated:,} rows"
    return f"{board.dataset}, {board.split}: {size}; best {board.sorted_by} first"


def intervals_png(board: Leaderboard) -> bytes:
    """A picture: one panel per metric, one interval per experiment, in the order of the table; floors hollow."""
    rows = board.rows[::-1]
    figure = blank_figure(3.2 * len(board.metrics) + 2.0, 0.36 * len(rows) + 1.6)
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
    heading = board_title(board) + (f"; band: {board.base}" if board.base else "")
    heading += f"\n{LEAK} from tables with accepted leaks: {', '.join(board.leaks)}" if board.leaks else ""
    figure.suptitle(heading, fontsize=9)  # pyright: ignore[reportUnknownMemberType]: matplotlib leaves **kwargs untyped
    return as_png(figure)


def cost_png(board: Leaderboard) -> bytes:
    """A picture: accuracy against seconds of training, coverage as the size of a mark, the front filled and joined."""
    figure: Any = blank_figure(9.0, 4.6)
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
    return as_png(figure)
