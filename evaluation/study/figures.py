"""The pictures of a study: metric against number, loss against metric, gradients, and curves.

Colours tell the labels of the contrast apart, or numbers where lines of several numbers share a panel.
"""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

from evaluation.study.cells import AGAINST_START, Cell, CellMetric, StudyNumbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Panel = Any
"""matplotlib's Axes; its annotations leave keyword arguments untyped."""

COLOURS = ("#c4502e", "#1f5fa8", "#3a8a4d", "#8a4fa3", "#b8860b", "#4b9cab", "#a33e5d", "#6b6b6b")
"""Told apart by the colour-blind too, in their first four."""
STYLES = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (4, 1.5, 1, 1.5)))
START, BAND, FLOOR = "#444444", "#ececec", "#9a9a9a"
COLUMNS = 4
WIDTH = 7.0
"""Inches of the narrowest figure."""
DPI = 130

GRADIENTS = {
    "diagnostic/grad_share_easy": "share of the gradient\non easy negatives",
    "diagnostic/saturation": "saturation factor σ(−z)\n(0: nothing is learned)",
    "diagnostic/grad_boundary_abs": "gradient on a\nboundary negative",
}
CURVES = {
    "train/loss": "training loss",
    "validation/ndcg_at_10_full": "validation\nndcg_at_10_full",
    "diagnostic/probe_win_rate_all": "win rate on the fixed\nprobe of 19 negatives",
}
LOGARITHMIC = ("train/loss", "diagnostic/grad_boundary_abs")
"""What is drawn on a logarithmic scale where it spans decades."""


@dataclass(frozen=True)
class Look:
    """How a line is drawn, and what the legend says."""

    colour: Any
    style: Any
    label: str


def study_figures(numbers: StudyNumbers) -> dict[str, bytes]:
    """PNG files by name; one that would be empty is left out."""
    figures = {
        "metrics": _metrics_by_number(numbers) if numbers.axes.swept else _dots(numbers),
        "differences": _differences_by_number(numbers),
        "loss_against_metric": _loss_against_metric(numbers),
        "gradients": _over_steps(numbers, GRADIENTS),
        "curves": _over_steps(numbers, CURVES),
    }
    return {name: _png(figure) for name, figure in figures.items() if figure is not None}


# Metrics


def _metrics_by_number(numbers: StudyNumbers) -> "Figure":
    figure = _by_number_of(
        numbers,
        {(cell.name, metric): found for cell in numbers.cells for metric, found in cell.metrics.items()},
        label="{}",
        background=lambda cells, metric, axes: _background(numbers, cells, metric, axes),
    )
    _legend(figure, [*_contrasts(numbers).values(), *_of_background(numbers)])
    return figure


def _differences_by_number(numbers: StudyNumbers) -> "Figure | None":
    """Each cell minus what it started from, on the same rows: much of what users differ by is gone."""
    found = {
        (one.pair.first, one.metric): CellMetric(one.difference.value, one.difference.low, one.difference.high, ())
        for one in numbers.comparisons
        if one.pair.table == AGAINST_START
    }
    if numbers.axes.swept is None or not found:
        return None
    figure = _by_number_of(
        numbers,
        found,
        label="{}\nminus that of the start",
        background=lambda cells, metric, axes: axes.axhline(0.0, color=START, linestyle="--", linewidth=1.1, zorder=1),
    )
    _legend(figure, [*_contrasts(numbers).values(), Look(START, "--", _named_starts(numbers))])
    return figure


def _by_number_of(
    numbers: StudyNumbers,
    values: Mapping[tuple[str, str], CellMetric],
    *,
    label: str,
    background: Callable[[Sequence[Cell], str, Panel], object],
) -> "Figure":
    """One line for each label of the contrast; values by cell and metric."""
    groups = _groups(numbers)
    figure, panels = _grid(len(groups), len(numbers.compared), sharey="row" if len(groups) <= COLUMNS else False)
    looks = _contrasts(numbers)
    for (metric, (title, cells)), axes in zip(product(numbers.compared, groups.items()), panels, strict=True):
        background(cells, metric, axes)
        span = max(map(numbers.axes.number, cells)) - min(map(numbers.axes.number, cells)) or 1.0
        for place, (name, look) in enumerate(looks.items()):
            of_line = [c for c in cells if _contrast_of(numbers, c) == name and (c.name, metric) in values]
            line = sorted(of_line, key=numbers.axes.number)
            if not line:
                continue
            shift = (place - (len(looks) - 1) / 2) * 0.012 * span
            x = [numbers.axes.number(cell) + shift for cell in line]
            found = [values[cell.name, metric] for cell in line]
            for seed in zip(*(of.by_seed for of in found), strict=False):
                axes.plot(x, seed, color=look.colour, linewidth=0.7, alpha=0.35, zorder=2)
            _intervals(axes, x, found, look)
            axes.plot(x, [of.value for of in found], "o-", color=look.colour, markersize=4.5, linewidth=2, zorder=4)
        axes.set_xticks(sorted({numbers.axes.number(cell) for cell in cells}))
        _titled(axes, title, x=str(numbers.axes.swept), y=label.format(metric), n_groups=len(groups))
    return figure


def _dots(numbers: StudyNumbers) -> "Figure":
    figure = _figure(3.4 * len(numbers.compared) + 2.4, 0.32 * len(numbers.cells) + 1.5)
    panels = figure.subplots(1, len(numbers.compared), sharey=True, squeeze=False)[0]
    cells = numbers.cells[::-1]
    looks = _contrasts(numbers)
    is_told = numbers.axes.contrast is not None and len(numbers.axes.labels) > 1
    for metric, axes in zip(numbers.compared, panels, strict=True):
        _background(numbers, cells, metric, axes, vertical=True)
        for place, cell in enumerate(cells):
            found, colour = cell.metrics[metric], looks[_contrast_of(numbers, cell)].colour if is_told else COLOURS[1]
            axes.plot([found.low, found.high], [place, place], color=colour, linewidth=1.8, zorder=3)
            axes.plot([found.value], [place], "o", color=colour, markersize=5.5, zorder=4)
            if len(found.by_seed) > 1:
                axes.plot(found.by_seed, [place] * len(found.by_seed), "|", color="black", markersize=6, zorder=5)
        axes.set_title(metric, fontsize=10, fontweight="bold")
        _plain(axes, grid="x")
        axes.tick_params(labelleft=axes is panels[0])
    panels[0].set_yticks(range(len(cells)), [cell.name for cell in cells], fontsize=9)
    panels[0].set_ylim(-0.6, len(cells) - 0.4)
    _legend(figure, [*(looks.values() if is_told else ()), *_of_background(numbers)])
    return figure


def _loss_against_metric(numbers: StudyNumbers) -> "Figure | None":
    groups = {
        title: known
        for title, cells in _groups(numbers).items()
        if (known := [c for c in cells if c.losses is not None])
    }
    if not groups:
        return None
    metric, swept = numbers.compared[0], numbers.axes.swept
    figure, panels = _grid(len(groups), 1, sharey=len(groups) <= COLUMNS, width=3.6, height=3.3)
    looks = _contrasts(numbers)
    is_wide = _spans_decades([_final_loss(cell, swept is None) for cells in groups.values() for cell in cells])
    for (title, cells), axes in zip(groups.items(), panels, strict=True):
        _background(numbers, cells, metric, axes)
        for label, look in looks.items():
            line = [cell for cell in cells if _contrast_of(numbers, cell) == label]
            points = [(_final_loss(cell, swept is None), cell.metrics[metric]) for cell in line]
            if swept is not None:
                line, points = _by_number(numbers, line, points)
                for (x, of), (next_x, next_of) in pairwise(points):
                    arrow = {"arrowstyle": "->", "color": look.colour, "linewidth": 1.4, "shrinkA": 4, "shrinkB": 4}
                    axes.annotate("", (next_x, next_of.value), (x, of.value), arrowprops=arrow, zorder=3)
            _intervals(axes, [x for x, _ in points], [of for _, of in points], look)
            for cell, (x, of) in zip(line, points, strict=True):
                axes.plot([x], [of.value], "o", color=look.colour, markersize=5, zorder=4)
                text = cell.labels[swept] if swept is not None else cell.name
                box = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.75}
                axes.annotate(
                    text, (x, of.value), (6, 5), textcoords="offset points", fontsize=8, color=look.colour, bbox=box
                )
        if is_wide:
            _logarithmic(axes)
        axes.margins(x=0.18)
        _titled(
            axes,
            title,
            x="final training loss" + (", as a share of the first" if swept is None else ""),
            y=metric,
            n_groups=len(groups),
        )
    _legend(figure, [*(looks.values() if swept is not None else ()), *_of_background(numbers)])
    return figure


def _by_number(
    numbers: StudyNumbers, cells: Sequence[Cell], points: Sequence[tuple[float, CellMetric]]
) -> tuple[list[Cell], list[tuple[float, CellMetric]]]:
    order = sorted(range(len(cells)), key=lambda at: numbers.axes.number(cells[at]))
    return [cells[at] for at in order], [points[at] for at in order]


def _final_loss(cell: Cell, as_share: bool) -> float:
    assert cell.losses is not None  # those without are not drawn
    first, last = cell.losses
    return last / first if as_share and first else last


# Over the steps of training


def _over_steps(numbers: StudyNumbers, quantities: Mapping[str, str]) -> "Figure | None":
    groups = _groups(numbers)
    drawn = [name for name in quantities if any(cell.curve(name) for cell in numbers.cells)]
    if not drawn:
        return None
    figure, panels = _grid(len(groups), len(drawn), sharey="row" if len(groups) <= COLUMNS else False, height=2.2)
    looks = _of_lines(numbers)
    wide = {
        name
        for name in LOGARITHMIC
        if _spans_decades([value for cell in numbers.cells for _, value in cell.curve(name)])
    }
    for (name, (title, cells)), axes in zip(product(drawn, groups.items()), panels, strict=True):
        for cell in cells:
            curve = cell.curve(name)
            if curve:
                look = looks[_line_of(numbers, cell)]
                marker = "." if len(curve) < 15 else None
                steps, values = zip(*curve, strict=True)
                axes.plot(steps, values, color=look.colour, linestyle=look.style, linewidth=1.5, marker=marker)
        if name in wide:
            axes.set_yscale("log")
        _titled(axes, title, x="optimizer step", y=quantities[name], n_groups=len(groups))
    _legend(figure, list(looks.values()))
    return figure


def _line_of(numbers: StudyNumbers, cell: Cell) -> tuple[str, str]:
    swept = numbers.axes.swept
    return ("" if swept is None else cell.labels[swept], _contrast_of(numbers, cell))


def _of_lines(numbers: StudyNumbers) -> dict[tuple[str, str], Look]:
    """Numbers by colour, light to dark, and contrast by style; without numbers, contrast by colour."""
    from matplotlib import colormaps

    contrasts = _contrasts(numbers)
    if numbers.axes.swept is None:
        return {("", label): look for label, look in contrasts.items()}
    present = {cell.labels[numbers.axes.swept]: numbers.axes.number(cell) for cell in numbers.cells}
    ordered = sorted(present, key=lambda label: present[label])
    shades = colormaps["plasma_r"]
    return {
        (label, contrast): Look(
            shades(0.2 + 0.75 * place / max(1, len(ordered) - 1)),
            STYLES[at % len(STYLES)],
            f"{label} {contrast}".strip(),
        )
        for at, contrast in enumerate(contrasts)
        for place, label in enumerate(ordered)
    }


# What all pictures share


def _groups(numbers: StudyNumbers) -> dict[str, list[Cell]]:
    """Cells that share a panel, by its title."""
    axes = numbers.axes
    over = axes.panels if axes.swept is not None or axes.contrast is not None else ()
    groups: dict[str, list[Cell]] = {}
    for cell in numbers.cells:
        groups.setdefault(" ".join(cell.labels[axis] for axis in over), []).append(cell)
    return groups


def _contrast_of(numbers: StudyNumbers, cell: Cell) -> str:
    axes = numbers.axes
    if axes.contrast is not None:
        return cell.labels[axes.contrast]
    return "" if axes.swept is not None else cell.name


def _contrasts(numbers: StudyNumbers) -> dict[str, Look]:
    labels = dict.fromkeys(_contrast_of(numbers, cell) for cell in numbers.cells)
    if numbers.axes.contrast is not None:
        labels = {label: None for label in numbers.axes.labels[numbers.axes.contrast] if label in labels}
    return {label: Look(_colour(place, len(labels)), "-", label) for place, label in enumerate(labels)}


def _colour(place: int, n: int) -> Any:
    if n <= len(COLOURS):
        return COLOURS[place]
    from matplotlib import colormaps

    return colormaps["turbo"](0.05 + 0.9 * place / (n - 1))


def _background(
    numbers: StudyNumbers, cells: Sequence[Cell], metric: str, axes: Panel, *, vertical: bool = False
) -> None:
    """What the panel's cells started from with its band, if that is the same, and the floors that are in its frame."""
    line, span = (axes.axvline, axes.axvspan) if vertical else (axes.axhline, axes.axhspan)
    starts = [cell for cell in numbers.starts if cell.name in {of.start for of in cells}]
    if len(starts) == 1 and metric in starts[0].metrics:
        start = starts[0].metrics[metric]
        span(start.low, start.high, color=BAND, zorder=0)
        line(start.value, color=START, linestyle="--", linewidth=1.1, zorder=1)
    for floor in numbers.floors:
        if metric in floor.metrics and _is_near(numbers, metric, floor.metrics[metric].value):
            line(floor.metrics[metric].value, color=FLOOR, linestyle=":", linewidth=1.1, zorder=1)


def _is_near(numbers: StudyNumbers, metric: str, value: float) -> bool:
    """Whether a floor can be drawn without pressing what is above it into a line."""
    found = [cell.metrics[metric] for cell in numbers.cells if metric in cell.metrics]
    low, high = min(of.low for of in found), max(of.high for of in found)
    return value > low - (high - low)


def _of_background(numbers: StudyNumbers) -> list[Look]:
    looks = [Look(START, "--", _named_starts(numbers))] if numbers.starts else []
    floors = ", ".join(
        floor.name
        for floor in numbers.floors
        if any(m in floor.metrics and _is_near(numbers, m, floor.metrics[m].value) for m in numbers.compared)
    )
    return [*looks, Look(FLOOR, ":", f"floors: {floors}")] if floors else looks


def _named_starts(numbers: StudyNumbers) -> str:
    return numbers.starts[0].name if len(numbers.starts) == 1 else "the start of each panel"


def _intervals(axes: Panel, x: Sequence[float], found: Sequence[CellMetric], look: Look) -> None:
    for at, of in zip(x, found, strict=True):
        axes.plot([at, at], [of.low, of.high], color=look.colour, linewidth=1.3, alpha=0.75, zorder=3)


def _grid(
    n_groups: int, n_rows: int, *, sharey: Any, width: float = 3.3, height: float = 2.7
) -> "tuple[Figure, Iterator[Panel]]":
    """Panels row after row; groups that do not fit beside one another go on in the next line."""
    columns = min(COLUMNS, n_groups)
    lines = -(-n_groups // columns) * n_rows
    figure = _figure(max(width * columns, WIDTH) + 0.6, height * lines + 0.7)
    grid = figure.subplots(lines, columns, squeeze=False, sharey=sharey)
    used: list[Panel] = []
    for block in range(n_rows):
        of_block = [axes for line in grid[block * (lines // n_rows) :][: lines // n_rows] for axes in line]
        used += of_block[:n_groups]
        for axes in of_block[n_groups:]:
            axes.set_axis_off()
    for axes in used:
        _plain(axes)
    return figure, iter(used)


def _logarithmic(axes: Panel) -> None:
    """Along x, with numbers at 1 and 3 of each decade: a panel may span less than one."""
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def _titled(axes: Panel, title: str, *, x: str, y: str, n_groups: int) -> None:
    """Names each row and column of panels once; each panel, where groups go on in the next line."""
    place = axes.get_subplotspec()
    if place.is_first_row() or n_groups > COLUMNS:
        axes.set_title(title, fontsize=10, fontweight="bold")
    if place.is_last_row():
        axes.set_xlabel(x, fontsize=9)
    if place.is_first_col():
        axes.set_ylabel(y, fontsize=9)


def _plain(axes: Panel, grid: Any = "both") -> None:
    axes.grid(axis=grid, color="0.92", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("0.6")
    axes.tick_params(labelsize=8, color="0.6", labelleft=True)


def _legend(figure: "Figure", looks: Sequence[Look]) -> None:
    from matplotlib.lines import Line2D

    looks = [look for look in looks if look.label]
    if looks:
        handles = [Line2D([], [], color=look.colour, linestyle=look.style, linewidth=2) for look in looks]
        labels = [look.label for look in looks]
        columns = max(1, min(len(looks), int(figure.get_figwidth() / 1.6)))
        figure.legend(  # pyright: ignore[reportUnknownMemberType]: matplotlib leaves **kwargs untyped
            handles, labels, loc="outside lower center", ncols=columns, fontsize=9, frameon=False, handlelength=2.6
        )


def _spans_decades(values: Sequence[float]) -> bool:
    return bool(values) and min(values) > 0 and max(values) > 20 * min(values)


def _figure(width: float, height: float) -> "Figure":
    # Figure and canvas without pyplot: no global state, no display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _png(figure: "Figure") -> bytes:
    picture = io.BytesIO()
    figure.savefig(picture, format="png")  # pyright: ignore[reportUnknownMemberType]: matplotlib leaves **kwargs untyped
    return picture.getvalue()
