"""The gates of promotion: a contender must beat the champion on validation by a paired test, and lose nothing else.

Pure: metrics tables and numbers in, a verdict with every number out. Only validation rows decide: a test row that did
would be a selection row, and the numbers reported on test would no longer be honest.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import polars as pl

from contracts.words import MAIN_METRIC
from evaluation.statistics.significance import STANDARD, Difference, Resampling, bootstrap, holm, panel_of

NOT_COLLAPSED = "did not collapse"
CHAMPION = "the champion"


@dataclass(frozen=True)
class Guard:
    """A number that must not get worse by more than a share of the champion's while accuracy improves."""

    better: Literal["larger", "smaller"]
    tolerance: float
    """Largest loss, as a share of the champion's value, or as such."""
    is_share: bool = True
    """False for a number that may pass through zero, where a share of it says nothing."""
    may_be_absent: bool = False
    """Whether some rows give the number to neither: without a cold item, none can be recalled."""

    def allows(self, value: float, champion: float) -> bool:
        """Whether `value` is within the tolerance.

        >>> Guard("larger", 0.1).allows(0.46, champion=0.5), Guard("larger", 0.1).allows(0.44, champion=0.5)
        (True, False)
        """
        slack = self.tolerance * abs(champion) if self.is_share else self.tolerance
        return value >= champion - slack if self.better == "larger" else value <= champion + slack


GUARDS = {
    "coverage_at_10_full": Guard("larger", 0.1),
    "popularity_lift_at_10_full": Guard("smaller", 0.1, is_share=False),
    "cold_item_recall_at_10_full": Guard("larger", 0.25, may_be_absent=True),
    "cold_user_recall_at_10_full": Guard("larger", 0.25, may_be_absent=True),
}
"""A new champion must keep these numbers of the old one; few rows are cold, so their noisy recall gets more room."""


@dataclass(frozen=True)
class Contender:
    """A policy that may become, or is, the champion."""

    metrics: pl.DataFrame
    """Its metrics table."""
    guarded: Mapping[str, float] = field(default_factory=dict[str, float])
    """The guarded numbers, by name."""
    can_collapse: bool = False
    """True for a policy that preferences trained."""
    collapse: Mapping[str, Any] | None = None
    """The detector's diagnosis (`verdict`), its message and numbers, as registered; None where nobody looked."""


@dataclass(frozen=True)
class Gate:
    """One condition, and what was found."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class Verdict:
    """Promotion's answer on the contenders of a data set, with its reasons."""

    challenger: str
    """The best on validation of those that did not collapse, or of all if all did; no other may win."""
    wins: bool
    gates: tuple[Gate, ...]
    values: Mapping[str, float]
    """Mean of the metric for every contender, floor and the champion."""
    collapse: Mapping[str, Mapping[str, Any] | None]
    """The detector's diagnosis and numbers of each contender that can collapse; None where nobody looked."""

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it does not win; empty when it does."""
        return tuple(f"{gate.name}: {gate.detail}" for gate in self.gates if not gate.passed)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def judge(
    contenders: Mapping[str, Contender],
    *,
    champion: Contender | None,
    floors: Mapping[str, pl.DataFrame],
    guards: Mapping[str, Guard] = GUARDS,
    faults: Mapping[str, str] | None = None,
    how: Resampling = STANDARD,
) -> Verdict:
    """Chooses the challenger and says whether it beats the champion.

    The paired user-cluster bootstrap compares every contender with the champion, and Holm's correction counts them all:
    the best of twenty contenders was chosen for its luck too.

    Args:
        contenders: by name; their metrics are of the same rows.
        champion: re-evaluated on these rows; None while there is none.
        floors: the metrics of experiments that ignore the user, on these rows. The challenger must beat each that has
            the metric; one that orders candidate sets only does not have it.
        guards: by the name of the number.
        faults: what else forbids any promotion, by the name of the gate: leaks that were accepted.
        how: the resampling; 1 - level is the chance of any false finding.

    Raises:
        ValueError: no contender, or tables of different rows.
    """
    if not contenders:
        raise ValueError("promotion must have at least one contender, got none. Train and register a policy first.")
    names = sorted(contenders)
    reserved = {f"floor {name}": table for name, table in floors.items() if MAIN_METRIC in table["metric"]}
    tables = {name: contender.metrics for name, contender in contenders.items()} | reserved
    panel = panel_of(tables | ({} if champion is None else {CHAMPION: champion.metrics}), split="validation")
    values = {
        name: mean
        for (name, metric), mean in zip(panel.columns, panel.means().tolist(), strict=True)
        if metric == MAIN_METRIC
    }
    collapse = {name: contenders[name].collapse for name in names if contenders[name].can_collapse}
    sound = {name: _not_collapsed(found) for name, found in collapse.items()}
    fit = [name for name in names if name not in sound or sound[name].passed]
    challenger = max(fit or names, key=lambda name: values[name])
    against = names if champion is not None else []
    pairs = [(name, CHAMPION) for name in against] + [(challenger, name) for name in reserved]
    found = bootstrap(
        panel, [((first, MAIN_METRIC), (second, MAIN_METRIC)) for first, second in pairs], how
    ).differences
    adjusted = [*holm([d.p_value for d in found[: len(against)]]), *holm([d.p_value for d in found[len(against) :]])]
    of_pair = {pair: (d, p) for pair, d, p in zip(pairs, found, adjusted, strict=True)}
    gates: list[Gate] = []
    if champion is not None:
        gates.append(
            _better(f"better than {CHAMPION}", *of_pair[challenger, CHAMPION], n=len(against), alpha=how.alpha)
        )
    gates += [
        _better(f"better than {name}", *of_pair[challenger, name], n=len(reserved), alpha=how.alpha)
        for name in reserved
    ]
    if champion is not None:
        gates += _guarded(guards, contenders[challenger].guarded, champion.guarded)
    gates += [sound[challenger]] if challenger in sound else []
    gates += [Gate(name, False, fault) for name, fault in (faults or {}).items()]
    return Verdict(challenger, all(gate.passed for gate in gates), tuple(gates), values, collapse)


def _better(name: str, difference: Difference, adjusted_p: float, *, n: int, alpha: float) -> Gate:
    detail = (
        f"{MAIN_METRIC} {difference.value:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}], "
        f"p {adjusted_p:.4f} (Holm over {n})"
    )
    return Gate(name, difference.value > 0 and adjusted_p < alpha, detail)


def _not_collapsed(found: Mapping[str, Any] | None) -> Gate:
    if found is None:
        return Gate(NOT_COLLAPSED, False, "nobody looked; train and register it again")
    return Gate(NOT_COLLAPSED, found["verdict"] != "collapsed", f"{found['verdict']}: {found['message']}")


def _guarded(
    guards: Mapping[str, Guard], of_challenger: Mapping[str, float], of_champion: Mapping[str, float]
) -> Iterator[Gate]:
    for name, guard in guards.items():
        value, champion = of_challenger.get(name), of_champion.get(name)
        if guard.may_be_absent and value is None and champion is None:
            continue
        if value is None or champion is None:
            missing = "the challenger" if value is None else CHAMPION
            yield Gate(name, False, f"not measured for {missing}; evaluate it again")
            continue
        amount = f"{guard.tolerance:.0%}" if guard.is_share else f"{guard.tolerance:g}"
        limit = f"at most {amount} {'below' if guard.better == 'larger' else 'above'}"
        yield Gate(name, guard.allows(value, champion), f"{value:.4f} against the champion's {champion:.4f}; {limit}")
