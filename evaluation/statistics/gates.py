"""Whether a contender may take the champion's place: better on validation by a paired test, and worse in nothing else.

Pure: metrics tables and numbers in, a verdict with every number out. Validation rows only; a test row that had a say
here would be a selection row, and the numbers reported on test would no longer be honest.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import polars as pl

from evaluation.statistics.significance import Difference, bootstrap, holm, panel_of

METRIC = "ndcg_at_10_full"
NOT_COLLAPSED = "did not collapse"
LEVEL = 0.95


@dataclass(frozen=True)
class Guard:
    """A number that must not get worse by more than a share of the champion's while accuracy improves."""

    better: Literal["larger", "smaller"]
    tolerance: float
    """Largest loss, as a share of the champion's value, or as such."""
    is_share: bool = True
    """False for a number whose zero is no floor, of which a share says nothing."""
    may_be_absent: bool = False
    """Whether rows can be such that neither has the number: without a cold item, nothing is recalled of them."""

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
"""What a new champion must keep of the old one's; few rows are cold, so their recall is noisy and has more room."""


@dataclass(frozen=True)
class Gate:
    """One condition, and what was found."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class Verdict:
    """What was decided of a data set's contenders, and why."""

    challenger: str
    """The best on validation of those that did not collapse, or of all if all did; it alone may win."""
    wins: bool
    gates: tuple[Gate, ...]
    values: Mapping[str, float]
    """Mean of the metric for every contender, floor and the champion."""
    collapse: Mapping[str, Mapping[str, Any] | None]
    """Of each contender that can collapse what was found, with its numbers; None where nobody looked."""

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it does not win; empty when it does."""
        return tuple(f"{gate.name}: {gate.detail}" for gate in self.gates if not gate.passed)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def judge(
    contenders: Mapping[str, pl.DataFrame],
    *,
    champion: pl.DataFrame | None,
    floors: Mapping[str, pl.DataFrame],
    guarded: Mapping[str, Mapping[str, float]] | None = None,
    champion_guarded: Mapping[str, float] | None = None,
    guards: Mapping[str, Guard] | None = None,
    collapse: Mapping[str, Mapping[str, Any] | None] | None = None,
    faults: Mapping[str, str] | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> Verdict:
    """Chooses the challenger and says whether it beats the champion.

    The paired user-cluster bootstrap compares every contender with the champion, and Holm's correction counts them all:
    the best of twenty contenders was chosen for its luck too.

    Args:
        contenders: metrics tables of the same rows, by name.
        champion: the champion's metrics on these rows; None, when there is none yet.
        floors: metrics of what ignores the user, on these rows: whoever wins must be better than each that has the
            metric; one that only orders candidate sets has not.
        guarded: the guarded numbers of each contender.
        champion_guarded: those of the champion.
        guards: by the name of the number.
        collapse: for each contender that can collapse the verdict and message of the detector, and its numbers.
        faults: what else forbids any promotion, by the name of the gate: leaks that were accepted.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        ValueError: no contender, or tables of different rows.
    """
    if not contenders:
        raise ValueError("promotion must have at least one contender, got none. Train and register a policy first.")
    reserved = {f"floor {name}": table for name, table in floors.items() if METRIC in table["metric"]}
    tables = {**contenders, **reserved} | ({} if champion is None else {"the champion": champion})
    panel = panel_of(tables, split="validation")
    means = dict(zip(panel.columns, panel.means().tolist(), strict=True))
    values = {name: means[name, METRIC] for name in tables}
    judged = {name: _not_collapsed(found) for name, found in sorted((collapse or {}).items()) if name in contenders}
    fit = [name for name in sorted(contenders) if name not in judged or judged[name].passed]
    challenger = max(fit or sorted(contenders), key=lambda name: values[name])
    against = sorted(contenders) if champion is not None else []
    pairs = [(name, "the champion") for name in against] + [(challenger, name) for name in reserved]
    found = bootstrap(
        panel,
        [((first, METRIC), (second, METRIC)) for first, second in pairs],
        resamples=resamples,
        seed=seed,
        level=LEVEL,
    ).differences
    adjusted = [*holm([d.p_value for d in found[: len(against)]]), *holm([d.p_value for d in found[len(against) :]])]
    of_pair = {pair: (d, p) for pair, d, p in zip(pairs, found, adjusted, strict=True)}
    gates: list[Gate] = []
    if champion is not None:
        gates.append(_better("better than the champion", *of_pair[challenger, "the champion"], n=len(against)))
    gates += [_better(f"better than {name}", *of_pair[challenger, name], n=len(reserved)) for name in reserved]
    if champion is not None:
        of_challenger, of_champion = (guarded or {}).get(challenger, {}), champion_guarded or {}
        gates += [
            _guarded(name, guard, of_challenger, of_champion)
            for name, guard in (guards or {}).items()
            if not guard.may_be_absent or name in {*of_challenger, *of_champion}
        ]
    gates += [judged[challenger]] if challenger in judged else []
    gates += [Gate(name, False, fault) for name, fault in (faults or {}).items()]
    return Verdict(challenger, all(gate.passed for gate in gates), tuple(gates), values, dict(collapse or {}))


def _better(name: str, difference: Difference, adjusted_p: float, *, n: int) -> Gate:
    detail = (
        f"{METRIC} {difference.value:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}], "
        f"p {adjusted_p:.4f} (Holm over {n})"
    )
    return Gate(name, difference.value > 0 and adjusted_p < 1 - LEVEL, detail)


def _not_collapsed(found: Mapping[str, Any] | None) -> Gate:
    if found is None:
        return Gate(NOT_COLLAPSED, False, "nobody looked; train and register it again")
    return Gate(NOT_COLLAPSED, found["verdict"] != "collapsed", f"{found['verdict']}: {found['message']}")


def _guarded(name: str, guard: Guard, of_challenger: Mapping[str, float], of_champion: Mapping[str, float]) -> Gate:
    value, champion = of_challenger.get(name), of_champion.get(name)
    if value is None or champion is None:
        missing = "the challenger" if value is None else "the champion"
        return Gate(name, False, f"not measured for {missing}; evaluate it again")
    amount = f"{guard.tolerance:.0%}" if guard.is_share else f"{guard.tolerance:g}"
    limit = f"at most {amount} {'below' if guard.better == 'larger' else 'above'}"
    return Gate(name, guard.allows(value, champion), f"{value:.4f} against the champion's {champion:.4f}; {limit}")
