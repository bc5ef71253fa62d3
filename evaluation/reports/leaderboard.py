"""The leaderboard: experiments side by side on the same rows, each number with its interval and its verdict.

`leaderboard` computes it; `report_json`, `report_text` and `report_page` write it down.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import polars as pl

from evaluation.reports.costs import Cost, pareto_front
from evaluation.statistics.seeds import SeedGroup, seed_groups
from evaluation.statistics.significance import (
    Column,
    Difference,
    Effect,
    Interval,
    Verdict,
    bootstrap,
    effect,
    holm,
    panel_of,
    smallest_detectable_difference,
    verdict,
)

FLOORS = ("popularity", "random")
"""Experiments that ignore the user: what lies within their reach is not recommendation."""

COVERAGE = "coverage_at_10_full"
"""Among the numbers beside those that are compared: what the front of quality against cost looks at."""

_MEASURE_ORDER = ("hit_ratio", "mrr", "recall", "ndcg")
V = TypeVar("V")
Shortcut = Mapping[str, Any]
"""A rule of the shortcut report: split, rule, and its scores by the names of metrics."""


@dataclass(frozen=True)
class Comparison:
    """One metric of one experiment against the base, on the same rows."""

    difference: float
    low: float
    high: float
    p_value: float
    adjusted_p: float
    """After Holm's correction over every comparison of the leaderboard."""
    verdict: Verdict
    effect: Effect


@dataclass(frozen=True)
class LeaderboardRow:
    """One experiment; dictionaries are keyed by metric, in the leaderboard's order."""

    experiment: str
    kind: str
    is_floor: bool
    metrics: Mapping[str, Interval]
    """Means over rows."""
    user_means: Mapping[str, Interval]
    """Means over users, every user weighing the same; empty where every user has one row, as they are equal then."""
    comparisons: Mapping[str, Comparison]
    """With `base`; empty for an experiment that is compared with none."""
    base: str | None = None
    """The experiment it is compared with."""
    beyond_accuracy: Mapping[str, float] = field(default_factory=dict[str, float])
    """Numbers beside those that are compared: more cut-offs, coverage, diversity, novelty, lift, cold starts."""
    leaks: tuple[str, ...] = ()
    """The accepted leaks that its numbers come from, by the names that the leaderboard explains; empty when clean."""
    choices: Mapping[str, str] = field(default_factory=dict[str, str])
    """What its file chose: objective, representation, seed, as far as its kind has them."""


@dataclass(frozen=True)
class Leaderboard:
    """What was compared, how, and the rows: best first by `sorted_by`, ties by name."""

    dataset: str
    split: str
    users: int
    rows_evaluated: int
    metrics: tuple[str, ...]
    sorted_by: str
    base: str | None
    """The experiment that most others are compared with."""
    resamples: int
    seed: int
    level: float
    smallest_detectable: Mapping[str, float]
    """By metric: the true difference from a base that is found with probability 0.8; empty without bases."""
    rows: tuple[LeaderboardRow, ...]
    left_out: Mapping[str, str]
    """Experiments with numbers that must not stand beside these, and why."""
    seed_groups: tuple[SeedGroup, ...]
    """Experiments that differ in their seed alone, each family as one line."""
    leaks: Mapping[str, str]
    """Accepted leaks of the tables behind any row, and what each lets a reader find out."""
    shortcuts: tuple[Shortcut, ...]
    """What rules without a model score on this split."""
    costs: Mapping[str, Cost] = field(default_factory=dict[str, Cost])
    """By experiment, as measured: they differ from run to run, and belong to no result."""

    @property
    def pareto_front(self) -> tuple[str, ...]:
        """Experiments that none matches or beats on accuracy and coverage at the same cost or less; floors aside.

        Accuracy is the metric that rows are sorted by, cost the seconds of training with all that it needs.
        """
        points = {
            row.experiment: (row.metrics[self.sorted_by].value, row.beyond_accuracy[COVERAGE], seconds)
            for row in self.rows
            if not row.is_floor and self.sorted_by in row.metrics and COVERAGE in row.beyond_accuracy
            if (seconds := self.costs.get(row.experiment, Cost()).total_seconds) is not None
        }
        return pareto_front(points)

    @property
    def protocols(self) -> tuple[str, ...]:
        """The protocols of its metrics, candidate sets first."""
        return tuple(dict.fromkeys(protocol_of(metric) for metric in self.metrics))


def protocol_of(metric: str) -> str:
    """The protocol that a metric's name carries.

    >>> protocol_of("hit_ratio_at_1_of_20"), protocol_of("ndcg_at_10_full")
    ('of_20', 'full')
    """
    return "full" if metric.endswith("_full") else "of_" + metric.rpartition("_of_")[2]


def leaderboard(
    metrics: Mapping[str, pl.DataFrame],
    kinds: Mapping[str, str],
    *,
    dataset: str,
    split: str,
    bases: Mapping[str, str] | None = None,
    left_out: Mapping[str, str] | None = None,
    beyond: Mapping[str, Mapping[str, float]] | None = None,
    leaks: Mapping[str, Mapping[str, str]] | None = None,
    shortcuts: Sequence[Shortcut] = (),
    choices: Mapping[str, Mapping[str, str]] | None = None,
    costs: Mapping[str, Cost] | None = None,
    floors: Collection[str] = FLOORS,
    sort_by: str | None = None,
    resamples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Leaderboard:
    """Puts experiments side by side on the rows of one split.

    An experiment is "better" or "worse" than its base where the paired user-cluster bootstrap says so after Holm's
    correction over every comparison shown, floors included; else one "cannot tell".

    Args:
        metrics: the metrics table of each experiment; all of the same rows.
        kinds: the kind of each experiment: sft, preference, baseline, foreign.
        dataset: its key.
        split: validation or test.
        bases: for each experiment that is compared, the one it is compared with: what it started from.
        left_out: experiments that were measured on something else, and on what; only named.
        beyond: further numbers of each experiment, by name; written into the JSON alone.
        leaks: for each experiment whose numbers come from accepted leaks, their names and reasons; all are marked.
        shortcuts: what rules without a model score on this split.
        choices: what each experiment's file chose.
        costs: what each experiment cost, as far as it was measured.
        floors: experiments that ignore the user; marked.
        sort_by: a metric; the last one (of the full catalogue, where there is one), when None.
        resamples: at least this many; more where the correction needs smaller p-values than these resamples can show.
        seed: of the resampling; the same for every experiment and metric, so that differences are paired.
        level: of the intervals; 1 - level is the chance of any false "better" or "worse" on the whole leaderboard.

    Raises:
        ValueError: a name that is not among the experiments, or experiments evaluated on different rows.
    """
    bases = {experiment: base for experiment, base in (bases or {}).items() if experiment != base}
    unknown = sorted({*bases, *bases.values()} - set(metrics))
    if unknown:
        raise ValueError(f"bases must name the experiments {sorted(metrics)}, got {unknown}. Evaluate them first.")
    if set(kinds) != set(metrics):
        raise ValueError(f"kinds must name the experiments {sorted(metrics)}, got {sorted(kinds)}.")
    experiments = sorted(metrics)
    panel = panel_of({experiment: metrics[experiment] for experiment in experiments}, split=split)
    names = sorted({metric for _, metric in panel.columns}, key=metric_order)
    sorted_by = sort_by or names[-1]
    if sorted_by not in names:
        raise ValueError(f"sort_by must be one of {names}, got {sorted_by}.")

    compared = [c for c in panel.columns if c[0] in bases and (bases[c[0]], c[1]) in panel.columns]
    alpha = 1.0 - level
    # The smallest bootstrap p-value is 2 / (resamples + 1): with too few, a long leaderboard could never find anything.
    resamples = max(resamples, math.ceil(10 * len(compared) / alpha))
    pairs = [(column, (bases[column[0]], column[1])) for column in compared]
    found = bootstrap(panel, pairs, resamples=resamples, seed=seed, level=level)
    effects = _effects(metrics, pairs, split)
    intervals, user_intervals = found.intervals, found.user_intervals
    differences = dict(zip(compared, found.differences, strict=True))
    adjusted = dict(zip(compared, holm([differences[column].p_value for column in compared]), strict=True))

    baselines = {experiment for experiment, kind in kinds.items() if kind in ("baseline", "foreign")}

    def row(experiment: str) -> LeaderboardRow:
        mine = [(experiment, metric) for metric in names]
        return LeaderboardRow(
            experiment=experiment,
            kind=kinds[experiment],
            is_floor=experiment in floors,
            metrics={column[1]: intervals[column] for column in mine if column in intervals},
            user_means={column[1]: user_intervals[column] for column in mine if column in user_intervals},
            comparisons={
                column[1]: _comparison(differences[column], adjusted[column], alpha, effects[column])
                for column in mine
                if column in differences
            },
            base=bases.get(experiment),
            beyond_accuracy=dict((beyond or {}).get(experiment, {})),
            leaks=tuple(sorted((leaks or {}).get(experiment, {}))),
            choices=dict((choices or {}).get(experiment, {})),
        )

    return Leaderboard(
        dataset=dataset,
        split=split,
        users=int(panel.user_ids.size),
        rows_evaluated=int(panel.rows.sum()),
        metrics=tuple(names),
        sorted_by=sorted_by,
        base=max(sorted(set(bases.values())), key=list(bases.values()).count, default=None),
        resamples=resamples,
        seed=seed,
        level=level,
        smallest_detectable=_smallest_detectable(differences, names, {*floors, *baselines}, alpha),
        rows=_sorted(map(row, experiments), sorted_by),
        left_out=dict(sorted((left_out or {}).items())),
        seed_groups=seed_groups(panel, level=level),
        leaks={name: reason for of_one in (leaks or {}).values() for name, reason in sorted(of_one.items())},
        shortcuts=tuple(shortcuts),
        costs=dict(costs or {}),
    )


def of_protocol(board: Leaderboard, protocol: str) -> Leaderboard:
    """The leaderboard with the metrics of one protocol alone; verdicts stay those of the whole.

    Raises:
        ValueError: no metric has this protocol.
    """
    names = tuple(name for name in board.metrics if protocol_of(name) == protocol)
    if not names:
        raise ValueError(f"protocol must be one of {', '.join(board.protocols)}, got {protocol}.")

    def kept(values: Mapping[str, V]) -> dict[str, V]:
        return {name: value for name, value in values.items() if name in names}

    rows = [
        replace(
            row,
            metrics=kept(row.metrics),
            user_means=kept(row.user_means),
            comparisons=kept(row.comparisons),
        )
        for row in board.rows
    ]
    sorted_by = board.sorted_by if board.sorted_by in names else names[-1]
    return replace(
        board,
        metrics=names,
        sorted_by=sorted_by,
        rows=_sorted(rows, sorted_by),
        smallest_detectable=kept(board.smallest_detectable),
        seed_groups=tuple(replace(group, metrics=kept(group.metrics)) for group in board.seed_groups),
        shortcuts=tuple(
            {name: value for name, value in rule.items() if name in ("split", "rule", *names)}
            for rule in board.shortcuts
        ),
    )


def _sorted(rows: Iterable[LeaderboardRow], by: str) -> tuple[LeaderboardRow, ...]:
    """Best first, ties by name."""

    def place(row: LeaderboardRow) -> tuple[float, str]:
        value = row.metrics.get(by)
        return (-value.value if value else float("inf"), row.experiment)

    return tuple(sorted(rows, key=place))


def _effects(
    metrics: Mapping[str, pl.DataFrame], pairs: Collection[tuple[Column, Column]], split: str
) -> dict[Column, Effect]:
    values = {
        (experiment, str(metric)): part
        for experiment in {experiment for pair in pairs for experiment, _ in pair}
        for (metric,), part in metrics[experiment]
        .filter(pl.col("split") == split)
        .partition_by("metric", as_dict=True)
        .items()
    }
    return {first: effect(values[first], values[second]) for first, second in pairs}


def _comparison(difference: Difference, adjusted_p: float, alpha: float, size: Effect) -> Comparison:
    return Comparison(
        difference=difference.value,
        low=difference.low,
        high=difference.high,
        p_value=difference.p_value,
        adjusted_p=adjusted_p,
        verdict=verdict(difference.value, adjusted_p, alpha=alpha),
        effect=size,
    )


def _smallest_detectable(
    differences: Mapping[tuple[str, str], Difference], names: Sequence[str], baselines: Collection[str], alpha: float
) -> dict[str, float]:
    """By metric, for the noisiest difference of a policy: floors and baselines differ from all most."""
    result: dict[str, float] = {}
    for name in names:
        errors = {experiment: d.standard_error for (experiment, metric), d in differences.items() if metric == name}
        trained = {experiment: error for experiment, error in errors.items() if experiment not in baselines}
        if errors:
            noisiest = max((trained or errors).values())
            result[name] = smallest_detectable_difference(noisiest, alpha=alpha, comparisons=len(differences))
    return result


def metric_order(metric: str) -> tuple[bool, str, int, str]:
    """Candidate sets before the full catalogue; measures in the order of the papers."""
    measure = next((i for i, name in enumerate(_MEASURE_ORDER) if metric.startswith(name)), len(_MEASURE_ORDER))
    protocol = protocol_of(metric)
    return (protocol == "full", protocol, measure, metric)
