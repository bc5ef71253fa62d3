"""Preference-optimisation collapse: the training loss goes on falling while the policy gets worse.

Pure functions over the curves of one run, and over the runs of a sweep of the number of negatives. Both ask for two
things at once: that the loss fell, and that the metric fell by more than noise. Which noise is stated with each.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import polars as pl
from pydantic import Field

Curve = Sequence[tuple[int, float]]
"""(optimizer step, value), by step."""
Curves = Mapping[str, Curve]
"""Curves by `<kind>/<metric>`: `train/loss`, `validation/ndcg_at_10_full`, `diagnostic/saturation`."""
Diagnosis = Literal["collapsed", "healthy", "cannot tell"]

LOSS = "train/loss"
ERRORS = 2.0
"""Standard errors by which a metric has to fall: one fall in forty is chance."""
LOSS_MARGIN = 0.02
"""Share by which a loss has to fall: a point is a mean over ten steps or so, which scatter by about a percent."""
DIAGNOSTICS = ("grad_share_easy", "grad_boundary_abs", "saturation", "probe_win_rate_all", "chosen_logp_drift")
"""Reported beside the diagnosis, first and last value; they do not decide it."""

SUMS_OVER_NEGATIVES = {
    "sdpo": "log(1 + a sum over the negatives) grows with their number",
    "mppo": "the sum over the negatives is inside the sigmoid, so the same margins cost less with more of them",
}
"""Objectives whose losses with different numbers of negatives say nothing of one another, and why."""


@dataclass(frozen=True)
class Judgement:
    """A diagnosis with everything that it rests on."""

    diagnosis: Annotated[Diagnosis, Field(alias="verdict")]
    """`verdict` in the JSON of a study."""
    reasons: tuple[str, ...]
    numbers: Mapping[str, float] = field(default_factory=dict[str, float])


def judge_run(curves: Curves, *, metric: str, users: int) -> Judgement:
    r"""Whether a run made its policy worse while its loss fell.

    Collapsed: from the validation with the best value, the start included, to the last one the metric fell by more than
    two standard errors, and the training loss by more than two percent. Healthy: the metric fell by at most one.

    The standard error is that of the curve `validation/<metric>_fall_error`, paired over users. Without that curve it
    is an upper bound,

    .. math:: \sqrt{(p_1 (1 - p_1) + p_2 (1 - p_2)) / users}

    because a user's value lies between 0 and 1, and because both values are of the same users, whose errors mostly
    cancel in a difference. A bound can show a collapse, and never that there is none.

    Args:
        curves: `train/loss`, `validation/<metric>`, and diagnostics where there are some.
        metric: one whose values lie between 0 and 1, larger is better.
        users: who the validation rows are of.

    Raises:
        ValueError: `users` is below 1, or a value of the metric is outside [0, 1].

    >>> loss, metric = [(1, 0.7), (10, 0.3), (20, 0.1)], [(0, 0.5), (10, 0.4), (20, 0.2)]
    >>> curves = {"train/loss": loss, "validation/mrr_full": metric}
    >>> judge_run(curves, metric="mrr_full", users=1000).diagnosis
    'collapsed'
    >>> judge_run(curves, metric="mrr_full", users=10).diagnosis
    'cannot tell'
    """
    if users < 1:
        raise ValueError(f"users must be 1 or more, got {users}. Give the number of users with validation rows.")
    validations = sorted(curves.get(f"validation/{metric}", ()))
    outside = [value for _, value in validations if not 0.0 <= value <= 1.0]
    if outside:
        raise ValueError(f"{metric} must lie between 0 and 1, got {outside[0]}. Judge by another metric.")
    losses = losses_at(curves, [step for step, _ in validations])
    if len(validations) < 2 or losses is None:
        return Judgement("cannot tell", ("there must be two validations and a training loss to compare",))
    values = [value for _, value in validations]
    best, end = values.index(max(values)), len(values) - 1
    drop = values[best] - values[end]
    paired = dict(curves.get(f"validation/{metric}_fall_error", ())).get(validations[end][0])
    error = _bound(values[best], values[end], users) if paired is None else paired
    numbers = {
        "best": values[best],
        "best_step": validations[best][0],
        "end": values[end],
        "end_step": validations[end][0],
        "drop": drop,
        "drop_standard_error": error,
        "loss_at_best": losses[best],
        "loss_at_end": losses[end],
        **_correlation(losses, values),
        **_ends(curves),
    }
    if drop == 0.0:
        return Judgement("healthy", (f"{metric} is best at the last validation",), numbers)
    about = f"± {error:.4f}" if paired is not None else f"± {error:.4f} at most"
    reasons = (
        f"{metric} fell from {values[best]:.4f} at step {validations[best][0]} to {values[end]:.4f} at step "
        f"{validations[end][0]}, by {drop:.4f} ({about}, on {users:,} users)",
        f"the training loss went from {losses[best]:.4g} to {losses[end]:.4g}",
    )
    if drop > ERRORS * error:
        return Judgement("collapsed" if _fell(losses[best], losses[end]) else "cannot tell", reasons, numbers)
    return Judgement("healthy" if paired is not None and drop <= error else "cannot tell", reasons, numbers)


@dataclass(frozen=True)
class SweepPoint:
    """Runs with one number of negatives; values are means over seeds."""

    negatives: float
    value: float
    drop_error: float
    """Standard error of this value minus that with the most negatives: paired, over users."""
    seed_error: float
    """Standard error of the same difference over seeds; 0 with a single seed, which says nothing of others."""
    first_loss: float
    last_loss: float

    @property
    def loss_fall(self) -> float:
        """The fall of the loss, as a share of its first value."""
        return (self.first_loss - self.last_loss) / abs(self.first_loss) if self.first_loss else 0.0


def judge_sweep(points: Sequence[SweepPoint], *, objective: str) -> Judgement:
    """Whether more negatives made the policy worse while the loss fell.

    Collapsed: the value with the most negatives is below the best one by more than two standard errors of that paired
    difference, over users and over seeds, and its final loss is below that of the best. Where the losses of an
    objective with different numbers of negatives cannot be compared, the share is compared by which each run's own
    loss fell.

    Args:
        points: one for each number of negatives.
        objective: its kind, as in an experiment's file; of an empty one, losses are not compared either.

    Raises:
        ValueError: two points of the same number of negatives.

    >>> points = [SweepPoint(1, 0.6, 0.01, 0.02, 0.69, 0.4), SweepPoint(15, 0.5, 0.0, 0.0, 0.69, 0.01)]
    >>> judge_sweep(points, objective="dmpo").diagnosis
    'collapsed'
    """
    points = sorted(points, key=lambda point: point.negatives)
    if len({point.negatives for point in points}) < len(points):
        raise ValueError(f"points must differ in their negatives, got {[point.negatives for point in points]}.")
    if len(points) < 2:
        return Judgement("cannot tell", ("there must be two numbers of negatives to compare",))
    most, best = points[-1], max(points, key=lambda point: point.value)
    drop, error = best.value - most.value, math.hypot(best.drop_error, best.seed_error)
    apart = why_not_comparable(objective)
    fell = _fell(most.first_loss, most.last_loss) and (
        most.last_loss < best.last_loss if apart is None else most.loss_fall > best.loss_fall
    )
    numbers = {
        "best": best.value,
        "best_negatives": best.negatives,
        "with_most": most.value,
        "most_negatives": most.negatives,
        "drop": drop,
        "drop_standard_error": error,
        "drop_standard_error_over_users": best.drop_error,
        "drop_standard_error_over_seeds": best.seed_error,
        "loss_of_best": best.last_loss,
        "loss_with_most": most.last_loss,
        "loss_fall_of_best": best.loss_fall,
        "loss_fall_with_most": most.loss_fall,
    }
    if best is most:
        return Judgement("healthy", (f"{most.value:.4f} with {most.negatives:g}, the most, is best",), numbers)
    seen = (
        f"{best.value:.4f} with {best.negatives:g}, {most.value:.4f} with {most.negatives:g}: lower by {drop:.4f} "
        f"(± {best.drop_error:.4f} over users, ± {best.seed_error:.4f} over seeds)"
    )
    of_loss = f"final loss {best.last_loss:.4g} with {best.negatives:g}, {most.last_loss:.4g} with {most.negatives:g}"
    if apart is not None:
        of_loss += f"; not comparable ({apart}): it fell by {best.loss_fall:.0%} and {most.loss_fall:.0%} of its start"
    if drop > ERRORS * error:
        return Judgement("collapsed" if fell else "cannot tell", (seen, of_loss), numbers)
    return Judgement("healthy" if drop <= error else "cannot tell", (seen, "within noise", of_loss), numbers)


def why_not_comparable(objective: str) -> str | None:
    """Why losses of an objective with different numbers of negatives say nothing of one another; None, if they do.

    A mean over negatives, inside a sigmoid or over pairs, is comparable: where policy and reference are the same it has
    one value, log 2 or another, for any number of negatives.
    """
    if not objective:
        return "the objective is not named"
    return SUMS_OVER_NEGATIVES.get(objective.removeprefix("dynamicpo-"))


def losses_at(curves: Curves, steps: Sequence[int]) -> list[float] | None:
    """The training loss around each of these steps, in order: the mean of its points since the step before.

    Before the first step of training, and where no point lies between two steps, the point next to it counts.
    None without any point.

    >>> losses_at({"train/loss": [(1, 8.0), (10, 6.0), (20, 4.0), (30, 2.0)]}, [0, 20, 30])
    [8.0, 6.0, 2.0]
    """
    points = sorted(curves.get(LOSS, ()))
    if not points:
        return None
    found: list[float] = []
    for before, step in zip((-1, *steps), steps, strict=False):
        between = [value for at, value in points if before < at <= step]
        nearest = next((value for at, value in reversed(points) if at <= step), points[0][1])
        found.append(math.fsum(between) / len(between) if between else nearest)
    return found


def first_and_last_loss(curves: Curves) -> tuple[float, float] | None:
    """The first point of the loss, and its mean over the last stretch between two validations; None without a loss."""
    points = sorted(curves.get(LOSS, ()))
    if not points:
        return None
    steps = sorted({step for name, curve in curves.items() if name.startswith("validation/") for step, _ in curve})
    stretch = losses_at(curves, [*[step for step in steps if step < points[-1][0]], points[-1][0]])
    assert stretch is not None  # there are points
    return points[0][1], stretch[-1]


def _bound(first: float, second: float, users: int) -> float:
    return math.sqrt((first * (1.0 - first) + second * (1.0 - second)) / users)


def _fell(before: float, after: float) -> bool:
    return before - after > LOSS_MARGIN * abs(before)


def _correlation(losses: Sequence[float], values: Sequence[float]) -> dict[str, float]:
    """Spearman's, over validations: positive where the metric falls with the loss. Absent where one is constant."""
    found = pl.select(pl.corr(pl.Series(losses), pl.Series(values), method="spearman")).item()
    return {} if found is None or math.isnan(found) else {"loss_metric_spearman": float(found)}


def _ends(curves: Curves) -> dict[str, float]:
    ends = {name: sorted(curves[f"diagnostic/{name}"]) for name in DIAGNOSTICS if curves.get(f"diagnostic/{name}")}
    return {f"{name}_{end}": curve[at][1] for name, curve in ends.items() for end, at in (("first", 0), ("last", -1))}
