"""The cost of training and using an experiment, and the experiments that no other one beats on everything at once.

Costs are measurements: they differ from run to run, so reports show them beside results and never among them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from pydantic import TypeAdapter


@dataclass(frozen=True)
class Cost:
    """Measured once, when it was made; None where nothing was measured."""

    train_seconds: float | None = None
    """Its own training, or fitting, with reading, validations and checkpoints."""
    total_seconds: float | None = None
    """Training with everything it needs and others may share: its start, mining, reference log-probabilities."""
    examples_per_s: float | None = None
    """Rows of a middling stretch of training; with n negatives a row is n + 1 completions."""
    train_peak_bytes: int | None = None
    """Resident memory of the training process at its peak, libraries included."""
    train_peak_device_bytes: int | None = None
    """Memory that training reserved on the device at its peak; None on a CPU."""
    score_ms_per_user: float | None = None
    """To rank the whole catalogue and the candidate set for one row, in a batch, without loading."""
    score_peak_bytes: int | None = None
    """Resident memory of the scoring process at its peak."""
    is_partial: bool = False
    """The training resumed an interrupted one; its seconds are those since then."""

    @property
    def measured(self) -> dict[str, float]:
        """The numbers that were measured, by name."""
        return {
            name: float(value) for name, value in asdict(self).items() if value is not None and name != "is_partial"
        }


Point = tuple[float, float, float]
"""Accuracy, coverage, seconds."""


def pareto_front(points: Mapping[str, Point]) -> tuple[str, ...]:
    """The names that no other one matches or beats on accuracy and coverage at the same or a lower cost; sorted.

    Names with the very same three numbers all stay.

    >>> pareto_front({"a": (0.3, 0.5, 10.0), "b": (0.3, 0.4, 11.0), "c": (0.2, 0.5, 9.0), "d": (0.1, 0.9, 99.0)})
    ('a', 'c', 'd')
    """
    return tuple(sorted(name for name, point in points.items() if not any(_beats(q, point) for q in points.values())))


def _beats(first: Point, second: Point) -> bool:
    no_worse = first[0] >= second[0] and first[1] >= second[1] and first[2] <= second[2]
    return no_worse and first != second


COSTS = TypeAdapter(dict[str, Cost])
"""Costs by experiment, as JSON; with `exclude_none` it holds what was measured."""

HEAD = ("train s", "total s", "rows/s", "peak MB", "ms/user")


def cells(cost: Cost) -> Sequence[str]:
    """One cell for each of HEAD; a dash where nothing was measured, ≥ where a part is missing."""
    partial = "≥ " if cost.is_partial else ""
    peak = cost.train_peak_bytes
    device = cost.train_peak_device_bytes
    memory = "-" if peak is None else f"{peak / 1e6:,.0f}" + (f" + {device / 1e6:,.0f}" if device else "")
    return (
        "-" if cost.train_seconds is None else f"{partial}{cost.train_seconds:,.1f}",
        "-" if cost.total_seconds is None else f"{partial}{cost.total_seconds:,.1f}",
        "-" if cost.examples_per_s is None else f"{cost.examples_per_s:,.0f}",
        memory,
        "-" if cost.score_ms_per_user is None else f"{cost.score_ms_per_user:,.3g}",
    )
