import math
import time

import numpy as np
import polars as pl
import pytest
from scipy.stats import binomtest

from evaluation.statistics.significance import (
    Panel,
    Resampling,
    bootstrap,
    bootstrap_intervals,
    effect,
    holm,
    mcnemar_exact,
    outcome,
    panel_of,
    resampled_totals,
    smallest_detectable_difference,
)


def metrics(values: list[float], users: list[int], split: str = "test", metric: str = "mrr_of_20") -> pl.DataFrame:
    return pl.DataFrame(
        {"row_id": range(len(values)), "user_id": users, "split": split, "metric": metric, "value": values},
        schema={"row_id": pl.Int32, "user_id": pl.Int32, "split": pl.String, "metric": pl.String, "value": pl.Float64},
    )


def resampled_means(sums: np.ndarray, rows: np.ndarray, *, resamples: int, seed: int) -> np.ndarray:
    totals = resampled_totals(np.column_stack([sums, rows]), resamples=resamples, seed=seed)
    return totals[:, :-1] / totals[:, -1:]


def test_the_mean_over_rows_and_the_mean_over_users_differ_where_users_have_several_rows() -> None:
    panel = panel_of({"sft": metrics([1.0, 1.0, 1.0, 0.0], users=[8, 8, 8, 3])}, split="test")
    assert panel.user_ids.tolist() == [3, 8]
    assert panel.rows.tolist() == [1.0, 3.0]
    assert panel.means().tolist() == [3 / 4]
    assert panel.user_means().means().tolist() == [(1 + 0) / 2]


def test_a_bootstrap_of_two_users_takes_the_three_values_it_can_take() -> None:
    """User 0 has two hits, user 1 one miss: draws (0,0), (0,1), (1,1) give 1, 2/3, 0 with odds 1 : 2 : 1."""
    means = resampled_means(np.array([[2.0], [0.0]]), np.array([2.0, 1.0]), resamples=20_000, seed=0)[:, 0]
    values, times = np.unique(means, return_counts=True)
    assert values.tolist() == pytest.approx([0.0, 2 / 3, 1.0])
    assert (times / 20_000).tolist() == pytest.approx([1 / 4, 1 / 2, 1 / 4], abs=4 * math.sqrt(0.25 / 20_000))


def test_resamples_do_not_depend_on_how_many_are_held_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    sums = np.random.default_rng(0).random((50, 3))
    whole = resampled_means(sums, np.ones(50), resamples=37, seed=5)
    monkeypatch.setattr("evaluation.statistics.significance._CHUNK_CELLS", 50 * 8)
    np.testing.assert_allclose(resampled_means(sums, np.ones(50), resamples=37, seed=5), whole, rtol=1e-14)


def test_every_call_on_the_same_users_sees_the_same_resamples() -> None:
    sums = np.random.default_rng(0).random((40, 2))
    both = resampled_means(sums, np.ones(40), resamples=100, seed=1)
    alone = resampled_means(sums[:, 1:], np.ones(40), resamples=100, seed=1)
    np.testing.assert_allclose(both[:, 1:], alone, rtol=1e-14)
    assert not np.allclose(alone, resampled_means(sums[:, 1:], np.ones(40), resamples=100, seed=2))


def test_the_bootstrap_standard_error_is_the_analytic_one_for_one_row_per_user() -> None:
    values = np.random.default_rng(0).random(500)
    means = resampled_means(values[:, None], np.ones(500), resamples=20_000, seed=0)
    assert means.std() == pytest.approx(values.std() / math.sqrt(500), rel=0.03)


def test_counting_rows_of_one_user_as_independent_would_make_the_interval_too_short() -> None:
    """20 users with 25 equal rows each: the interval is that of 20 rows, five times as wide as that of 500."""
    per_user = np.random.default_rng(0).random(20)
    clustered = panel_of(
        {"sft": metrics(np.repeat(per_user, 25).tolist(), users=np.repeat(np.arange(20), 25).tolist())}, split="test"
    )
    independent = panel_of({"sft": metrics(np.repeat(per_user, 25).tolist(), users=list(range(500)))}, split="test")
    (wide,), (narrow,) = bootstrap_intervals(clustered).values(), bootstrap_intervals(independent).values()
    assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(math.sqrt(25), rel=0.1)


def test_pairing_finds_what_separate_intervals_hide() -> None:
    """Per-user values are noisy, but the second system is 0.02 better for every single user."""
    values = np.random.default_rng(0).random(200)
    panel = panel_of(
        {
            "sft": metrics(values.tolist(), users=list(range(200))),
            "dmpo": metrics((values + 0.02).tolist(), users=list(range(200))),
        },
        split="test",
    )
    intervals = bootstrap_intervals(panel)
    assert intervals["dmpo", "mrr_of_20"].low < intervals["sft", "mrr_of_20"].high
    difference = bootstrap(panel, [(("dmpo", "mrr_of_20"), ("sft", "mrr_of_20"))]).differences[0]
    assert (difference.low, difference.high) == (pytest.approx(0.02), pytest.approx(0.02))
    assert difference.p_value == 2 / 10_001


def test_identical_systems_differ_by_exactly_zero() -> None:
    values = np.random.default_rng(3).random(300).tolist()
    users = [row // 3 for row in range(300)]
    panel = panel_of({"a": metrics(values, users), "b": metrics(values, users)}, split="test")
    difference = bootstrap(panel, [(("a", "mrr_of_20"), ("b", "mrr_of_20"))]).differences[0]
    assert (difference.value, difference.low, difference.high, difference.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_experiments_on_different_rows_are_refused() -> None:
    with pytest.raises(ValueError, match=r"mrr_of_20 of b must be on the same rows as mrr_of_20 of a, got 2 .* 3"):
        panel_of({"a": metrics([1.0, 0.0, 0.0], [0, 1, 2]), "b": metrics([1.0, 0.0], [0, 1])}, split="test")


def test_an_experiment_without_the_split_is_refused() -> None:
    with pytest.raises(ValueError, match="metrics of b must have rows of split test, got none"):
        panel_of({"a": metrics([1.0], [0]), "b": metrics([1.0], [0], split="validation")}, split="test")
    with pytest.raises(ValueError, match="at least one experiment"):
        panel_of({}, split="test")


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(KeyError, match="no mrr_full of a"):
        panel_of({"a": metrics([1.0], [0])}, split="test").column("a", "mrr_full")


def test_holm_multiplies_the_smallest_by_all_and_never_falls() -> None:
    assert holm([0.04, 0.01, 0.03, 0.005]) == [
        pytest.approx(0.06),  # max(1 · 0.04, 2 · 0.03)
        pytest.approx(3 * 0.01),
        pytest.approx(2 * 0.03),
        pytest.approx(4 * 0.005),
    ]
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_an_outcome_needs_significance_and_a_direction() -> None:
    assert outcome(0.1, 0.01) == "better"
    assert outcome(-0.1, 0.01) == "worse"
    assert outcome(0.1, 0.05) == "cannot tell"
    assert outcome(0.0, 0.01) == "cannot tell"


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (5, 5), (1, 0), (9, 3), (3, 9), (1200, 1000), (0, 2000)])
def test_mcnemar_is_the_exact_binomial_test_of_the_discordant_rows(wins: int, losses: int) -> None:
    first = np.array([1.0] * wins + [0.0] * losses + [1.0, 0.0])
    second = np.array([0.0] * wins + [1.0] * losses + [1.0, 0.0])
    expected = binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert mcnemar_exact(first, second) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_refuses_what_is_not_a_hit_or_not_the_same_rows() -> None:
    with pytest.raises(ValueError, match="0 or 1"):
        mcnemar_exact(np.array([0.5]), np.array([1.0]))
    with pytest.raises(ValueError, match="same rows"):
        mcnemar_exact(np.array([1.0]), np.array([1.0, 0.0]))


def test_a_difference_of_the_detectable_size_is_found_with_the_stated_power() -> None:
    size = smallest_detectable_difference(1.0, alpha=0.05, power=0.8)
    observed = np.random.default_rng(0).normal(size, 1.0, 100_000)
    assert (np.abs(observed) > 1.959964).mean() == pytest.approx(0.8, abs=0.005)


def test_more_comparisons_make_the_detectable_difference_larger() -> None:
    assert smallest_detectable_difference(0.5, comparisons=20) > smallest_detectable_difference(0.5)


def test_ten_thousand_resamples_of_many_users_are_a_matter_of_seconds() -> None:
    """A tenth of the stated 100,000 users, so that the suite stays fast; the time is linear in users."""
    users = 10_000
    panel = Panel(np.arange(users), np.ones(users), (("a", "m"),), np.random.default_rng(0).random((users, 1)))
    start = time.perf_counter()
    bootstrap_intervals(panel, Resampling(10_000))
    assert time.perf_counter() - start < 5.0


def one_metric(values: list[float], users: list[int] | None = None) -> pl.DataFrame:
    columns = {"row_id": range(len(values)), "user_id": users or list(range(len(values))), "value": values}
    return pl.DataFrame(columns)


def test_an_effect_is_the_mean_difference_of_users_in_its_deviations() -> None:
    found = effect(one_metric([0.5, 0.9, 0.2, 0.7], [0, 0, 1, 2]), one_metric([0.5, 0.5, 0.4, 0.1], [0, 0, 1, 2]))
    of_users = np.array([0.2, -0.2, 0.6])
    assert found.standardised == pytest.approx(of_users.mean() / of_users.std(ddof=1))
    assert (found.wins, found.losses, found.mcnemar_p) == (2, 1, None)
    assert found.odds_ratio == pytest.approx(2.5 / 1.5)


def test_hits_have_a_mcnemar_test() -> None:
    found = effect(one_metric([1, 1, 1, 1, 0, 0]), one_metric([0, 0, 0, 1, 0, 1]))
    assert (found.wins, found.losses) == (3, 1)
    assert found.mcnemar_p == mcnemar_exact(np.array([1.0, 1, 1, 1, 0, 0]), np.array([0.0, 0, 0, 1, 0, 1])) == 0.625


def test_no_difference_is_no_effect() -> None:
    same = one_metric([1.0, 0.0, 1.0])
    found = effect(same, same.reverse())
    assert (found.standardised, found.wins, found.losses, found.odds_ratio, found.mcnemar_p) == (0.0, 0, 0, None, 1.0)
    with pytest.raises(ValueError, match="an effect is of the same rows, got 3 and 2"):
        effect(same, same.head(2))
