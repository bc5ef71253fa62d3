"""Laws of metrics and statistics: true for every input, not only for those thought of."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.baselines import ranked_predictions
from evaluation.metrics.ranking import METRICS_SCHEMA, Measure, check_predictions, metrics_of
from evaluation.statistics.significance import (
    Resampling,
    bootstrap,
    bootstrap_intervals,
    holm,
    mcnemar_exact,
    panel_of,
    percentile_intervals,
    resampled_totals,
)

N_ITEMS = 9


@st.composite
def worlds(draw: st.DrawFn) -> tuple[pl.DataFrame, pl.DataFrame, np.ndarray]:
    """Rows, their candidate sets, and a score for each row and item, with many ties."""
    n_rows, n = draw(st.integers(1, 6)), draw(st.integers(2, 5))
    item, value = st.integers(0, N_ITEMS - 1), st.sampled_from([-1.5, -0.0, 0.0, 0.25, 3.0])
    histories, targets, candidates = [], [], []
    for _ in range(n_rows):
        histories.append(draw(st.lists(item, min_size=1, max_size=4)))
        targets.append(draw(item))
        others = [i for i in draw(st.permutations(range(N_ITEMS))) if i != targets[-1]][: n - 1]
        candidates.append(draw(st.permutations([*others, targets[-1]])))
    scores = draw(st.lists(value, min_size=n_rows * N_ITEMS, max_size=n_rows * N_ITEMS))
    row_id = pl.Series("row_id", range(n_rows), dtype=pl.Int32)
    rows = pl.DataFrame(
        {"row_id": row_id, "user_id": row_id // 2, "split": ["test"] * n_rows, "history": histories, "target": targets},
        schema_overrides={"history": pl.List(pl.Int32), "target": pl.Int32},
    )
    lists = pl.Series("candidates", candidates, dtype=pl.List(pl.Int32))
    return rows, pl.DataFrame([row_id, lists]), np.array(scores, dtype=np.float32).reshape(n_rows, N_ITEMS)


@given(worlds(), st.integers(1, N_ITEMS))
def test_predictions_are_what_sorting_each_list_by_hand_gives(
    world: tuple[pl.DataFrame, pl.DataFrame, np.ndarray], top_k: int
) -> None:
    rows, candidate_sets, scores = world
    table = ranked_predictions(lambda row, item: scores[row, item], rows, candidate_sets, n_items=N_ITEMS, top_k=top_k)
    check_predictions(table, rows, n_items=N_ITEMS)
    for row, lists in zip(rows.to_dicts(), candidate_sets["candidates"].to_list(), strict=True):
        allowed = [i for i in range(N_ITEMS) if i == row["target"] or i not in row["history"]]
        for protocol, pool, length in ((f"of_{len(lists)}", lists, len(lists)), ("full", allowed, top_k)):
            score = scores[row["row_id"]]
            by_hand = sorted(pool, key=lambda i: (-score[i], i == row["target"], i))
            got = table.filter((pl.col("row_id") == row["row_id"]) & (pl.col("protocol") == protocol)).row(
                0, named=True
            )
            assert got["items"] == by_hand[:length]
            assert got["scores"] == [score[i] for i in by_hand[:length]]
            assert got["target_rank"] == 1 + by_hand.index(row["target"])


@given(worlds(), st.randoms(use_true_random=False))
def test_metrics_do_not_depend_on_the_order_of_rows(
    world: tuple[pl.DataFrame, pl.DataFrame, np.ndarray], random: object
) -> None:
    rows, candidate_sets, scores = world
    table = ranked_predictions(lambda row, item: scores[row, item], rows, candidate_sets, n_items=N_ITEMS)
    shuffled = table.sample(fraction=1.0, shuffle=True, seed=random.randint(0, 999))  # type: ignore[attr-defined]
    assert metrics_of(shuffled, rows.reverse()).equals(metrics_of(table, rows))


@given(st.lists(st.integers(1, 50), min_size=1, max_size=20), st.integers(1, 50))
def test_every_measure_falls_with_the_rank_and_lies_between_zero_and_one(ranks: list[int], k: int) -> None:
    rank = np.sort(np.array(ranks))
    for measure in (Measure("hit_ratio", k), Measure("recall", k), Measure("ndcg", k), Measure("mrr")):
        values = measure.values(rank)
        assert ((values >= 0.0) & (values <= 1.0)).all()
        assert (np.diff(values) <= 0.0).all()
        assert measure.values(np.array([1])).tolist() == [1.0]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=20), st.integers(1, 50))
def test_measures_agree_with_the_definition_over_a_relevance_vector(ranks: list[int], k: int) -> None:
    for rank in ranks:
        relevance = [float(place == rank) for place in range(1, 51)]
        gain = sum(r / math.log2(1 + place) for place, r in enumerate(relevance[:k], start=1))
        assert Measure("ndcg", k).values(np.array([rank]))[0] == pytest.approx(gain, abs=1e-12)
        assert Measure("recall", k).values(np.array([rank]))[0] == sum(relevance[:k]) / sum(relevance)
        reciprocal = max(r / place for place, r in enumerate(relevance, start=1))
        assert Measure("mrr").values(np.array([rank]))[0] == reciprocal


@st.composite
def metrics(draw: st.DrawFn) -> pl.DataFrame:
    values = draw(st.lists(st.floats(0.0, 1.0), min_size=2, max_size=30))
    users = draw(st.lists(st.integers(0, 5), min_size=len(values), max_size=len(values)))
    return pl.DataFrame(
        {
            "row_id": range(len(values)),
            "user_id": users,
            "split": "test",
            "protocol": "full",
            "metric": "mrr_full",
            "value": values,
        },
        schema=METRICS_SCHEMA,
    )


@given(metrics(), st.randoms(use_true_random=False))
def test_intervals_do_not_depend_on_the_order_of_rows(table: pl.DataFrame, random: object) -> None:
    shuffled = table.sample(fraction=1.0, shuffle=True, seed=random.randint(0, 999))  # type: ignore[attr-defined]
    first, second = (panel_of({"a": t}, split="test") for t in (table, shuffled))
    assert bootstrap_intervals(first, Resampling(50)) == bootstrap_intervals(second, Resampling(50))


@given(metrics())
def test_an_interval_lies_within_the_users_means_and_around_its_value(table: pl.DataFrame) -> None:
    panel = panel_of({"a": table}, split="test")
    (interval,) = bootstrap_intervals(panel, Resampling(200)).values()
    per_user = table.group_by("user_id").agg(pl.col("value").mean())["value"].to_numpy()
    slack = 1e-12
    assert per_user.min() - slack <= interval.low <= interval.high <= per_user.max() + slack
    assert interval.value == pytest.approx(table["value"].to_numpy().mean())


@given(metrics())
def test_a_system_compared_with_itself_differs_by_exactly_zero(table: pl.DataFrame) -> None:
    panel = panel_of({"a": table, "b": table}, split="test")
    difference = bootstrap(panel, [(("a", "mrr_full"), ("b", "mrr_full"))], Resampling(50)).differences[0]
    assert (difference.value, difference.low, difference.high, difference.p_value) == (0.0, 0.0, 0.0, 1.0)


@given(metrics(), st.integers(0, 5))
def test_a_paired_difference_changes_its_sign_with_its_order(table: pl.DataFrame, seed: int) -> None:
    other = table.with_columns(value=pl.col("value").reverse())
    panel = panel_of({"a": table, "b": other}, split="test")
    a, b = ("a", "mrr_full"), ("b", "mrr_full")
    forth = bootstrap(panel, [(a, b)], Resampling(99, seed)).differences[0]
    back = bootstrap(panel, [(b, a)], Resampling(99, seed)).differences[0]
    assert (back.value, back.low, back.high) == pytest.approx((-forth.value, -forth.high, -forth.low), abs=1e-12)
    assert back.p_value == forth.p_value


def resampled_means(sums: np.ndarray, rows: np.ndarray, *, resamples: int, seed: int) -> np.ndarray:
    totals = resampled_totals(np.column_stack([sums, rows]), resamples=resamples, seed=seed)
    return totals[:, :-1] / totals[:, -1:]


@pytest.mark.parametrize("rows_per_user", [1, 4])
def test_intervals_cover_the_truth_as_often_as_they_say(rows_per_user: int) -> None:
    """400 simulated test sets of 80 users with tastes of their own: 95 % intervals hold the true mean in 95 %."""
    sets, users, truth = 400, 80, 0.3
    generator = np.random.default_rng(0)
    # A user's own rate is Beta(3, 7): mean 0.3, so rows of one user go together.
    rate = generator.beta(3.0, 7.0, (users, sets))
    hits = generator.binomial(rows_per_user, rate).astype(np.float64)
    rows = np.full(users, float(rows_per_user))
    resampled = resampled_means(hits, rows, resamples=2000, seed=1)
    intervals = percentile_intervals(hits.sum(axis=0) / rows.sum(), resampled)
    covered = np.mean([interval.low <= truth <= interval.high for interval in intervals])
    # Percentile intervals of 80 users are slightly short; three standard errors of 400 sets around 94 %.
    assert covered == pytest.approx(0.94, abs=3 * math.sqrt(0.95 * 0.05 / sets))


def test_paired_p_values_of_equal_systems_are_small_as_rarely_as_they_say() -> None:
    generator = np.random.default_rng(0)
    sets, users = 400, 150
    first, second = (generator.binomial(1, 0.3, (users, sets)).astype(np.float64) for _ in range(2))
    resampled = resampled_totals(first - second, resamples=1000, seed=2)
    at_most, at_least = (resampled <= 0.0).mean(axis=0), (resampled >= 0.0).mean(axis=0)
    found = np.mean(2 * np.minimum(at_most, at_least) < 0.05)
    assert found == pytest.approx(0.05, abs=3 * math.sqrt(0.05 * 0.95 / sets))


@given(st.lists(st.floats(0.0, 1.0), max_size=12))
def test_holm_is_never_below_the_p_value_nor_above_bonferroni_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    for p, corrected in zip(p_values, adjusted, strict=True):
        assert p <= corrected <= min(1.0, len(p_values) * p)
    for i in range(len(p_values)):
        for j in range(len(p_values)):
            assert p_values[i] > p_values[j] or adjusted[i] <= adjusted[j]


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 10))
def test_mcnemar_is_symmetric_and_blind_to_rows_on_which_both_agree(wins: int, losses: int, agreed: int) -> None:
    first = np.array([1.0] * wins + [0.0] * losses)
    p = mcnemar_exact(first, 1.0 - first)
    assert p == mcnemar_exact(1.0 - first, first)
    assert p == mcnemar_exact(np.append(first, np.ones(agreed)), np.append(1.0 - first, np.ones(agreed)))
    assert 0.0 < p <= 1.0
