"""Candidate sets: uniform, untouched, and telling nothing about the target."""

from math import comb

import numpy as np
import polars as pl
import pytest

from assets.datasets import Candidates
from assets.schemas import SCHEMAS, validate
from assets.transforms.candidates import draw_candidates


def tables(touched: list[list[int]], targets: list[int] | None = None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """interactions and test rows of users 0, 1, …; a user's target is the last item touched unless given."""
    pairs = [(user, item) for user, items in enumerate(touched) for item in items]
    interactions = pl.DataFrame(pairs, schema={"user_id": pl.Int32, "item_id": pl.Int32}, orient="row")
    histories = pl.DataFrame(
        {
            "row_id": range(len(touched)),
            "user_id": range(len(touched)),
            "split": ["test"] * len(touched),
            "history": [items[:-1] for items in touched],
            "target": targets or [items[-1] for items in touched],
        },
        schema=SCHEMAS["histories"].dtypes,
    )
    return histories, interactions


def drawn(touched: list[list[int]], n_items: int, n: int, **options: object) -> np.ndarray:
    histories, interactions = tables(touched, options.get("targets"))
    sets = draw_candidates(histories, interactions, n_items, Candidates(n=n), int(options.get("seed", 0)))
    validate(sets, SCHEMAS["candidate_sets"])
    return np.array(sets["candidates"].to_list())


def test_a_set_holds_the_target_once_and_otherwise_untouched_items() -> None:
    touched = [[1, 5, 9], [0, 2], [29, 3, 4, 7]]
    for user, candidates in enumerate(drawn(touched, n_items=30, n=10)):
        assert sorted(set(candidates)) == sorted(candidates)
        assert set(candidates) & set(touched[user]) == {touched[user][-1]}


def test_asking_for_every_untouched_item_gives_every_untouched_item() -> None:
    assert [set(row) for row in drawn([[2, 4], [0, 5]], n_items=6, n=5)] == [{0, 1, 3, 4, 5}, {1, 2, 3, 4, 5}]


def test_every_set_of_negatives_is_equally_likely() -> None:
    users = 20_000
    negatives = [tuple(sorted(set(row) - {3})) for row in drawn([[6, 3]] * users, n_items=8, n=4).tolist()]
    sets, counts = np.unique(np.array(negatives), axis=0, return_counts=True)
    assert len(sets) == comb(6, 3)
    expected = users / comb(6, 3)
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 43.8  # 99.9 % point of chi-square with 19 degrees of freedom


def test_the_target_stands_at_every_place_equally_often() -> None:
    users, n = 20_000, 20
    places = np.nonzero(drawn([[6, 3]] * users, n_items=60, n=n) == 3)[1]
    counts = np.bincount(places, minlength=n)
    chi_square = ((counts - users / n) ** 2 / (users / n)).sum()
    assert chi_square < 43.8


def test_rows_with_the_same_target_share_no_more_negatives_than_chance() -> None:
    users, n, n_items = 400, 20, 1_000
    sets = [set(row) - {3} for row in drawn([[6, 3]] * users, n_items=n_items, n=n).tolist()]
    shared = [len(sets[user] & sets[user + 1]) for user in range(0, users, 2)]
    chance = (n - 1) ** 2 / (n_items - 2)
    assert np.mean(shared) < chance + 4 * np.sqrt(chance / len(shared))


def test_which_touched_item_is_the_target_changes_neither_negatives_nor_its_place() -> None:
    touched = [[1, 5, 9], [0, 2, 8]]
    one = drawn(touched, n_items=40, n=10, targets=[1, 0])
    other = drawn(touched, n_items=40, n=10, targets=[9, 2])
    assert ((one == other) | (one == [[1], [0]])).all()
    assert ((one == [[1], [0]]) == (other == [[9], [2]])).all()


def test_another_seed_draws_other_sets() -> None:
    touched = [[1, 5, 9]] * 20
    assert (drawn(touched, n_items=500, n=20) != drawn(touched, n_items=500, n=20, seed=1)).mean() > 0.9


def test_validation_and_test_rows_of_a_user_draw_separately() -> None:
    histories, interactions = tables([[1, 2], [1, 2]])
    histories = histories.with_columns(user_id=pl.lit(0, pl.Int32), split=pl.Series(["validation", "test"]))
    sets = draw_candidates(histories, interactions, 500, Candidates(), 0)["candidates"].to_list()
    assert len(set(sets[0]) & set(sets[1])) < 10


def test_several_rows_of_a_user_in_one_split_draw_separately() -> None:
    histories, interactions = tables([[1, 2], [1, 2]])
    sets = draw_candidates(histories.with_columns(user_id=pl.lit(0, pl.Int32)), interactions, 500, Candidates(), 0)
    assert len(set(sets["candidates"][0]) & set(sets["candidates"][1])) < 10


def test_train_rows_have_no_candidate_set() -> None:
    histories, interactions = tables([[1, 2], [3, 4]])
    histories = histories.with_columns(split=pl.Series(["train", "validation"]))
    assert draw_candidates(histories, interactions, 30, Candidates(), 0)["row_id"].to_list() == [1]


def test_too_small_a_catalogue_is_refused_with_the_user_and_what_would_fit() -> None:
    message = (
        r"n - 1 = 19 untouched items, got 17 for user 1, who touched 4 of 21 items \(1 users are short\)\. .* most 18"
    )
    with pytest.raises(ValueError, match=message):
        drawn([[0, 1], [0, 1, 2, 3]], n_items=21, n=20)
