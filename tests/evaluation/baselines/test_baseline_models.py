"""Baselines that read the history or the user: what they compute, and that nothing but the data and the seed does."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from evaluation.baselines import (
    ScoreRows,
    fit_als,
    fit_bpr,
    fit_item_cooccurrence,
    fit_item_knn,
    recent_popularity_predictions,
    row_predictions,
)
from evaluation.metrics.ranking import check_predictions, metrics_of
from tests.conftest import Tables

Fit = Callable[[pl.DataFrame, int], ScoreRows]

FITS: dict[str, Fit] = {
    "item_cooccurrence": lambda x, n: fit_item_cooccurrence(x, n_items=n, reach=2, decay=0.5),
    "item_knn": lambda x, n: fit_item_knn(x, n_items=n, similarity="tfidf", neighbours=10, decay=0.8),
    "als": lambda x, n: fit_als(x, n_items=n, factors=8, regularization=0.1, alpha=2.0, iterations=5, seed=1),
    "bpr": lambda x, n: fit_bpr(
        x, n_items=n, factors=4, learning_rate=0.05, regularization=0.05, iterations=200, seed=1
    ),
}


def log(*users: list[int]) -> pl.DataFrame:
    rows = [(user, item, "train") for user, items in enumerate(users) for item in items]
    return pl.DataFrame(rows, schema={"user_id": pl.Int32, "item_id": pl.Int32, "split": pl.String}, orient="row")


def asked(*histories: list[int], users: list[int] | None = None) -> pl.DataFrame:
    return pl.DataFrame(
        {"user_id": users or [0] * len(histories), "history": histories},
        schema={"user_id": pl.Int32, "history": pl.List(pl.Int32)},
    )


def test_cooccurrence_counts_who_took_what_next() -> None:
    train = log([0, 1, 2], [0, 1, 3], [1, 0])
    chain = fit_item_cooccurrence(train, n_items=4, reach=1, decay=0.0)
    np.testing.assert_array_equal(chain(asked([3, 1], [2])), [[1, 0, 1, 1], [0, 0, 0, 0]])
    faded = fit_item_cooccurrence(train, n_items=4, reach=1, decay=0.5)
    np.testing.assert_array_equal(faded(asked([0, 1])), [[1, 0.5 * 2, 1, 1]])
    within_two = fit_item_cooccurrence(train, n_items=4, reach=2, decay=0.0)
    np.testing.assert_array_equal(within_two(asked([0])), [[0, 2, 1, 1]])
    anywhere = fit_item_cooccurrence(train, n_items=4, reach=None, decay=0.0)
    np.testing.assert_array_equal(anywhere(asked([0])), [[0, 3, 1, 1]])


def test_cooccurrence_does_not_pair_one_user_with_the_next_nor_look_beyond_train() -> None:
    held_out = pl.DataFrame({"user_id": [0], "item_id": [3], "split": ["test"]}, schema=log([0]).schema)
    train = log([0, 1], [2, 0])
    chain = fit_item_cooccurrence(pl.concat([train, held_out]), n_items=4, reach=1, decay=0.0)
    np.testing.assert_array_equal(chain(asked([1], [0])), [[0, 0, 0, 0], [0, 1, 0, 0]])
    with pytest.raises(ValueError, match="needs a user with two train interactions, got none"):
        fit_item_cooccurrence(log([0], [1]), n_items=2, reach=1, decay=0.0)


def test_item_knn_is_the_sum_of_cosines_to_the_history() -> None:
    train = log([0, 1], [0, 1, 2], [1, 2], [3])
    taken = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]], dtype=float)
    unit = taken / np.linalg.norm(taken, axis=0)
    cosine = unit.T @ unit
    np.fill_diagonal(cosine, 0.0)
    scores = fit_item_knn(train, n_items=4, similarity="cosine", neighbours=3, decay=1.0)
    np.testing.assert_allclose(scores(asked([0, 2], [3])), [cosine[0] + cosine[2], cosine[3]], atol=1e-6)
    nearest = fit_item_knn(train, n_items=4, similarity="cosine", neighbours=1, decay=1.0)
    np.testing.assert_allclose(nearest(asked([0])), [[0, cosine[0, 1], 0, 0]], atol=1e-6)


def test_als_folds_in_what_a_least_squares_solution_is() -> None:
    train = log([0, 1], [0, 1, 2], [1, 2], [3, 0])
    settings = {"factors": 3, "regularization": 0.1, "alpha": 1.0, "iterations": 4, "seed": 0}
    score = fit_als(train, n_items=4, **settings)
    all_alone = score(asked([0], [1], [2], [3]))
    # Every item on its own: vectors of least squares are x = (YᵀY + λI)⁻¹ y where confidence is 1 everywhere, so that
    # the scores of all single histories are the symmetric matrix Y (YᵀY + λI)⁻¹ Yᵀ, with eigenvalues within [0, 1).
    np.testing.assert_allclose(all_alone, all_alone.T, atol=1e-5)
    eigenvalues = np.linalg.eigvalsh(all_alone.astype(np.float64))
    assert (eigenvalues > -1e-5).all()
    assert (eigenvalues < 1).all()
    np.testing.assert_allclose(score(asked([2, 0, 2])), score(asked([0, 2])), atol=1e-6)


def test_bpr_gives_users_who_are_not_in_train_the_biases_alone() -> None:
    train = log([0, 1], [0, 1, 2], [1, 2], [1, 3])
    score = fit_bpr(train, n_items=4, factors=4, learning_rate=0.05, regularization=0.01, iterations=30, seed=0)
    known, one, other = score(asked([0], [0], [3], users=[0, 7, 9]))
    np.testing.assert_array_equal(one, other)
    assert not np.array_equal(known, one)


def test_recent_popularity_counts_the_latest_share_whatever_the_order_of_rows() -> None:
    rows = pl.DataFrame(
        {"row_id": [0], "user_id": [0], "split": ["test"], "history": [[0]], "target": [3]},
        schema_overrides={"history": pl.List(pl.Int32)},
    )
    candidate_sets = pl.DataFrame({"row_id": [0], "candidates": [[1, 2, 3]]})
    interactions = pl.DataFrame(
        {"item_id": [1, 1, 1, 2, 2, 3, 0], "split": ["train"] * 6 + ["test"], "at": [1, 2, 3, 8, 9, 9, 10]}
    )

    def scores(share: float, table: pl.DataFrame) -> dict[int, float]:
        found = recent_popularity_predictions(rows, candidate_sets, table, share=share, n_items=4)
        first = found.filter(pl.col("protocol") == "of_3").row(0, named=True)
        return dict(zip(first["items"], first["scores"], strict=True))

    assert scores(1.0, interactions) == {1: 3.0, 2: 2.0, 3: 1.0}
    assert scores(0.5, interactions) == {1: 0.0, 2: 2.0, 3: 1.0}
    # One of six is asked for, and both of that moment are counted: a tie in time is nobody's to break.
    assert scores(1 / 6, interactions) == scores(1 / 6, interactions.reverse()) == {1: 0.0, 2: 1.0, 3: 1.0}
    with pytest.raises(ValueError, match="needs the time of every train interaction, got 6 of 6 without"):
        scores(0.5, interactions.with_columns(at=pl.lit(None, dtype=pl.Int64)))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tables, pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    from tests.conftest import simulate_tables

    tables = simulate_tables(tmp_path_factory.mktemp("tables"), users=120)
    read = pl.read_parquet
    return tables, read(tables.histories), read(tables.candidate_sets), read(tables.interactions)


def predicted(world: tuple[Tables, pl.DataFrame, pl.DataFrame, pl.DataFrame], fit: Fit) -> pl.DataFrame:
    tables, histories, candidate_sets, interactions = world
    return row_predictions(fit(interactions, tables.n_items), histories, candidate_sets, n_items=tables.n_items)


@pytest.mark.parametrize("name", FITS)
def test_a_baseline_learns_from_train_and_writes_a_sound_table(world, name: str) -> None:
    tables, histories, *_ = world
    rows = histories.filter(pl.col("split") != "train")
    table = predicted(world, FITS[name])
    check_predictions(table, rows, n_items=tables.n_items, protocols=["full", "of_5"])
    metrics = metrics_of(table, rows)
    mean = metrics.filter(pl.col("metric") == "mrr_of_5")["value"].to_numpy().mean()
    assert mean > 0.52, "chance is 0.457, with a standard error of 0.02"


@pytest.mark.parametrize("name", FITS)
def test_the_order_of_rows_and_the_size_of_chunks_change_no_digit(world, name: str, monkeypatch) -> None:
    tables, histories, candidate_sets, interactions = world
    whole = predicted(world, FITS[name])
    # A user's own interactions stay in chronological order: that is what their table says.
    shuffled = interactions.sort(pl.col("user_id").hash(seed=3), maintain_order=True)
    assert not shuffled.equals(interactions)
    monkeypatch.setattr("evaluation.baselines.ranked._CHUNK_CELLS", 7 * tables.n_items)
    again = (tables, histories.reverse(), candidate_sets.sample(fraction=1.0, shuffle=True, seed=1), shuffled)
    assert predicted(again, FITS[name]).equals(whole)


@pytest.mark.parametrize("name", FITS)
def test_what_is_held_out_teaches_nothing(world, name: str) -> None:
    tables, histories, candidate_sets, interactions = world
    train_alone = interactions.filter(pl.col("split") == "train")
    assert predicted((tables, histories, candidate_sets, train_alone), FITS[name]).equals(predicted(world, FITS[name]))
