"""Items drawn without replacement."""

import numpy as np
import pytest

from contracts.distinct import ABSENT, Items, draw_by_weight, draw_distinct, is_repeat
from contracts.draws import below, hashes, uniforms

N_ITEMS = 30


def numbers(rows: Items, start: int, stop: int, limit: int) -> Items:
    return below(limit, hashes(0, "numbers", rows[:, None], np.arange(start, stop)))


def chances(row: int, items: Items) -> np.ndarray:
    return uniforms(0, "chances", row, items)


def propose(rows: Items, start: int, stop: int) -> Items:
    return numbers(rows, start, stop, N_ITEMS)


def by_weight(weights: np.ndarray, excluded: np.ndarray, n: int, *, proposals: int, block: int | None = None) -> Items:
    return draw_by_weight(
        weights,
        len(excluded),
        n,
        numbers,
        chances,
        lambda rows, items: excluded[rows[:, None], items],
        proposals=proposals,
        block=block,
    )


@pytest.mark.parametrize("block", [1, 3, 7, 40, None])
def test_the_size_of_a_block_changes_nothing(block: int | None) -> None:
    excluded = np.random.default_rng(0).random((50, N_ITEMS)) < 0.6
    weights = np.arange(N_ITEMS)
    whole = by_weight(weights, excluded, 8, proposals=40)
    assert (by_weight(weights, excluded, 8, proposals=40, block=block) == whole).all()


def test_what_is_drawn_is_distinct_allowed_and_as_many_as_there_are() -> None:
    excluded = np.random.default_rng(1).random((50, N_ITEMS)) < 0.6
    weights = np.arange(N_ITEMS)
    drawn = by_weight(weights, excluded, 15, proposals=4)
    for row, items in enumerate(drawn):
        found = items[items != ABSENT]
        allowed = np.flatnonzero(~excluded[row] & (weights > 0))
        assert len(set(found)) == len(found) == min(15, len(allowed))
        assert set(found) <= set(allowed)
        assert (items[len(found) :] == ABSENT).all()


def test_rest_is_asked_for_rows_that_are_short_alone_and_told_what_they_have() -> None:
    asked: dict[int, list[int]] = {}

    def rest(row: int, have: Items) -> Items:
        asked[row] = have.tolist()
        return np.array([20, 21, 22])

    def two_items(rows: Items, start: int, stop: int) -> Items:
        return np.where(rows[:, None] == 0, 5, np.arange(start, stop))

    drawn = draw_distinct(2, 3, two_items, lambda rows, items: items == 0, rest, proposals=6)
    assert drawn.tolist() == [[5, 20, 21], [1, 2, 3]]
    assert asked == {0: [5]}


def test_both_ways_of_drawing_follow_the_weights() -> None:
    """The first item of each row, drawn by proposals or by exponential times, is in proportion to the weights."""
    weights = np.array([1, 2, 3, 4])
    proposed = by_weight(weights, np.zeros((4000, 4), dtype=bool), 1, proposals=50)[:, 0]
    with_giant = np.append(weights, 10**8)  # it is excluded, and holds so much that no proposal is ever taken
    excluded = np.tile(np.arange(5) == 4, (4000, 1))
    timed = by_weight(with_giant, excluded, 1, proposals=1)[:, 0]
    for first in (proposed, timed):
        shares = np.bincount(first, minlength=4) / len(first)
        assert np.abs(shares - weights / 10).max() < 4 * np.sqrt(0.25 / 4000)


@pytest.mark.parametrize("weights", [np.zeros(N_ITEMS, dtype=np.int64), np.zeros(0, dtype=np.int64)])
def test_without_weight_nothing_is_drawn(weights: np.ndarray) -> None:
    assert (by_weight(weights, np.zeros((3, len(weights)), dtype=bool), 2, proposals=5) == ABSENT).all()


def test_repeats_are_found_per_row() -> None:
    table = np.array([[1, 2, 1], [2, 2, 2]])
    assert is_repeat(table).tolist() == [[False, False, True], [False, True, True]]
