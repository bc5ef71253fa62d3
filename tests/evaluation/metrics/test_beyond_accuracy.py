"""Beyond-accuracy numbers against hand-computed values and plain-Python definitions on random lists."""

import itertools
import math

import numpy as np
import polars as pl
import pytest

from evaluation.metrics.beyond_accuracy import beyond_accuracy, catalogue_of
from evaluation.metrics.coverage import catalogue_coverage, entropy, gini
from evaluation.metrics.diversity import category_diversity, category_features
from evaluation.metrics.novelty import novelty
from evaluation.metrics.popularity import popularity_lift
from evaluation.metrics.ranking import PREDICTIONS_SCHEMA, mean_metrics, metrics_of
from evaluation.metrics.top_lists import NO_ITEM, padded, top_items

N_ITEMS, K = 12, 4


@pytest.fixture
def lists() -> list[list[int]]:
    random = np.random.default_rng(5)
    return [random.permutation(N_ITEMS)[: random.integers(1, K + 1)].tolist() for _ in range(40)]


def as_array(lists: list[list[int]]) -> np.ndarray:
    return padded(pl.Series(lists, dtype=pl.List(pl.Int32)), K)


def test_short_lists_are_filled_and_long_ones_cut() -> None:
    table = pl.DataFrame(
        {"row_id": [3, 1], "protocol": ["full"] * 2, "items": [[5], [1, 2, 3]], "scores": [[0.0], [2.0, 1.0, 0.0]]},
    ).with_columns(target_rank=pl.lit(1)).cast(PREDICTIONS_SCHEMA)  # fmt: skip
    row_id, items = top_items(table, "full", 2)
    assert row_id.tolist() == [1, 3]
    assert items.tolist() == [[1, 2], [5, NO_ITEM]]
    with pytest.raises(ValueError, match="must hold rows of protocol of_20, got none"):
        top_items(table, "of_20", 2)


def test_coverage_gini_and_entropy_are_their_definitions(lists: list[list[int]]) -> None:
    listed = list(itertools.chain.from_iterable(lists))
    counts = sorted(listed.count(item) for item in range(N_ITEMS))
    items = as_array(lists)
    assert catalogue_coverage(items, N_ITEMS) == len(set(listed)) / N_ITEMS
    pairs = sum(abs(a - b) for a in counts for b in counts)
    by_pairs = pairs / (2 * N_ITEMS * sum(counts)) * N_ITEMS / (N_ITEMS - 1)  # half the relative mean difference
    assert gini(items, N_ITEMS) == pytest.approx(by_pairs, abs=1e-12)
    shares = [count / len(listed) for count in counts if count]
    assert entropy(items, N_ITEMS) == pytest.approx(-sum(p * math.log(p) for p in shares), abs=1e-12)


def test_one_item_for_all_is_as_uneven_as_can_be_and_all_items_alike_as_even() -> None:
    assert gini(np.zeros((5, 1), dtype=np.int64), 9) == pytest.approx(1.0)
    assert entropy(np.zeros((5, 1), dtype=np.int64), 9) == 0.0
    everything = np.arange(9).reshape(3, 3)
    assert gini(everything, 9) == pytest.approx(0.0)
    assert entropy(everything, 9) == pytest.approx(math.log(9))


def test_an_item_outside_the_catalogue_is_refused_not_counted() -> None:
    with pytest.raises(ValueError, match="listed items must be 0 to 3, got 1 to 4"):
        catalogue_coverage(np.array([[1, 4]]), 4)


def test_diversity_is_the_mean_jaccard_distance_of_pairs(lists: list[list[int]]) -> None:
    random = np.random.default_rng(6)
    names = ["|".join(sorted(random.choice(list("abcde"), random.integers(1, 4), replace=False))) for _ in range(10)]
    category = pl.Series([*names, None, None], dtype=pl.String)

    def distance(a: str, b: str) -> float:
        first, second = set(a.split("|")), set(b.split("|"))
        return 1.0 - len(first & second) / len(first | second)

    got = category_diversity(as_array(lists), category_features(category))
    for row, items in enumerate(lists):
        known = [category[item] for item in items if category[item] is not None]
        expected = [distance(a, b) for a, b in itertools.combinations(known, 2)]
        if expected:
            assert got[row] == pytest.approx(sum(expected) / len(expected), abs=1e-6)
        else:
            assert np.isnan(got[row])
    assert np.isfinite(got).any()


def test_diversity_does_not_depend_on_the_size_of_a_chunk(
    lists: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    features = category_features(pl.Series([chr(97 + item % 5) for item in range(N_ITEMS)]))
    whole = category_diversity(as_array(lists), features)
    monkeypatch.setattr("evaluation.metrics.diversity._CHUNK_CELLS", 1)
    np.testing.assert_array_equal(category_diversity(as_array(lists), features), whole)


def test_novelty_of_an_item_nobody_took_is_finite_and_largest() -> None:
    values = novelty(np.array([[0, NO_ITEM], [1, NO_ITEM], [NO_ITEM, NO_ITEM]]), np.array([3, 0]), n_users=15)
    assert values[:2].tolist() == [2.0, 4.0]
    assert np.isnan(values[2])
    with pytest.raises(ValueError, match="n_users must be at least an item's users, 3, got 2"):
        novelty(np.array([[0]]), np.array([3]), n_users=2)


def test_lift_is_nothing_where_lists_are_as_popular_as_histories() -> None:
    counts = np.array([4, 8, 0])
    same = np.array([[0, 1]])
    assert popularity_lift(same, same, counts) == 0.0
    assert popularity_lift(np.array([[1]]), np.array([[0]]), counts) == 1.0
    assert popularity_lift(np.array([[2]]), np.array([[0]]), counts) == -1.0
    assert math.isnan(popularity_lift(np.array([[0]]), np.array([[2]]), counts))


ROWS = pl.DataFrame(
    {
        "row_id": [10, 11],
        "user_id": [0, 1],
        "split": ["test"] * 2,
        "history": [[0, 1], [1]],
        "target": [2, 0],
    },
    schema_overrides={"row_id": pl.Int32, "user_id": pl.Int32, "history": pl.List(pl.Int32), "target": pl.Int32},
)
PREDICTIONS = pl.DataFrame(
    {
        "row_id": [10, 11] * 2,
        "protocol": ["full"] * 2 + ["of_3"] * 2,
        "items": [[2, 3], [2, 3], [2, 3, 0], [3, 2, 0]],
        "scores": [[1.0, 0.0]] * 2 + [[2.0, 1.0, 0.0]] * 2,
        "target_rank": [1, 3, 1, 3],
    },
    schema=PREDICTIONS_SCHEMA,
)
INTERACTIONS = pl.DataFrame(
    {
        "user_id": [0, 0, 1, 1, 1],
        "item_id": [0, 1, 1, 1, 3],
        "split": ["train", "train", "train", "train", "test"],
    }
)
ITEMS = pl.DataFrame({"item_id": range(4), "category": ["a", "b", "a|b", None]})


def test_the_numbers_of_one_experiment_carry_their_protocol_and_are_those_of_the_parts() -> None:
    catalogue = catalogue_of(INTERACTIONS, ITEMS, n_users=2)
    assert catalogue.item_counts.tolist() == [1, 2, 0, 0]  # user 1 took item 1 twice, and is one user of it
    assert catalogue.user_counts.tolist() == [2, 1]
    found = beyond_accuracy(PREDICTIONS, metrics_of(PREDICTIONS, ROWS), ROWS, catalogue)
    assert all(name.endswith(("_full", "_of_3", "_rows")) for name in found)
    assert found["coverage_at_10_full"] == 0.5
    assert found["novelty_at_10_full"] == pytest.approx(math.log2(3))
    assert found["popularity_lift_at_10_full"] == -1.0
    assert "diversity_at_10_full" not in found, "no list holds two items with a category"
    assert (found["cold_item_rows"], found["cold_item_recall_at_10_full"]) == (2.0, 1.0)
    assert found["recall_at_1_full"] == 0.5
    assert found["map_at_5_full"] == pytest.approx((1 + 1 / 3) / 2)
    assert "hit_ratio_at_5_of_3" not in found, "a cut-off beyond the candidate set says nothing"


def test_row_order_changes_no_digit() -> None:
    random = np.random.default_rng(0)
    n = 300
    table = pl.DataFrame(
        {
            "row_id": np.arange(n),
            "protocol": ["full"] * n,
            "items": [random.permutation(30)[:10].tolist() for _ in range(n)],
            "scores": [list(np.arange(10.0)[::-1])] * n,
            "target_rank": random.integers(11, 30, n),
        },
        schema=PREDICTIONS_SCHEMA,
    )
    assert mean_metrics(table.sample(fraction=1.0, shuffle=True, seed=1)) == mean_metrics(table)


def test_a_foreign_table_without_the_full_catalogue_has_its_rank_measures_alone() -> None:
    lists = PREDICTIONS.filter(pl.col("protocol") == "of_3")
    found = beyond_accuracy(lists, metrics_of(lists, ROWS), ROWS, catalogue_of(INTERACTIONS, ITEMS, n_users=2))
    assert found == mean_metrics(lists)
