"""How far a study is: which of its experiments are measured, and which candidates its choices have fallen on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from assets.lake.freshness import Published
from assets.lake.versions import Version
from contracts.config.study import Grid, Group, Point

SELECTED_ON = "validation"


@dataclass(frozen=True)
class Choice:
    """Which candidate of a group is run on, and the numbers that decided."""

    group: Group
    values: Mapping[str, float]
    """Key of each measured candidate → its mean on validation."""

    @property
    def best(self) -> Point | None:
        """The best candidate, the first of equal ones; None while none is measured."""
        measured = [point for point in self.group.candidates if point.key in self.values]
        return max(measured, key=lambda point: self.values[point.key], default=None)


@dataclass(frozen=True)
class Progress:
    """How far a study is."""

    choices: Sequence[Choice]
    asked: Sequence[Point]
    """Its experiments, as far as the choices are made."""
    measured: Sequence[Point]
    """Of those, the ones whose metrics are those of the files and tables as they are."""


def progress(published: Published, dataset: str, grid: Grid) -> Progress:
    """What is published of a study on one data set."""
    choices = [choice(published, dataset, grid, group) for group in grid.groups()]
    asked = grid.asked([made.best for made in choices if made.best is not None])
    return Progress(choices, asked, [point for point in asked if is_measured(published, dataset, point)])


def choice(published: Published, dataset: str, grid: Grid, group: Group) -> Choice:
    """What the measured candidates of a group are worth on validation rows."""
    select = grid.study.select
    assert select is not None  # otherwise there is no group
    measured = {point.key: published.current_metrics(dataset, point.key) for point in group.candidates}
    return Choice(group, {key: _mean(version, select.by) for key, version in measured.items() if version is not None})


def is_measured(published: Published, dataset: str, point: Point) -> bool:
    """Whether an experiment has metrics that are those of its file and of every table above them as they are."""
    return published.current_metrics(dataset, point.key) is not None


def _mean(metrics: Version, metric: str) -> float:
    rows = metrics.scan().filter(pl.col("split") == SELECTED_ON, pl.col("metric") == metric)
    return float(rows.select(pl.col("value").mean()).collect().item())
