"""The pictures of a study: metric against number, loss against metric, gradients, and curves.

Colours tell the labels of the contrast apart, or numbers where lines of several numbers share a panel.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise, product
from typing import TYPE_CHECKING

from evaluation.reports.panels import (
    BAND,
    COLOURS,
    COLUMNS,
    FLOOR,
    START,
    STYLES,
    Look,
    Panel,
    add_legend,
    as_png,
    blank_figure,
    colour_of,
    draw_intervals,
    logarithmic_x,
    make_plain,
    panel_grid,
    spans_decades,
    title_panel,
)
from evaluation.reports.study.cells import AGAINST_START, Cell, CellMetric, StudyNumbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
"""Curves with a logarithmic scale where they span decades."""


def study_figures(numbers: StudyNumbers) -> dict[str, bytes]:
    """PNG files by name; one that would be empty is left out."""
    figures = {
        "metrics": _metrics(numbers),
        "differences": _differences(numbers),
        "loss_against_metric": _loss_against_metric(numbers),
        "gradients": _over_steps(numbers, GRADIENTS),
        "curves": _over_steps(numbers, CURVES),
    }
    return {name: as_png(figure) for name, figure in figures.items() if figure is not None}


# Metrics


Values = Mapping[tuple[str, str], CellMetric]
"""Values by cell and metric."""
Background = Callable[[Sequence[Cell], str, Panel], object]
"""Draws the background of some cells' values of a metric."""


def _metrics(numbers: StudyNumbers) -> "Figure":
    values = {(cell.name, metric): found for cell in numbers.cells for metric, found in cell.metrics.items()}
    is_vertical = numbers.axes.swept is None
    return _drawn(
        numbers,
        values,
        label="{}",
        background=lambda cells, metric, axes: _background(numbers, cells, metric, axes, vertical=is_vertical),
        behind=_of_background(numbers),
    )


def _differences(numbers: StudyNumbers) -> "Figure | None":
    """Each cell minus what it started from, on the same rows: much of what users differ by is gone."""
    values = {
        (one.pair.first, one.metric): CellMetric(one.difference.value, one.difference.low, one.difference.high, ())
        for one in numbers.comparisons
        if one.pair.table == AGAINST_START
    }
    if not values:
        return None

    def zero(_cells: Sequence[Cell], _metric: str, axes: Panel) -> None:
        line = axes.axhline if numbers.axes.swept is not None else axes.axvline
        line(0.0, color=START, linestyle="--", linewidth=1.1, zorder=1)

    behind = [Look(START, "--", _named_starts(numbers))]
    return _drawn(numbers, values, label="{}\nminus that of the start", background=zero, behind=behind)


def _drawn(
    numbers: StudyNumbers, values: Values, *, label: str, background: Background, behind: Sequence[Look]
) -> "Figure":
    """Over the numbers of a sweep, or cell under cell."""
    draw = _dots if numbers.axes.swept is None else _by_number_of
    figure, looks = draw(numbers, values, label=label, background=background)
    add_legend(figure, [*looks, *behind])
    return figure


def _by_number_of(
    numbers: StudyNumbers, values: Values, *, label: str, background: Background
) -> "tuple[Figure, list[Look]]":
    """One line for each label of the contrast."""
    groups = _groups(numbers)
    figure, panels = panel_grid(len(groups), len(numbers.compared), sharey="row" if len(groups) <= COLUMNS else False)
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
            draw_intervals(axes, x, found, look)
            axes.plot(x, [of.value for of in found], "o-", color=look.colour, markersize=4.5, linewidth=2, zorder=4)
        axes.set_xticks(sorted({numbers.axes.number(cell) for cell in cells}))
        title_panel(axes, title, x=str(numbers.axes.swept), y=label.format(metric), n_groups=len(groups))
    return figure, list(looks.values())


def _dots(numbers: StudyNumbers, values: Values, *, label: str, background: Background) -> "tuple[Figure, list[Look]]":
    """One line for each cell, the first on top."""
    figure = blank_figure(3.4 * len(numbers.compared) + 2.4, 0.32 * len(numbers.cells) + 1.5)
    panels = figure.subplots(1, len(numbers.compared), sharey=True, squeeze=False)[0]
    cells = numbers.cells[::-1]
    looks = _contrasts(numbers)
    is_told = numbers.axes.contrast is not None and len(numbers.axes.labels) > 1
    for metric, axes in zip(numbers.compared, panels, strict=True):
        background(cells, metric, axes)
        for place, cell in enumerate(cells):
            if (cell.name, metric) not in values:
                continue
            found, colour = (
                values[cell.name, metric],
                looks[_contrast_of(numbers, cell)].colour if is_told else COLOURS[1],
            )
            axes.plot([found.low, found.high], [place, place], color=colour, linewidth=1.8, zorder=3)
            axes.plot([found.value], [place], "o", color=colour, markersize=5.5, zorder=4)
            if len(found.by_seed) > 1:
                axes.plot(found.by_seed, [place] * len(found.by_seed), "|", color="black", markersize=6, zorder=5)
        axes.set_title(label.format(metric), fontsize=10, fontweight="bold")
        make_plain(axes, lines="x")
        axes.tick_params(labelleft=axes is panels[0])
    panels[0].set_yticks(range(len(cells)), [cell.name for cell in cells], fontsize=9)
    panels[0].set_ylim(-0.6, len(cells) - 0.4)
    return figure, list(looks.values()) if is_told else []


def _loss_against_metric(numbers: StudyNumbers) -> "Figure | None":
    groups = {
        title: known
        for title, cells in _groups(numbers).items()
        if (known := [c for c in cells if c.losses is not None])
    }
    if not groups:
        return None
    metric, swept = numbers.compared[0], numbers.axes.swept
    figure, panels = panel_grid(len(groups), 1, sharey=len(groups) <= COLUMNS, width=3.6, height=3.3)
    looks = _contrasts(numbers)
    is_wide = spans_decades([_final_loss(cell, swept is None) for cells in groups.values() for cell in cells])
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
            draw_intervals(axes, [x for x, _ in points], [of for _, of in points], look)
            for cell, (x, of) in zip(line, points, strict=True):
                axes.plot([x], [of.value], "o", color=look.colour, markersize=5, zorder=4)
                if swept is None:  # the legend names them: they lie too close for words
                    continue
                box = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.75}
                text = cell.labels[swept]
                axes.annotate(
                    text, (x, of.value), (6, 5), textcoords="offset points", fontsize=8, color=look.colour, bbox=box
                )
        if is_wide:
            logarithmic_x(axes)
        axes.margins(x=0.18)
        title_panel(
            axes,
            title,
            x="final training loss" + (", as a share of the first" if swept is None else ""),
            y=metric,
            n_groups=len(groups),
        )
    add_legend(figure, [*looks.values(), *_of_background(numbers)])
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
    figure, panels = panel_grid(len(groups), len(drawn), sharey="row" if len(groups) <= COLUMNS else False, height=2.2)
    looks = _of_lines(numbers)
    wide = {
        name
        for name in LOGARITHMIC
        if spans_decades([value for cell in numbers.cells for _, value in cell.curve(name)])
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
        title_panel(axes, title, x="optimizer step", y=quantities[name], n_groups=len(groups))
    add_legend(figure, list(looks.values()))
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


# What shares a panel, and what tells lines apart


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
    return {label: Look(colour_of(place, len(labels)), "-", label) for place, label in enumerate(labels)}


# Behind the lines


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
    for floor in drawn_floors(numbers, metric):
        line(floor.metrics[metric].value, color=FLOOR, linestyle=":", linewidth=1.1, zorder=1)


def drawn_floors(numbers: StudyNumbers, metric: str) -> list[Cell]:
    """Floors no further below the lowest interval than the highest is above it: others press the cells into a line."""
    found = [cell.metrics[metric] for cell in numbers.cells if metric in cell.metrics]
    low, high = min(of.low for of in found), max(of.high for of in found)
    floors = [floor for floor in numbers.floors if metric in floor.metrics]
    return [floor for floor in floors if floor.metrics[metric].value > low - (high - low)]


def _of_background(numbers: StudyNumbers) -> list[Look]:
    looks = [Look(START, "--", _named_starts(numbers))] if numbers.starts else []
    drawn = {floor.name for metric in numbers.compared for floor in drawn_floors(numbers, metric)}
    floors = ", ".join(floor.name for floor in numbers.floors if floor.name in drawn)
    return [*looks, Look(FLOOR, ":", f"floors: {floors}")] if floors else looks


def _named_starts(numbers: StudyNumbers) -> str:
    return numbers.starts[0].name if len(numbers.starts) == 1 else "the start of each panel"
