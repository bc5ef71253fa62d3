"""How sure a difference on a finite test set is: user-cluster bootstrap, paired tests, Holm correction.

Users are the unit that was sampled, so users are resampled, whole, with every row they have: rows of one user are not
independent, and counting them as if they were makes intervals several times too short. Everything on one panel is
resampled with the same weights, so an interval of a difference is an interval of paired differences.
Dimension key: u users, c columns (experiment × metric), s resamples.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evaluation.arrays import Floats

Column = tuple[str, str]
"""(experiment, metric)."""
Outcome = Literal["better", "worse", "cannot tell"]

_CHUNK_CELLS = 8_000_000
"""Resampling weights held at a time: 64 MB of float64."""


@dataclass(frozen=True)
class Resampling:
    """How users are resampled, and the level of the intervals."""

    times: int = 10_000
    seed: int = 0
    """The same for every experiment and metric, so that differences are paired."""
    level: float = 0.95
    """The level of the intervals."""

    @property
    def alpha(self) -> float:
        """The chance of any false finding among the comparisons that are corrected together."""
        return 1.0 - self.level

    def enough_for(self, comparisons: int) -> "Resampling":
        """The same with more resamples, if Holm's correction over this many comparisons needs smaller p-values.

        The smallest bootstrap p-value is 2 / (times + 1): with too few, many comparisons could never find anything.
        """
        return replace(self, times=max(self.times, math.ceil(10 * comparisons / self.alpha)))


STANDARD = Resampling()


@dataclass(frozen=True)
class Interval:
    """A statistic with its 95 % percentile interval (or of another level, where the caller said so)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A paired difference, first minus second on the same rows; p_value is two-sided."""

    value: float
    low: float
    high: float
    p_value: float
    standard_error: float


@dataclass(frozen=True)
class Panel:
    """The per-user sums of several columns over the same rows of the same users."""

    user_ids: NDArray[np.int64]
    """Sorted, shape [u]."""
    rows: Floats
    """Rows of each user, shape [u]."""
    columns: tuple[Column, ...]
    sums: Floats
    """Sum of each user's values, shape [u c]."""

    def means(self) -> Floats:
        """Mean over rows of each column, shape [c]."""
        return self.sums.sum(axis=0) / self.rows.sum()

    def user_means(self) -> "Panel":
        """The panel in which every user weighs the same, however many rows the user has."""
        return Panel(self.user_ids, np.ones_like(self.rows), self.columns, self.sums / self.rows[:, None])

    def column(self, experiment: str, metric: str) -> Floats:
        """The per-user sums of one column, shape [u].

        Raises:
            KeyError: the panel has no such column.
        """
        try:
            return self.sums[:, self.columns.index((experiment, metric))]
        except ValueError:
            raise KeyError(f"the panel has no {metric} of {experiment}; it has {list(self.columns)}.") from None


def panel_of(metrics: Mapping[str, pl.DataFrame], *, split: str) -> Panel:
    """Lines up the metrics tables of several experiments on the rows of one split.

    Columns are in the order of the mapping, metrics by name; independent of the order of a table's rows.

    Raises:
        ValueError: a table has no row of the split, or two experiments were evaluated on different rows.
    """
    first: pl.DataFrame | None = None
    first_name = ""
    columns: list[Column] = []
    values: list[Floats] = []
    for experiment, table in metrics.items():
        for (metric,), part in table.filter(pl.col("split") == split).partition_by("metric", as_dict=True).items():
            ordered = part.sort("row_id")  # fixes the order of summation, hence the last digit
            keys = ordered.select("row_id", "user_id")
            if first is None:
                first, first_name = keys, f"{metric} of {experiment}"
            elif not keys.equals(first):
                raise ValueError(
                    f"{metric} of {experiment} must be on the same rows as {first_name}, got {keys.height} rows "
                    f"against {first.height}. Evaluate both on the same histories."
                )
            columns.append((experiment, str(metric)))
            values.append(ordered["value"].to_numpy())
        if not any(name == experiment for name, _ in columns):
            raise ValueError(f"metrics of {experiment} must have rows of split {split}, got none. Evaluate that split.")
    if first is None:
        raise ValueError("metrics must hold at least one experiment, got none.")
    order = sorted(range(len(columns)), key=lambda c: (list(metrics).index(columns[c][0]), columns[c][1]))
    user_ids, user_of_row = np.unique(first["user_id"].to_numpy().astype(np.int64), return_inverse=True)
    sums = np.stack([np.bincount(user_of_row, values[c], user_ids.size) for c in order], axis=1).astype(np.float64)
    rows = np.bincount(user_of_row, minlength=user_ids.size).astype(np.float64)
    return Panel(user_ids, rows, tuple(columns[c] for c in order), sums)


def resampled_totals(values: Floats, *, resamples: int = 10_000, seed: int = 0) -> Floats:
    """The sum over users of each column when users are drawn with replacement. Shapes [u c] → [s c].

    The honest multinomial bootstrap: each resample draws u of u users. The weights depend only on the seed, the number
    of users and the place of the resample: every call on the same users sees the same resamples, whatever its columns.
    """
    users, columns = int(values.shape[0]), int(values.shape[1])
    if users < 1 or resamples < 1:
        raise ValueError(f"users and resamples must be 1 or more, got {users} and {resamples}.")
    generator = np.random.Generator(np.random.SFC64(seed))
    totals = np.empty((resamples, columns))
    chunk = max(1, min(resamples, _CHUNK_CELLS // users))
    weights = np.empty((chunk, users))
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        for place in range(size):
            # One generator, one resample after another: the size of the chunk cannot change a number.
            weights[place] = np.bincount(generator.integers(0, users, size=users), minlength=users)
        np.matmul(weights[:size], values, out=totals[start : start + size])
    return totals


def percentile_intervals(values: Floats, resampled: Floats, *, level: float = 0.95) -> list[Interval]:
    """The percentile interval of each column. Shapes [c], [s c]."""
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(resampled, [tail, 1.0 - tail], axis=0)
    return [Interval(float(v), float(a), float(b)) for v, a, b in zip(values, low, high, strict=True)]


@dataclass(frozen=True)
class Bootstrap:
    """Intervals and differences of a panel, from one set of resamples."""

    intervals: Mapping[Column, Interval]
    """The interval of each column's mean over rows."""
    user_intervals: Mapping[Column, Interval]
    """The interval of each column's mean over users, all with one weight; empty where every user has one row."""
    differences: Sequence[Difference]
    """The difference of each pair, in the order given."""


def bootstrap(panel: Panel, pairs: Sequence[tuple[Column, Column]] = (), how: Resampling = STANDARD) -> Bootstrap:
    """Intervals of every column and of the paired differences, first minus second, by one user-cluster bootstrap.

    The p-value of a difference inverts its percentile interval: twice the share of resamples on the other side of zero
    (the observed sample counted as one of them), so that p < 1 - level says the same as an interval without zero. Its
    smallest value is 2 / (resamples + 1). Identical columns differ by exactly 0, with the interval [0, 0] and p = 1.
    """
    # Differences are taken before resampling: equal sums differ by 0, two matrix products of them may not.
    differences = [panel.column(*first) - panel.column(*second) for first, second in pairs]
    of_users = panel.user_means()
    parts = [panel.sums, np.array(differences).T.reshape(panel.rows.size, len(differences)), panel.rows[:, None]]
    if (panel.rows > 1).any():
        parts.append(of_users.sums)
    totals = resampled_totals(np.column_stack(parts), resamples=how.times, seed=how.seed)
    edges = np.cumsum([part.shape[1] for part in parts])
    sums, differing, rows, user_sums = np.split(totals, edges[:3], axis=1)
    values = np.array([difference.sum() for difference in differences]) / panel.rows.sum()
    intervals = percentile_intervals(panel.means(), sums / rows, level=how.level)
    user_intervals: dict[Column, Interval] = {}
    if user_sums.size:
        of_each = percentile_intervals(of_users.means(), user_sums / panel.rows.size, level=how.level)
        user_intervals = dict(zip(panel.columns, of_each, strict=True))
    return Bootstrap(
        intervals=dict(zip(panel.columns, intervals, strict=True)),
        user_intervals=user_intervals,
        differences=_differences(values, differing / rows, how.level) if differences else [],
    )


def bootstrap_intervals(panel: Panel, how: Resampling = STANDARD) -> dict[Column, Interval]:
    """The interval of every column's mean over rows; of `panel.user_means()`, of the mean over users."""
    return dict(bootstrap(panel, how=how).intervals)


def _differences(values: Floats, resampled: Floats, level: float) -> list[Difference]:
    resamples = resampled.shape[0]
    at_most = (resampled <= 0.0).sum(axis=0)
    at_least = (resampled >= 0.0).sum(axis=0)
    p_values = np.minimum(1.0, 2.0 * (np.minimum(at_most, at_least) + 1) / (resamples + 1))
    errors = resampled.std(axis=0, ddof=1) if resamples > 1 else np.zeros_like(values)
    intervals = percentile_intervals(values, resampled, level=level)
    return [
        Difference(interval.value, interval.low, interval.high, float(p), float(error))
        for interval, p, error in zip(intervals, p_values, errors, strict=True)
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values that bound the chance of any false finding among all comparisons (Holm 1979), in given order.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for place, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def outcome(difference: float, adjusted_p: float, *, alpha: float = 0.05) -> Outcome:
    """The direction of a difference where it is significant, else "cannot tell"."""
    if adjusted_p >= alpha or difference == 0.0:
        return "cannot tell"
    return "better" if difference > 0.0 else "worse"


def mcnemar_exact(first: Floats, second: Floats) -> float:
    """Two-sided exact p-value that two systems hit equally often on the same rows. Shapes [r], [r] of 0 and 1.

    Treats rows as independent, so where users have several rows it is the optimistic bound on the paired bootstrap.

    >>> mcnemar_exact(np.array([1.0, 1.0, 1.0, 0.0]), np.zeros(4))  # 3 wins, no loss: 2 · (1/2)³
    0.25
    """
    if first.shape != second.shape:
        raise ValueError(f"hits must be on the same rows, got shapes {first.shape} and {second.shape}.")
    if not np.isin(np.concatenate([first, second]), (0.0, 1.0)).all():
        raise ValueError("hits must be 0 or 1; McNemar's test is for a hit ratio.")
    wins = int(((first == 1.0) & (second == 0.0)).sum())
    losses = int(((first == 0.0) & (second == 1.0)).sum())
    discordant = wins + losses
    if wins == losses:
        return 1.0
    # P(X ≤ min) of a fair coin, in whole numbers: 2^-discordant underflows from 1075 discordant rows on.
    ways = binomial = 1
    for i in range(min(wins, losses)):
        binomial = binomial * (discordant - i) // (i + 1)
        ways += binomial
    return min(1.0, 2 * ways / 2**discordant)


def smallest_detectable_difference(
    standard_error: float, *, alpha: float = 0.05, power: float = 0.8, comparisons: int = 1
) -> float:
    """The true difference that a two-sided test finds with probability `power`.

    .. math:: (z_{1-\\alpha/2m} + z_{power}) \\cdot se

    Args:
        standard_error: of the paired difference.
        alpha: chance of a false finding over all comparisons.
        power: chance of finding a difference of this size.
        comparisons: m, how many share alpha; the first step of Holm's correction, so the answer is on the safe side.

    >>> round(smallest_detectable_difference(1.0), 3)  # 1.960 + 0.842
    2.802
    """
    normal = NormalDist()
    return (normal.inv_cdf(1.0 - alpha / (2 * comparisons)) + normal.inv_cdf(power)) * standard_error


@dataclass(frozen=True)
class Effect:
    """The size of a paired difference; its p-value says whether there is one."""

    standardised: float
    """Mean over users of the difference, in standard deviations of it (Cohen's d for paired samples); 0 of no users
    that differ."""
    wins: int
    losses: int
    """Rows where the first is above the second, and below it."""
    odds_ratio: float | None
    """Wins over losses, each with ½ added so that it is finite (Haldane); None where neither occurs."""
    mcnemar_p: float | None
    """McNemar's test that wins and losses are equally likely; None for a metric with other values than 0 and 1."""


def effect(first: pl.DataFrame, second: pl.DataFrame) -> Effect:
    """The effect of one metric of two experiments on the same rows.

    Args:
        first: row_id, user_id, value of one metric and split.
        second: the same of what it is compared with.

    Raises:
        ValueError: they are on different rows.
    """
    a, b = first.sort("row_id"), second.sort("row_id")
    if not a["row_id"].equals(b["row_id"]):
        raise ValueError(f"an effect is of the same rows, got {a.height} and {b.height}, not the same ones.")
    above, below = a["value"].to_numpy(), b["value"].to_numpy()
    difference = above - below
    _, user = np.unique(a["user_id"].to_numpy(), return_inverse=True)
    of_users = np.bincount(user, difference) / np.bincount(user)
    spread = float(of_users.std(ddof=1)) if of_users.size > 1 else 0.0
    wins, losses = int((difference > 0).sum()), int((difference < 0).sum())
    is_hit = bool(np.isin(np.concatenate([above, below]), (0.0, 1.0)).all())
    return Effect(
        standardised=float(of_users.mean()) / spread if spread > 0 else 0.0,
        wins=wins,
        losses=losses,
        odds_ratio=(wins + 0.5) / (losses + 0.5) if wins + losses else None,
        mcnemar_p=mcnemar_exact(above, below) if is_hit else None,
    )
