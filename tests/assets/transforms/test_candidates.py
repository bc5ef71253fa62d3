"""Candidate sets: untouched, drawn as asked, and telling nothing about the target."""

from datetime import UTC, datetime, timedelta
from itertools import combinations
from math import comb
from typing import Literal

import numpy as np
import polars as pl
import pytest

from assets.lake.validate import validate
from assets.transforms.candidates import candidate_parts
from assets.transforms.guarantees.candidates import candidates_were_available
from contracts.config.dataset import Candidates
from contracts.tables import TABLES
from evaluation.schemas import schema_of
from tests.assets.transforms.whole import draw_candidates


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
        schema=schema_of("histories"),
    )
    return histories, interactions


def drawn(
    touched: list[list[int]], n_items: int, n: int, *, seed: int = 0, targets: list[int] | None = None
) -> np.ndarray:
    histories, interactions = tables(touched, targets)
    sets = draw_candidates(histories, interactions, n_items, Candidates(n=n), seed)
    validate(sets, TABLES["candidate_sets"])
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


@pytest.mark.parametrize("n_items", [4, 1])
def test_a_user_who_touched_everything_is_told_that_the_catalogue_is_too_small(n_items: int) -> None:
    with pytest.raises(ValueError, match=r"got 0 for user 0.*The catalogue is too small for any candidate set"):
        drawn([list(range(n_items))], n_items=n_items, n=2)


DRAWS = ("uniform", "popularity", "available")
Draw = Literal["uniform", "popularity", "available"]


def dated(
    trained: list[list[int]], asked: list[list[int]], hours: dict[int, int] | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Interactions of train users, then of users asked about their last item; and the test rows of these.

    A user's k-th interaction is k hours after the start; in `hours`, by item, for the train users.
    """
    start = datetime(2024, 1, 1, tzinfo=UTC)
    rows = [
        (user, item, start + timedelta(hours=(hours or {}).get(item, place)), "train")
        for user, items in enumerate(trained)
        for place, item in enumerate(items)
    ]
    for user, items in enumerate(asked, start=len(trained)):
        times = [start + timedelta(hours=place) for place in range(len(items))]
        rows += [(user, item, at, "test") for item, at in zip(items, times, strict=True)]
    schema = {"user_id": pl.Int32, "item_id": pl.Int32, "at": pl.Datetime("us", "UTC"), "split": pl.String}
    histories, _ = tables(asked)
    shifted = histories.with_columns(pl.col("user_id") + len(trained))
    return shifted.cast({"user_id": pl.Int32}), pl.DataFrame(rows, schema=schema, orient="row")


def successive(weights: dict[int, int], n: int) -> dict[tuple[int, ...], float]:
    """How likely each set of n items is, drawn one after the other in proportion to the weights: the definition."""

    def after(left: dict[int, int], n: int) -> dict[tuple[int, ...], float]:
        if n == 0:
            return {(): 1.0}
        found: dict[tuple[int, ...], float] = {}
        for item, weight in left.items():
            rest = {other: w for other, w in left.items() if other != item}
            for more, chance in after(rest, n - 1).items():
                key = tuple(sorted((item, *more)))
                found[key] = found.get(key, 0.0) + chance * weight / sum(left.values())
        return found

    return after(weights, n)


@pytest.mark.parametrize("heavy", [0, 5_000])
def test_sets_by_popularity_are_as_likely_as_successive_draws(heavy: int) -> None:
    """Also where the user touched so much of the weight (5,000 of 5,015) that proposals are nearly all rejected."""
    weights = {0: 1, 1: 2, 2: 3, 3: 4, 4: 5}
    trained = [[item] for item, weight in weights.items() for _ in range(weight)] + [[6]] * heavy
    users = 20_000 if not heavy else 4_000
    histories, interactions = dated(trained, [[6, 7]] * users)
    sets = draw_candidates(histories, interactions, 9, Candidates(n=4, draw="popularity"), 0)
    seen: dict[tuple[int, ...], int] = {}
    for row in sets["candidates"].to_list():
        key = tuple(sorted(set(row) - {7}))
        seen[key] = seen.get(key, 0) + 1
    expected = {key: chance * users for key, chance in successive(weights, 3).items()}
    assert set(seen) <= set(expected)  # never item 8, which nobody touched in train
    chi_square = sum((seen.get(key, 0) - count) ** 2 / count for key, count in expected.items())
    assert len(expected) == comb(5, 3)
    assert chi_square < 27.9  # 99.9 % point of chi-square with 9 degrees of freedom


def test_by_popularity_counts_train_alone() -> None:
    # Item 5 is in everybody's test split and in nobody's train split.
    histories, interactions = dated([[0], [1], [2]], [[5, 7]] * 50 + [[6, 7]])
    sets = draw_candidates(histories, interactions, 9, Candidates(n=4, draw="popularity"), 0)
    assert set(sets["candidates"][-1].to_list()) == {0, 1, 2, 7}


def test_what_the_log_had_not_shown_by_the_time_of_the_target_is_not_drawn() -> None:
    hours = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4}
    histories, interactions = dated([[0, 1, 2, 3, 4]], [[7, 8], [7, 6, 9, 5]], hours)
    sets = draw_candidates(histories, interactions, 11, Candidates(n=3, draw="available"), 0)
    # User 1 is asked at hour 1: 0, 1 and 6 were known. User 2 at hour 3, when 4 and 10 were not.
    assert set(sets["candidates"][0].to_list()) <= {0, 1, 6, 8}
    assert set(sets["candidates"][1].to_list()) <= {0, 1, 2, 3, 5, 8}
    assert candidates_were_available(histories, sets, interactions).passed


def test_every_set_of_available_items_is_equally_likely() -> None:
    hours = {item: item for item in range(8)}
    histories, interactions = dated([list(range(8))], [[9, 2, 9, 9, 9, 10]] * 10_000, hours)  # asked at hour 5
    sets = draw_candidates(histories, interactions, 12, Candidates(n=3, draw="available"), 0)
    seen = [tuple(sorted(set(row) - {10})) for row in sets["candidates"].to_list()]
    counts = [seen.count(pair) for pair in combinations((0, 1, 3, 4, 5), 2)]
    assert sum(counts) == 10_000
    assert sum((count - 1000) ** 2 / 1000 for count in counts) < 27.9  # 9 degrees of freedom


@pytest.mark.parametrize(("planted", "violations"), [(4, 1), (11, 1), (0, 0)])
def test_a_planted_item_from_the_future_is_found(planted: int, violations: int) -> None:
    hours = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4}
    histories, interactions = dated([[0, 1, 2, 3, 4]], [[7, 8]], hours)
    sets = pl.DataFrame({"row_id": [0], "candidates": [[8, planted]]}, schema=schema_of("candidate_sets"))
    finding = candidates_were_available(histories, sets, interactions)
    assert finding.violations == violations
    assert finding.passed or f"item_id={planted}" in finding.message


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("rows", [1, 7, 50])
def test_neither_the_order_of_rows_nor_the_size_of_the_parts_changes_a_set(draw: Draw, rows: int) -> None:
    histories, interactions = dated(
        [[item % 40, (item * 7) % 40] for item in range(60)], [[u % 9, 10 + u % 5, 20 + u % 7] for u in range(60)]
    )
    asked = Candidates(n=5, draw=draw)
    whole = draw_candidates(histories, interactions, 40, asked, 3)
    validate(whole, TABLES["candidate_sets"])
    shuffled = histories.sample(fraction=1.0, shuffle=True, seed=1).lazy()
    parts = list(candidate_parts(shuffled, interactions.lazy(), 40, asked, 3, rows=rows))
    assert len(parts) == -(-60 // rows)
    assert pl.concat(parts).equals(whole)
    mixed = interactions.sample(fraction=1.0, shuffle=True, seed=2)
    assert draw_candidates(histories, mixed, 40, asked, 3).equals(whole)


@pytest.mark.parametrize("draw", DRAWS)
def test_no_draw_depends_on_which_touched_item_is_the_target(draw: Draw) -> None:
    histories, interactions = dated([[item] for item in range(30)], [[30, 31, 32]] * 40)
    # All at one time, so that another target is not another time.
    interactions = interactions.with_columns(at=pl.lit(interactions["at"].max()))
    asked = Candidates(n=6, draw=draw)
    one = np.array(draw_candidates(histories, interactions, 40, asked, 0)["candidates"].to_list())
    replaced = histories.with_columns(target=pl.lit(30, pl.Int32))
    other = np.array(draw_candidates(replaced, interactions, 40, asked, 0)["candidates"].to_list())
    assert (one[one != 32] == other[other != 30]).all()
    assert ((one == 32) == (other == 30)).all()


@pytest.mark.parametrize(
    ("draw", "n", "said"),
    [
        ("popularity", 5, r"4 untouched items with a train interaction, got 3 .* at most 4, or bring"),
        ("available", 6, r"shown by the time of the target, got 3 .* at most 4, or bring"),
    ],
)
def test_too_few_items_for_a_draw_are_refused_with_what_would_fit(draw: Draw, n: int, said: str) -> None:
    histories, interactions = dated([[0], [1], [2]], [[7, 8]])
    with pytest.raises(ValueError, match=said):
        draw_candidates(histories, interactions, 20, Candidates(n=n, draw=draw), 0)


def test_when_nothing_was_available_another_draw_is_named() -> None:
    histories, interactions = dated([], [[7, 8]])
    with pytest.raises(ValueError, match=r"got 0 for user 0.*set candidates\.draw to uniform"):
        draw_candidates(histories, interactions, 20, Candidates(n=2, draw="available"), 0)


def test_what_was_available_is_not_asked_of_a_log_without_times() -> None:
    histories, interactions = dated([[0, 1, 2]], [[7, 8]])
    undated = interactions.with_columns(at=pl.lit(None, pl.Datetime("us", "UTC")))
    with pytest.raises(ValueError, match=r"available must have a log with times.*uniform or popularity"):
        draw_candidates(histories, undated, 20, Candidates(n=2, draw="available"), 0)
