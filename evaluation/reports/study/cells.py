"""The parts of a study's report: runs, the cells of its grid, comparisons of two, and sweeps of several.

A cell holds the runs that differ in nothing but their seed. Runs are told apart by their labels, never by their order.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np
import polars as pl
from pydantic import ConfigDict, Field, PlainSerializer, computed_field

from evaluation.statistics.collapse import Curves, Judgement, first_and_last_loss
from evaluation.statistics.significance import Difference, Interval, Outcome

SEED = "seed"
COMPARED = ("hit_ratio_at_1_of_", "ndcg_at_10_full")
"""Beginnings of the metrics that are compared: that of the papers, and one of the whole catalogue."""
SHOWN = (*COMPARED, "mrr_of_", "recall_at_10_full")
"""Beginnings of all metrics of a report, in its order."""
AGAINST_START = "against its start"
"""The table of comparisons of each cell with what it started from."""
NUMBER = re.compile(r"(\D*)(\d+(?:\.\d+)?)")

Labels = Mapping[str, str]
"""Axis → label."""


@dataclass(frozen=True)
class StudyRun:
    """One measured experiment of a study."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(arbitrary_types_allowed=True)  # polars' table

    experiment: str
    labels: Labels
    """The label on every axis; the seed is one of them."""
    metrics: pl.DataFrame
    """The table `metrics`: row_id, user_id, split, protocol, metric, value."""
    curves: Curves
    seconds: float
    """The time of training."""
    objective: str = ""
    """Its kind; where it is empty, losses with different numbers of negatives are not compared."""
    start: str = ""
    """The experiment whose policy it started from, if that is shown too."""


@dataclass(frozen=True)
class MeasuredRuns:
    """The runs of a study, and what they are shown beside."""

    runs: Sequence[StudyRun]
    """In any order; cells of the grid may be missing."""
    axes: Mapping[str, Sequence[str]]
    """Axis → its labels in the order in which they are shown. An axis whose labels are one word with different numbers
    (k1, k5) is swept: metrics are drawn against it, and each sweep is judged."""
    split: str
    """validation or test."""
    starts: Sequence[StudyRun] = ()
    """One for each experiment that a run names as its start."""
    floors: Mapping[str, pl.DataFrame] = field(default_factory=dict[str, pl.DataFrame])
    """The metrics of experiments that ignore the user, by name; they are shown and not compared."""


@dataclass(frozen=True)
class Shared:
    """A part that several experiments of a study are made from, computed once."""

    name: str
    seconds: float
    needed_by: int
    """Experiments, each of which would have computed it on its own."""

    @property
    def saved(self) -> float:
        """Seconds."""
        return self.seconds * (self.needed_by - 1)


@dataclass(frozen=True)
class CellMetric(Interval):
    """One metric of one cell: its mean over rows and seeds, with the interval of other users and the same seeds."""

    by_seed: tuple[float, ...]
    """Means over rows of each run, by seed."""

    @computed_field
    @property
    def seed_deviation(self) -> float | None:
        """The effect of another seed on one run; None with a single seed."""
        return float(np.std(self.by_seed, ddof=1)) if len(self.by_seed) > 1 else None


@dataclass(frozen=True)
class Cell:
    """Runs that differ in nothing but their seed."""

    name: str
    """Unique in a study."""
    labels: Labels
    """The labels of all axes but the seed."""
    runs: Annotated[tuple[StudyRun, ...], Field(exclude=True)]
    """Sorted by seed."""
    metrics: Mapping[str, CellMetric]

    @computed_field
    @property
    def experiments(self) -> tuple[str, ...]:
        """The names of the runs."""
        return tuple(run.experiment for run in self.runs)

    @property
    def objective(self) -> str:
        """The kind that all runs share, if they do."""
        kinds = {run.objective for run in self.runs}
        return kinds.pop() if len(kinds) == 1 else ""

    @property
    def start(self) -> str:
        """The experiment that all runs started from, if it is the same."""
        starts = {run.start for run in self.runs}
        return starts.pop() if len(starts) == 1 else ""

    @computed_field
    @property
    def losses(self) -> tuple[float, float] | None:
        """First and last training loss, means over seeds; None where a run has no loss."""
        found = [losses for run in self.runs if (losses := first_and_last_loss(run.curves)) is not None]
        if len(found) < len(self.runs):
            return None
        first, last = (math.fsum(losses[at] for losses in found) / len(found) for at in (0, 1))
        return first, last

    @computed_field
    @property
    def seconds(self) -> float:
        """The time of training, all seeds together."""
        return math.fsum(run.seconds for run in self.runs)

    def curve(self, name: str) -> list[tuple[int, float]]:
        """The mean over seeds, at the steps that all of them have."""
        of_runs = [dict(run.curves.get(name, ())) for run in self.runs]
        shared = sorted(set[int].intersection(*(set(curve) for curve in of_runs)))
        return [(step, math.fsum(curve[step] for curve in of_runs) / len(of_runs)) for step in shared]


@dataclass(frozen=True)
class Pair:
    """Two cells that are compared."""

    table: str
    """Why; Holm's correction counts all comparisons of one table."""
    first: str
    second: str


@dataclass(frozen=True)
class Comparison:
    """One metric of two cells on the same rows, first minus second, seeds averaged."""

    pair: Pair
    metric: str
    difference: Difference
    adjusted_p: float
    outcome: Annotated[Outcome, Field(alias="verdict")]
    """`verdict` in JSON."""


@dataclass(frozen=True)
class Sweep:
    """Cells that differ in nothing but one number, how many negatives, and their diagnosis."""

    labels: Labels
    """The labels that the cells have in common."""
    cells: Annotated[tuple[Cell, ...], PlainSerializer(lambda cells: [cell.name for cell in cells])]
    """Sorted by that number; JSON has their names."""
    metric: str
    judgement: Judgement


@dataclass(frozen=True)
class Axes:
    """The axes that distinguish the cells of a study."""

    labels: Mapping[str, tuple[str, ...]]
    """The labels of every axis but the seed, in the order in which they are shown."""
    swept: str | None
    """The axis of numbers."""
    contrast: str | None
    """The axis whose first label the others are compared with."""

    @property
    def panels(self) -> tuple[str, ...]:
        """The other axes."""
        return tuple(axis for axis in self.labels if axis not in (self.swept, self.contrast))

    def number(self, cell: Cell) -> float:
        """The place of a cell on the axis of numbers."""
        assert self.swept is not None
        found = NUMBER.fullmatch(cell.labels[self.swept])
        assert found is not None  # otherwise it would be no axis of numbers
        return float(found[2])


@dataclass(frozen=True)
class StudyNumbers:
    """Everything that tables and figures are made from."""

    axes: Axes
    cells: tuple[Cell, ...]
    """In the order of the axes."""
    starts: tuple[Cell, ...]
    """The experiments that the cells started from."""
    floors: tuple[Cell, ...]
    metrics: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    sweeps: tuple[Sweep, ...]
    split: str
    users: int
    rows: int
    resamples: int
    level: float

    @property
    def compared(self) -> tuple[str, ...]:
        """The metrics that are compared, and that sweeps are judged by."""
        return tuple(metric for metric in self.metrics if metric.startswith(COMPARED))


def axes_of(labels: Mapping[str, Sequence[str]]) -> Axes:
    """The axes of a study, from the labels of each in the file's order; the seed's is left out.

    The contrast is the last axis that is neither of numbers nor the seed, where there is another such one before it.

    >>> axes_of({"base": ["dmpo", "sdpo"], "boundary": ["plain", "dynamicpo"], "negatives": ["k1", "k5"]})
    ... # doctest: +ELLIPSIS
    Axes(labels=..., swept='negatives', contrast='boundary')
    """
    without_seed = {axis: tuple(of_axis) for axis, of_axis in labels.items() if axis != SEED}
    swept = next((axis for axis, of_axis in without_seed.items() if _are_numbers(of_axis)), None)
    named = [axis for axis, of_axis in without_seed.items() if axis != swept and len(of_axis) > 1]
    return Axes(without_seed, swept, named[-1] if len(named) > 1 else None)


def _are_numbers(labels: Sequence[str]) -> bool:
    """Whether labels are the same word with different numbers: k1, k5."""
    found = [NUMBER.fullmatch(label) for label in labels]
    parts = [(match[1], float(match[2])) for match in found if match is not None]
    same_word = len({word for word, _ in parts}) == 1
    return len(parts) == len(labels) > 1 and same_word and len(set(parts)) == len(parts)
