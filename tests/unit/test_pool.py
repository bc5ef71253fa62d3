"""Mined negatives: never touched in train, ranked exactly, drawn by the row alone."""

import numpy as np
import pytest

from training.config import Pool
from training.negatives.pool import ABSENT, draw_uniform, mine_pool

N_ITEMS = 25


@pytest.fixture
def scores() -> np.ndarray:
    return -np.random.default_rng(0).random((40, N_ITEMS)).astype(np.float32)


@pytest.fixture
def is_touched() -> np.ndarray:
    return np.random.default_rng(1).random((40, N_ITEMS)) < 0.3


def test_ranks_and_hardest_agree_with_sorting_one_row_at_a_time(scores: np.ndarray, is_touched: np.ndarray) -> None:
    mined = mine_pool(scores, is_touched, np.arange(40), Pool(hard=4, uniform=3), seed=0)
    for row in range(40):
        order = [item for item in np.argsort(-scores[row], kind="stable") if not is_touched[row, item]]
        assert mined.items[row, :4].tolist() == order[:4]
        assert mined.rank[row].tolist() == [order.index(item) + 1 for item in mined.items[row]]


def test_no_negative_was_touched_in_train_and_none_occurs_twice(scores: np.ndarray, is_touched: np.ndarray) -> None:
    mined = mine_pool(scores, is_touched, np.arange(40), Pool(hard=5, uniform=5), seed=0)
    for row in range(40):
        assert not is_touched[row, mined.items[row]].any()
        assert len(set(mined.items[row].tolist())) == 10


def test_a_short_catalogue_gives_what_there_is() -> None:
    is_touched = np.zeros((1, 6), dtype=bool)
    is_touched[0, :3] = True
    mined = mine_pool(-np.arange(6, dtype=np.float32)[None], is_touched, np.array([7]), Pool(hard=2, uniform=4), seed=0)
    assert mined.items[0].tolist() == [3, 4, 5, ABSENT, ABSENT, ABSENT]
    everything = mine_pool(
        np.zeros((1, 3), dtype=np.float32), np.ones((1, 3), dtype=bool), np.array([7]), Pool(), seed=0
    )
    assert (everything.items == ABSENT).all()


def test_draws_depend_on_the_row_and_the_seed_alone() -> None:
    is_excluded = np.random.default_rng(2).random((30, 200)) < 0.1
    row_id = np.arange(100, 130)
    drawn = draw_uniform(is_excluded, row_id, 12, seed=0)
    order = np.random.default_rng(3).permutation(30)[:9]
    assert np.array_equal(draw_uniform(is_excluded[order], row_id[order], 12, seed=0), drawn[order])
    assert not np.array_equal(draw_uniform(is_excluded, row_id, 12, seed=1), drawn)
    assert not np.array_equal(draw_uniform(is_excluded, row_id + 1, 12, seed=0), drawn)


def test_every_item_left_is_drawn_equally_often() -> None:
    rows, n_items, n = 20_000, 12, 3
    is_excluded = np.zeros((rows, n_items), dtype=bool)
    is_excluded[:, [0, 5]] = True
    drawn = draw_uniform(is_excluded, np.arange(rows), n, seed=0)
    counts = np.bincount(drawn.ravel(), minlength=n_items)
    expected = rows * n / 10
    assert counts[[0, 5]].tolist() == [0, 0]
    left = np.delete(counts, [0, 5])
    assert (np.abs(left - expected) < 5 * np.sqrt(expected)).all()


def test_rows_that_rejection_leaves_short_are_filled_from_what_is_left() -> None:
    is_excluded = np.ones((50, 3000), dtype=bool)
    is_excluded[:, 100:105] = False  # rejection hits one draw in 600
    drawn = draw_uniform(is_excluded, np.arange(50), 5, seed=0)
    assert (np.sort(drawn, axis=1) == np.arange(100, 105)).all()
    assert len({tuple(row) for row in drawn.tolist()}) > 20
