"""The leaderboard: experiments side by side on the same rows, each number with its interval and the outcome of a test.

`leaderboard` computes it, `as_json` and `from_json` store it. `leaderboard_document` and `leaderboard_figures` show it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, TypeVar

import polars as pl
from pydantic import Field, TypeAdapter, computed_field

from contracts.words import FULL, protocol_of
from evaluation.reports.costs import COSTS, Cost, pareto_front
from evaluation.statistics.seeds import SeedGroup, seed_groups
from evaluation.statistics.significance import (
    STANDARD,
    Column,
    Difference,
    Effect,
    Interval,
    Outcome,
    Resampling,
    bootstrap,
    effect,
    holm,
    outcome,
    panel_of,
    smallest_detectable_difference,
)

COVERAGE = "coverage_at_10_full"
"""The number beside accuracy that the front of quality against cost looks at."""

_MEASURE_ORDER = ("hit_ratio", "mrr", "recall", "ndcg")
V = TypeVar("V")
Shortcut = Mapping[str, Any]
"""A rule of the shortcut report: split, rule, and its scores by the names of metrics."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One measured experiment, before it is compared."""

    metrics: pl.DataFrame
    """Its metrics table."""
    kind: str
    """sft, preference, baseline or foreign."""
    is_floor: bool = False
    """Whether it ignores the user."""
    base: str | None = None
    """The experiment to compare it with: the one that it started from. Comparing it with itself is the same as None."""
    beyond_accuracy: Mapping[str, float] = field(default_factory=dict[str, float])
    leaks: Mapping[str, str] = field(default_factory=dict[str, str])
    """The accepted leaks that its numbers come from, and what each lets a reader find out."""
    choices: Mapping[str, str] = field(default_factory=dict[str, str])
    cost: Cost | None = None


@dataclass(frozen=True)
class AgainstBase:
    """One metric of one experiment minus that of its base, on the same rows."""

    difference: float
    low: float
    high: float
    p_value: float
    adjusted_p: float
    """After Holm's correction over every comparison of the leaderboard."""
    outcome: Annotated[Outcome, Field(alias="verdict")]
    """`verdict` in JSON, where programs know it by that name."""
    effect: Effect


@dataclass(frozen=True, kw_only=True)
class LeaderboardRow:
    """One experiment; dictionaries are keyed by metric, in the leaderboard's order."""

    experiment: str
    kind: str
    metrics: Mapping[str, Interval]
    """Means over rows."""
    is_floor: bool
    user_means: Mapping[str, Interval]
    """Means over users, all with the same weight; empty where every user has one row, as they are equal then."""
    base: str | None = None
    """The experiment that it is compared with."""
    beyond_accuracy: Mapping[str, float] = field(default_factory=dict[str, float])
    """Numbers that are not compared: more cut-offs, coverage, diversity, novelty, lift, cold starts."""
    comparisons: Mapping[str, AgainstBase] = field(default_factory=dict[str, AgainstBase])
    """The comparisons with `base`; empty without one."""
    leaks: tuple[str, ...] = ()
    """The accepted leaks that its numbers come from, by the names that the leaderboard explains; empty when clean."""
    choices: Mapping[str, str] = field(default_factory=dict[str, str])
    """The choices of its file: objective, representation, seed, as far as its kind has them."""

    @computed_field
    @property
    def leaky(self) -> bool:
        """Whether its numbers come from accepted leaks."""
        return bool(self.leaks)


@dataclass(frozen=True, kw_only=True)
class Leaderboard:
    """The rows, best first by `sorted_by`, ties by name, and how they were compared."""

    dataset: str
    split: str
    rows: tuple[LeaderboardRow, ...]
    users: int
    rows_evaluated: int
    metrics: tuple[str, ...]
    sorted_by: str
    base: str | None
    """The experiment that most others are compared with."""
    resamples: int
    seed: int
    level: float
    smallest_detectable: Annotated[Mapping[str, float], Field(alias="smallest_detectable_difference")]
    """The true difference from a base that is found with probability 0.8, by metric; empty without bases."""
    left_out: Mapping[str, str]
    """Experiments whose numbers must not be shown beside these, and why."""
    seed_groups: tuple[SeedGroup, ...]
    """Experiments that differ in nothing but their seed, each family as one line."""
    leaks: Mapping[str, str]
    """Accepted leaks of the tables below any row, and what each lets a reader find out."""
    shortcuts: tuple[Shortcut, ...]
    """The scores of rules without a model on this split."""
    keeps_repeats: bool = False
    """Whether users take items again, so that full lists hold the items of the history too."""
    repeated_targets: float = 0.0
    """Share of targets that are in their own history."""
    last_repeated: float = 0.0
    """Share of targets that are the last item of their history."""
    costs: Mapping[str, Cost] = field(default_factory=dict[str, Cost])
    """Costs by experiment, as measured: they differ from run to run, and are not part of the results."""

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

    @computed_field
    @property
    def protocols(self) -> tuple[str, ...]:
        """The protocols of its metrics, candidate sets first."""
        return tuple(dict.fromkeys(protocol_of(metric) for metric in self.metrics))


_LEADERBOARD = TypeAdapter(Leaderboard)


def as_json(board: Leaderboard) -> dict[str, Any]:
    """Plain values for `json.dumps`: dataset, split and rows first, then what else a reader may want.

    Every number of a leaky row carries the mark `leaky`, because programs pass numbers on without their row. Costs, and
    the front that they decide, are apart from the rows: without them the same input gives the same text.
    """
    of_repeats = set[str]() if board.keeps_repeats else {"keeps_repeats", "repeated_targets", "last_repeated"}
    plain = _LEADERBOARD.dump_python(board, mode="json", by_alias=True, exclude={"costs", *of_repeats})
    for row in plain["rows"]:
        if row["leaky"]:
            for numbers in (row["metrics"], row["user_means"], row["comparisons"]):
                for number in numbers.values():
                    number["leaky"] = True
    if board.costs:
        plain["costs"] = COSTS.dump_python(dict(board.costs), mode="json", exclude_none=True)
        plain["pareto_front"] = list(board.pareto_front)
    return plain


def from_json(plain: Mapping[str, Any]) -> Leaderboard:
    """The leaderboard that `as_json` wrote, in this version or an earlier one.

    Raises:
        pydantic.ValidationError: it is not a leaderboard.
    """
    return _LEADERBOARD.validate_python(plain)


def leaderboard(
    entries: Mapping[str, Entry],
    *,
    dataset: str,
    split: str,
    left_out: Mapping[str, str] | None = None,
    shortcuts: Sequence[Shortcut] = (),
    keeps_repeats: bool = False,
    repeated_targets: float = 0.0,
    last_repeated: float = 0.0,
    how: Resampling = STANDARD,
) -> Leaderboard:
    """Puts experiments side by side on the rows of one split, sorted by the last metric.

    An experiment is "better" or "worse" than its base where the paired user-cluster bootstrap says so after Holm's
    correction over every comparison shown, floors included; else one "cannot tell".

    Args:
        entries: by experiment; their metrics are of the same rows.
        dataset: its key.
        split: validation or test.
        left_out: experiments that were measured on something else, and on what; they are named and not compared.
        shortcuts: the scores of rules without a model on this split.
        keeps_repeats: whether full lists hold the items of the history too.
        repeated_targets: share of targets that are in their own history.
        last_repeated: share of targets that are the last item of it.
        how: the resampling, with more resamples where the correction needs smaller p-values than these can show.
            1 - level is the chance of any false "better" or "worse" on the whole leaderboard.

    Raises:
        ValueError: a base that is not among the experiments, or experiments evaluated on different rows.
    """
    experiments = sorted(entries)
    bases = {name: base for name in experiments if (base := entries[name].base) not in (None, name)}
    unknown = sorted(set(bases.values()) - set(entries))
    if unknown:
        raise ValueError(f"bases must be among the experiments {experiments}, got {unknown}. Evaluate them first.")
    panel = panel_of({name: entries[name].metrics for name in experiments}, split=split)
    metrics = tuple(sorted({metric for _, metric in panel.columns}, key=metric_order))
    compared = [c for c in panel.columns if c[0] in bases and (bases[c[0]], c[1]) in panel.columns]
    pairs = [(column, (bases[column[0]], column[1])) for column in compared]
    how = how.enough_for(len(pairs))
    found = bootstrap(panel, pairs, how)
    differences = dict(zip(compared, found.differences, strict=True))
    tests = _against_bases(differences, _effects(entries, pairs, split), how)
    rows = [
        LeaderboardRow(
            experiment=name,
            kind=entries[name].kind,
            metrics=_of(name, metrics, found.intervals),
            is_floor=entries[name].is_floor,
            user_means=_of(name, metrics, found.user_intervals),
            base=bases.get(name),
            beyond_accuracy=dict(entries[name].beyond_accuracy),
            comparisons=_of(name, metrics, tests),
            leaks=tuple(sorted(entries[name].leaks)),
            choices=dict(entries[name].choices),
        )
        for name in experiments
    ]
    untrained = {name for name, entry in entries.items() if entry.is_floor or entry.kind in ("baseline", "foreign")}
    return Leaderboard(
        dataset=dataset,
        split=split,
        rows=_sorted(rows, metrics[-1]),
        users=int(panel.user_ids.size),
        rows_evaluated=int(panel.rows.sum()),
        metrics=metrics,
        sorted_by=metrics[-1],
        base=max(sorted(set(bases.values())), key=list(bases.values()).count, default=None),
        resamples=how.times,
        seed=how.seed,
        level=how.level,
        smallest_detectable=_smallest_detectable(differences, metrics, untrained, how.alpha),
        left_out=dict(sorted((left_out or {}).items())),
        seed_groups=seed_groups(panel, level=how.level),
        leaks={leak: why for name in experiments for leak, why in sorted(entries[name].leaks.items())},
        shortcuts=tuple(shortcuts),
        keeps_repeats=keeps_repeats,
        repeated_targets=repeated_targets,
        last_repeated=last_repeated,
        costs={name: cost for name in experiments if (cost := entries[name].cost) is not None},
    )


def of_protocol(board: Leaderboard, protocol: str) -> Leaderboard:
    """The leaderboard with the metrics of one protocol; outcomes stay those of the whole.

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


def _of(experiment: str, metrics: Sequence[str], values: Mapping[Column, V]) -> dict[str, V]:
    """The values of one experiment by metric, in the order of the metrics."""
    return {metric: values[experiment, metric] for metric in metrics if (experiment, metric) in values}


def _effects(
    entries: Mapping[str, Entry], pairs: Collection[tuple[Column, Column]], split: str
) -> dict[Column, Effect]:
    values = {
        (experiment, str(metric)): part
        for experiment in {experiment for pair in pairs for experiment, _ in pair}
        for (metric,), part in entries[experiment]
        .metrics.filter(pl.col("split") == split)
        .partition_by("metric", as_dict=True)
        .items()
    }
    return {first: effect(values[first], values[second]) for first, second in pairs}


def _against_bases(
    differences: Mapping[Column, Difference], effects: Mapping[Column, Effect], how: Resampling
) -> dict[Column, AgainstBase]:
    adjusted = holm([difference.p_value for difference in differences.values()])
    return {
        column: AgainstBase(
            difference=d.value,
            low=d.low,
            high=d.high,
            p_value=d.p_value,
            adjusted_p=adjusted_p,
            outcome=outcome(d.value, adjusted_p, alpha=how.alpha),
            effect=effects[column],
        )
        for (column, d), adjusted_p in zip(differences.items(), adjusted, strict=True)
    }


def _smallest_detectable(
    differences: Mapping[Column, Difference], names: Sequence[str], untrained: Collection[str], alpha: float
) -> dict[str, float]:
    """The smallest difference by metric, for the noisiest policy: floors and baselines differ the most."""
    result: dict[str, float] = {}
    for name in names:
        errors = {experiment: d.standard_error for (experiment, metric), d in differences.items() if metric == name}
        trained = {experiment: error for experiment, error in errors.items() if experiment not in untrained}
        if errors:
            noisiest = max((trained or errors).values())
            result[name] = smallest_detectable_difference(noisiest, alpha=alpha, comparisons=len(differences))
    return result


def metric_order(metric: str) -> tuple[bool, str, int, str]:
    """Candidate sets before the full catalogue; measures in the order of the papers."""
    measure = next((i for i, name in enumerate(_MEASURE_ORDER) if metric.startswith(name)), len(_MEASURE_ORDER))
    protocol = protocol_of(metric)
    return (protocol == FULL, protocol, measure, metric)
