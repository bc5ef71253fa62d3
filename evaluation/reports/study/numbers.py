"""The numbers of a study: seeds averaged, paired comparisons of cells, and diagnoses of sweeps.

Dimension key: u users, c columns (cell × metric).
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import polars as pl

from evaluation.reports.study.cells import (
    AGAINST_START,
    COMPARED,
    SEED,
    SHOWN,
    Axes,
    Cell,
    CellMetric,
    Comparison,
    MeasuredRuns,
    Pair,
    StudyNumbers,
    StudyRun,
    Sweep,
    axes_of,
)
from evaluation.statistics.collapse import Judgement, SweepPoint, judge_sweep
from evaluation.statistics.significance import (
    STANDARD,
    Column,
    Difference,
    Panel,
    Resampling,
    bootstrap,
    holm,
    outcome,
    panel_of,
)


def study_numbers(study: MeasuredRuns, how: Resampling = STANDARD) -> StudyNumbers:
    """Averages over seeds, compares cells by the paired user-cluster bootstrap, judges every sweep.

    Args:
        study: the labels of each run name its cell.
        how: the resampling, with more resamples where Holm's correction needs smaller p-values than these can show.
            1 - level is the chance of any false finding in one table.

    Raises:
        ValueError: no run, a label that its axis lacks, two runs of the same cell and seed, names that are not
            unique, or runs that were evaluated on different rows.
    """
    axes = axes_of(study.axes)
    cells = _cells(study.runs, axes, taken={*(start.experiment for start in study.starts), *study.floors})
    of_starts = [Cell(start.experiment, {}, (start,), {}) for start in study.starts]
    of_floors = [
        Cell(name, {}, (StudyRun(name, {}, table, {}, 0.0),), {}) for name, table in sorted(study.floors.items())
    ]
    panel, by_seed = _averaged([*cells, *of_starts, *of_floors], study.split)
    pairs = [*_against_start(cells, of_starts), *_against_control(cells, axes), *_against_most(cells, axes)]
    asked = [
        (pair, metric)
        for pair in pairs
        for metric in dict.fromkeys(name for _, name in panel.columns)
        if metric.startswith(COMPARED) and {(pair.first, metric), (pair.second, metric)} <= set(panel.columns)
    ]
    how = how.enough_for(len(asked))
    columns = [((pair.first, metric), (pair.second, metric)) for pair, metric in asked]
    found = bootstrap(panel, columns, how)
    metrics = tuple(sorted({metric for _, metric in panel.columns}, key=_place))

    def measured(cell: Cell) -> Cell:
        mine = [column for metric in metrics if (column := (cell.name, metric)) in by_seed]
        of_mine = {
            column[1]: CellMetric(interval.value, interval.low, interval.high, by_seed[column])
            for column in mine
            for interval in [found.intervals[column]]
        }
        return replace(cell, metrics=of_mine)

    cells = [measured(cell) for cell in cells]
    comparisons = _comparisons(asked, found.differences, how.alpha)
    return StudyNumbers(
        axes=axes,
        cells=tuple(cells),
        starts=tuple(map(measured, of_starts)),
        floors=tuple(map(measured, of_floors)),
        metrics=metrics,
        comparisons=comparisons,
        sweeps=tuple(_sweeps(cells, axes, comparisons, metrics)),
        split=study.split,
        users=int(panel.user_ids.size),
        rows=int(panel.rows.sum()),
        resamples=how.times,
        level=how.level,
    )


def _cells(runs: Sequence[StudyRun], axes: Axes, taken: Collection[str]) -> list[Cell]:
    """The cells of the grid that have runs; one that would be called as something else that is shown says its axes."""
    if not runs:
        raise ValueError("a study must have at least one measured run, got none. Run its experiments first.")
    by_labels: dict[tuple[str, ...], dict[str, StudyRun]] = {}
    for run in runs:
        wrong = {axis: run.labels.get(axis) for axis in axes.labels if run.labels.get(axis) not in axes.labels[axis]}
        if wrong:
            raise ValueError(f"{run.experiment} must have labels of the axes {dict(axes.labels)}, got {wrong}.")
        of_cell = by_labels.setdefault(tuple(run.labels[axis] for axis in axes.labels), {})
        seed = run.labels.get(SEED, "")
        if seed in of_cell:
            raise ValueError(f"runs must differ in their labels, got {of_cell[seed].experiment} and {run.experiment}.")
        of_cell[seed] = run
    return [
        Cell(_cell_name(key, axes, taken), dict(zip(axes.labels, key, strict=True)), _by_seed(by_labels[key]), {})
        for key in product(*axes.labels.values())
        if key in by_labels
    ]


def _cell_name(labels: Sequence[str], axes: Axes, taken: Collection[str]) -> str:
    """The labels joined, as in the names of experiments."""
    name = "-".join(labels)
    return f"{name} ({'-'.join(axes.labels)})" if name in taken else name


def _by_seed(runs: Mapping[str, StudyRun]) -> tuple[StudyRun, ...]:
    return tuple(runs[seed] for seed in sorted(runs, key=lambda seed: (len(seed), seed)))


def _averaged(cells: Sequence[Cell], split: str) -> tuple[Panel, dict[Column, tuple[float, ...]]]:
    """A panel whose columns are means over the seeds of each cell; and the mean over rows of each seed."""
    names, experiments = [c.name for c in cells], [run.experiment for c in cells for run in c.runs]
    for what in (names, experiments):
        repeated = sorted({name for name in what if what.count(name) > 1})
        if repeated:
            raise ValueError(f"cells, start, floors and experiments must have different names, got {repeated} twice.")
    is_shown = pl.any_horizontal(pl.col("metric").str.starts_with(beginning) for beginning in SHOWN)
    panel = panel_of({run.experiment: run.metrics.filter(is_shown) for c in cells for run in c.runs}, split=split)
    place = {column: at for at, column in enumerate(panel.columns)}
    metrics = dict.fromkeys(metric for _, metric in panel.columns)
    total = panel.rows.sum()
    columns: dict[Column, list[int]] = {}
    for cell in cells:
        for metric in metrics:
            of_runs = [place.get((run.experiment, metric)) for run in cell.runs]
            if None not in of_runs:
                columns[cell.name, metric] = [at for at in of_runs if at is not None]
    sums = np.stack([panel.sums[:, places].mean(axis=1) for places in columns.values()], axis=1)
    by_seed = {
        column: tuple((panel.sums[:, places].sum(axis=0) / total).tolist()) for column, places in columns.items()
    }
    return Panel(panel.user_ids, panel.rows, tuple(columns), sums), by_seed


def _against_start(cells: Sequence[Cell], starts: Sequence[Cell]) -> Iterator[Pair]:
    shown = {start.name for start in starts}
    for cell in cells:
        if cell.start in shown:
            yield Pair(AGAINST_START, cell.name, cell.start)


def _against_control(cells: Sequence[Cell], axes: Axes) -> Iterator[Pair]:
    if axes.contrast is None:
        return
    control = axes.labels[axes.contrast][0]
    controls = {_others(cell, axes): cell.name for cell in cells if cell.labels[axes.contrast] == control}
    for cell in cells:
        other = controls.get(_others(cell, axes))
        if other is not None and cell.name != other:
            yield Pair(f"against {axes.contrast} {control}", cell.name, other)


def _others(cell: Cell, axes: Axes) -> tuple[str, ...]:
    return tuple(label for axis, label in cell.labels.items() if axis != axes.contrast)


def _against_most(cells: Sequence[Cell], axes: Axes) -> Iterator[Pair]:
    for line in _lines(cells, axes):
        for cell in line[:-1]:
            yield Pair(f"against the largest {axes.swept}", cell.name, line[-1].name)


def _lines(cells: Sequence[Cell], axes: Axes) -> list[list[Cell]]:
    """Two or more cells that differ in nothing but the axis of numbers, sorted by it."""
    if axes.swept is None:
        return []
    lines: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        lines.setdefault(tuple(cell.labels[axis] for axis in axes.labels if axis != axes.swept), []).append(cell)
    return [sorted(line, key=axes.number) for line in lines.values() if len(line) > 1]


def _comparisons(
    asked: Sequence[tuple[Pair, str]], differences: Sequence[Difference], alpha: float
) -> tuple[Comparison, ...]:
    adjusted: dict[tuple[Pair, str], float] = {}
    for table in dict.fromkeys(pair.table for pair, _ in asked):
        mine = [(what, d.p_value) for what, d in zip(asked, differences, strict=True) if what[0].table == table]
        adjusted |= dict(zip((what for what, _ in mine), holm([p for _, p in mine]), strict=True))
    return tuple(
        Comparison(*what, difference, adjusted[what], outcome(difference.value, adjusted[what], alpha=alpha))
        for what, difference in zip(asked, differences, strict=True)
    )


def _sweeps(
    cells: Sequence[Cell], axes: Axes, comparisons: Sequence[Comparison], metrics: Sequence[str]
) -> Iterator[Sweep]:
    """Every line of cells is judged by every metric that is compared."""
    errors = {
        (found.pair.first, found.pair.second, found.metric): found.difference.standard_error for found in comparisons
    }
    for metric, line in product((name for name in metrics if name.startswith(COMPARED)), _lines(cells, axes)):
        most = line[-1]
        points = [
            SweepPoint(
                axes.number(cell),
                cell.metrics[metric].value,
                errors.get((cell.name, most.name, metric), 0.0),
                _seed_error(cell, most, metric),
                *losses,
            )
            for cell in line
            if (losses := cell.losses) is not None
        ]
        labels = {axis: label for axis, label in most.labels.items() if axis != axes.swept}
        if len(points) == len(line):
            judgement = judge_sweep(points, objective=most.objective)
        else:
            judgement = Judgement("cannot tell", ("a run has no training loss",))
        yield Sweep(labels, tuple(line), metric, judgement)


def _seed_error(first: Cell, second: Cell, metric: str) -> float:
    """Standard error of a mean over seeds of differences within a seed; 0 with fewer than two seeds."""
    of_second = dict(zip(_seeds(second), second.metrics[metric].by_seed, strict=True))
    of_first = dict(zip(_seeds(first), first.metrics[metric].by_seed, strict=True))
    shared = sorted(of_first.keys() & of_second.keys())
    if len(shared) < 2:
        return 0.0
    drops = [of_first[seed] - of_second[seed] for seed in shared]
    return float(np.std(drops, ddof=1)) / math.sqrt(len(drops))


def _seeds(cell: Cell) -> list[str]:
    return [run.labels.get(SEED, "") for run in cell.runs]


def _place(metric: str) -> tuple[int, str]:
    return next(at for at, beginning in enumerate(SHOWN) if metric.startswith(beginning)), metric
