"""When a run, or a sweep, is called collapsed: the loss and the metric have both fallen, by more than noise."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.statistics.collapse import (
    Curves,
    SweepPoint,
    first_and_last_loss,
    judge_run,
    judge_sweep,
    losses_at,
    why_not_comparable,
)

METRIC = "ndcg_at_10_full"
STEPS = [0, 10, 20, 30, 40]
FALLING = [(1, 0.69), (5, 0.6), (10, 0.5), (15, 0.4), (20, 0.3), (25, 0.2), (30, 0.1), (35, 0.05), (40, 0.02)]


def curves(values: list[float], losses: list[tuple[int, float]] = FALLING, error: float | None = None) -> Curves:
    found: dict[str, list[tuple[int, float]]] = {
        f"validation/{METRIC}": list(zip(STEPS, values, strict=True)),
        "train/loss": losses,
    }
    return found if error is None else {**found, f"validation/{METRIC}_fall_error": [(40, error)]}


def judged(
    values: list[float],
    losses: list[tuple[int, float]] = FALLING,
    *,
    users: int = 10_000,
    error: float | None = None,
) -> str:
    return judge_run(curves(values, losses, error), metric=METRIC, users=users).diagnosis


def test_metric_and_loss_that_both_fall_are_a_collapse() -> None:
    found = judge_run(curves([0.30, 0.32, 0.31, 0.25, 0.20]), metric=METRIC, users=10_000)
    assert found.diagnosis == "collapsed"
    assert found.numbers["best_step"] == 10
    assert found.numbers["drop"] == pytest.approx(0.12)
    assert found.numbers["drop_standard_error"] == pytest.approx(math.sqrt((0.32 * 0.68 + 0.20 * 0.80) / 10_000))
    assert found.numbers["loss_at_best"] == pytest.approx((0.69 + 0.6 + 0.5) / 3)
    assert found.numbers["loss_at_end"] == pytest.approx((0.05 + 0.02) / 2)
    assert found.numbers["loss_metric_spearman"] > 0
    assert "from 0.3200 at step 10 to 0.2000 at step 40" in found.reasons[0]


def test_a_fall_from_the_start_counts_too() -> None:
    assert judged([0.40, 0.35, 0.30, 0.25, 0.20]) == "collapsed"


def test_learning_is_healthy() -> None:
    found = judge_run(curves([0.20, 0.25, 0.28, 0.30, 0.31]), metric=METRIC, users=10_000)
    assert found.diagnosis == "healthy"
    assert found.numbers["loss_metric_spearman"] == -1.0


def test_the_same_fall_of_few_users_is_no_collapse() -> None:
    values = [0.060, 0.062, 0.060, 0.056, 0.050]
    assert judged(values, users=943) != "collapsed"
    assert judged(values, users=100_000) == "collapsed"


def test_a_paired_error_finds_what_its_upper_bound_cannot() -> None:
    values = [0.060, 0.062, 0.060, 0.056, 0.050]
    assert judged(values, users=943) == "cannot tell"
    assert judged(values, users=943, error=0.004) == "collapsed"
    found = judge_run(curves(values, error=0.004), metric=METRIC, users=943)
    assert found.numbers["drop_standard_error"] == 0.004
    assert "by 0.0120 (± 0.0040, on 943 users)" in found.reasons[0]
    assert "at most" in judge_run(curves(values), metric=METRIC, users=943).reasons[0]


def test_a_metric_that_falls_while_the_loss_does_not_is_another_failure() -> None:
    rising = [(step, 1.0 - loss) for step, loss in FALLING]
    assert judged([0.30, 0.32, 0.31, 0.25, 0.20], rising) == "cannot tell"
    flat = [(step, 0.5) for step, _ in FALLING]
    assert judged([0.30, 0.32, 0.31, 0.25, 0.20], flat) == "cannot tell"


def test_between_one_and_two_standard_errors_one_cannot_tell() -> None:
    values = [0.30, 0.32, 0.31, 0.31, 0.30]
    assert judged(values, error=0.015) == "cannot tell"
    assert judged(values, error=0.021) == "healthy"
    assert judged(values, users=10) == "cannot tell"  # a bound on the noise shows no health


def test_without_a_second_validation_or_a_loss_one_cannot_tell() -> None:
    assert judge_run({}, metric=METRIC, users=10).diagnosis == "cannot tell"
    assert judge_run({f"validation/{METRIC}": [(0, 0.1), (9, 0.0)]}, metric=METRIC, users=10).diagnosis == "cannot tell"


def test_numbers_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="users must be 1 or more, got 0"):
        judge_run({}, metric=METRIC, users=0)
    with pytest.raises(ValueError, match=r"must lie between 0 and 1, got 1\.5"):
        judge_run({f"validation/{METRIC}": [(0, 1.5)]}, metric=METRIC, users=10)


def test_diagnostics_stand_beside_the_verdict_and_have_no_say() -> None:
    plain = curves([0.20, 0.25, 0.28, 0.30, 0.31])
    found = judge_run({**plain, "diagnostic/saturation": [(40, 0.001), (1, 0.5)]}, metric=METRIC, users=10_000)
    assert found.diagnosis == "healthy"
    assert (found.numbers["saturation_first"], found.numbers["saturation_last"]) == (0.5, 0.001)


@given(st.permutations(range(len(STEPS))), st.permutations(range(len(FALLING))))
def test_the_order_of_points_changes_nothing(validations: list[int], points: list[int]) -> None:
    whole = curves([0.30, 0.32, 0.31, 0.25, 0.20])
    shuffled = {
        f"validation/{METRIC}": [whole[f"validation/{METRIC}"][at] for at in validations],
        "train/loss": [FALLING[at] for at in points],
    }
    assert judge_run(shuffled, metric=METRIC, users=500) == judge_run(whole, metric=METRIC, users=500)


@given(st.lists(st.floats(0, 1), min_size=5, max_size=5), st.integers(1, 10**7))
def test_more_users_never_take_a_collapse_back(values: list[float], users: int) -> None:
    if judged(values, users=users) == "collapsed":
        assert judged(values, users=2 * users) == "collapsed"


def test_the_toy_in_which_the_loss_falls_four_orders_of_magnitude_and_learning_five() -> None:
    """One boundary negative with margin 0, the others easy with margin 10: DMPO against the number of negatives.

    z is the mean margin, the loss log(1 + e^-z), and the gradient on the boundary negative σ(-z) / K.
    """
    points = []
    for k in (1, 2, 3, 5, 10, 15, 19):
        z = 10 * (k - 1) / k
        loss, gradient = math.log1p(math.exp(-z)), 1 / (1 + math.exp(z)) / k
        points.append(SweepPoint(k, gradient, 1e-6, 0.0, math.log(2), loss))
    found = judge_sweep(points, objective="dmpo")
    assert found.diagnosis == "collapsed"
    assert found.numbers["loss_with_most"] == pytest.approx(7.68e-5, rel=1e-3)
    assert found.numbers["with_most"] == pytest.approx(4.04e-6, rel=2e-3)
    assert (found.numbers["loss_of_best"], found.numbers["best"]) == (pytest.approx(0.693, abs=1e-3), 0.5)


def point(
    negatives: float, value: float, last_loss: float, *, first_loss: float = 0.69, seeds: float = 0.0
) -> SweepPoint:
    return SweepPoint(negatives, value, 0.01, seeds, first_loss, last_loss)


def test_a_sweep_that_rises_and_falls_while_the_loss_falls_is_a_collapse() -> None:
    sweep = [point(15, 0.50, 0.01), point(1, 0.58, 0.4), point(5, 0.60, 0.1)]
    found = judge_sweep(sweep, objective="dynamicpo-dmpo")
    assert found.diagnosis == "collapsed"
    assert (found.numbers["best_negatives"], found.numbers["most_negatives"]) == (5, 15)
    assert found == judge_sweep(sweep[::-1], objective="dynamicpo-dmpo")


def test_a_sweep_within_noise_of_users_or_of_seeds_is_none() -> None:
    assert judge_sweep([point(1, 0.515, 0.4), point(15, 0.50, 0.01)], objective="dmpo").diagnosis == "cannot tell"
    assert judge_sweep([point(1, 0.505, 0.4), point(15, 0.50, 0.01)], objective="dmpo").diagnosis == "healthy"
    noisy = [point(1, 0.58, 0.4, seeds=0.05), point(15, 0.50, 0.01)]
    assert judge_sweep(noisy, objective="dmpo").diagnosis == "cannot tell"


def test_a_sweep_whose_loss_is_higher_with_most_negatives_is_none() -> None:
    assert judge_sweep([point(1, 0.60, 0.1), point(15, 0.50, 0.4)], objective="dmpo").diagnosis == "cannot tell"


def test_losses_that_grow_with_the_number_are_compared_as_shares_of_their_start() -> None:
    few, many = point(1, 0.60, 0.40), point(15, 0.50, 0.45, first_loss=math.log(16))
    assert judge_sweep([few, many], objective="dmpo").diagnosis == "cannot tell"  # 0.45 is no fall from 0.40
    found = judge_sweep([few, many], objective="sdpo")  # but from log 16 it is a deep one
    assert found.diagnosis == "collapsed"
    assert "not comparable" in found.reasons[1]
    assert judge_sweep([few, many], objective="").diagnosis == "collapsed"
    assert why_not_comparable("dynamicpo-mppo") is not None
    assert why_not_comparable("dynamicpo-dmpo") is None


def test_a_sweep_of_one_point_or_of_two_equal_ones_is_none() -> None:
    assert judge_sweep([point(1, 0.5, 0.1)], objective="dmpo").diagnosis == "cannot tell"
    with pytest.raises(ValueError, match="must differ in their negatives"):
        judge_sweep([point(1, 0.5, 0.1), point(1, 0.6, 0.1)], objective="dmpo")


def test_losses_are_means_between_validations() -> None:
    assert losses_at({}, [0, 10]) is None
    assert losses_at({"train/loss": [(1, 3.0)]}, [0, 10, 20]) == [3.0, 3.0, 3.0]
    assert first_and_last_loss(curves([0.1] * 5)) == (0.69, pytest.approx((0.05 + 0.02) / 2))
    assert first_and_last_loss({"train/loss": [(1, 3.0), (10, 1.0)]}) == (3.0, 2.0)
    assert first_and_last_loss({}) is None
