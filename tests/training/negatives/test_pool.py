"""Mined negatives: never touched in train, ranked exactly, drawn by the row alone."""

import numpy as np
import pytest

from contracts.config import Pool
from contracts.distinct import ABSENT
from contracts.words import MINERS
from training.negatives.drawn import Batches, draw_by_popularity, draw_in_batch, draw_uniform
from training.negatives.pool import mine_pool, mine_sample

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


POPULARITY = np.array([400, 0, 100, 50, 25, 10, 5, 1])


def law_of_two(weights: np.ndarray) -> np.ndarray:
    """Probability that each item is among two drawn one after the other in proportion to their weights."""
    p = weights / weights.sum()
    second = np.array(
        [sum(p[j] * p[i] / (1 - p[j]) for j in range(len(p)) if j != i and p[j] < 1) for i in range(len(p))]
    )
    return p + second


@pytest.mark.parametrize("excluded", [[], [0], [0, 2, 3]])
def test_popular_items_are_drawn_in_proportion_to_their_popularity_among_those_left(excluded: list[int]) -> None:
    rows = 20_000
    is_excluded = np.zeros((rows, 8), dtype=bool)
    is_excluded[:, excluded] = True
    drawn = draw_by_popularity(is_excluded, np.arange(rows), 2, 0, POPULARITY)
    weights = POPULARITY.astype(float)
    weights[excluded] = 0
    for found, wanted in (
        (np.bincount(drawn[:, 0], minlength=8), weights / weights.sum()),
        (np.bincount(drawn.ravel(), minlength=8), law_of_two(weights)),
    ):
        assert (np.abs(found - rows * wanted) < 5 * np.sqrt(rows * wanted + 1)).all()


def test_rows_that_popular_proposals_leave_short_are_filled_by_the_same_law() -> None:
    rows = 20_000
    popularity = np.array([10**9, 4, 3, 2, 1])  # nearly every proposal is the first item, which is excluded
    is_excluded = np.zeros((rows, 5), dtype=bool)
    is_excluded[:, 0] = True
    drawn = draw_by_popularity(is_excluded, np.arange(rows), 2, 0, popularity)
    wanted = rows * law_of_two(np.array([0.0, 4, 3, 2, 1]))
    assert (np.abs(np.bincount(drawn.ravel(), minlength=5) - wanted) < 5 * np.sqrt(wanted + 1)).all()


def test_an_item_without_interactions_is_never_popular() -> None:
    drawn = draw_by_popularity(np.zeros((50, 8), dtype=bool), np.arange(50), 8, 0, POPULARITY)
    assert (drawn[:, 7] == ABSENT).all()
    assert not (drawn[:, :7] == ABSENT).any()
    assert not (drawn == 1).any()
    assert (
        draw_by_popularity(np.zeros((2, 3), dtype=bool), np.arange(2), 2, 0, np.zeros(3, dtype=int)) == ABSENT
    ).all()


def batched(n_rows: int, n_items: int, size: int) -> tuple[np.ndarray, np.ndarray, Batches]:
    row_id = np.arange(n_rows) * 3 + 5
    target = np.random.default_rng(0).integers(0, n_items, n_rows)
    return row_id, target, Batches.of(row_id, target, size, seed=0)


def own_target(target: np.ndarray, n_items: int) -> np.ndarray:
    return np.arange(n_items) == target[:, None]


def test_batches_hold_every_row_once_and_are_of_one_size() -> None:
    row_id, target, batches = batched(1000, 40, 64)
    assert np.array_equal(np.sort(batches.row_id), row_id)
    assert set(np.diff(batches.starts).tolist()) == {62, 63}  # sixteen of them
    assert dict(zip(batches.row_id, batches.target, strict=True)) == dict(zip(row_id, target, strict=True))


def test_in_batch_negatives_are_targets_of_other_rows_of_the_batch() -> None:
    row_id, target, batches = batched(300, 40, 16)
    drawn = draw_in_batch(own_target(target, 40), row_id, 6, 0, batches)
    start, size = batches.spans(row_id)
    for row in range(300):
        members = slice(start[row], start[row] + size[row])
        others = set(batches.target[members][batches.row_id[members] != row_id[row]].tolist())
        found = [item for item in drawn[row].tolist() if item != ABSENT]
        assert row_id[row] in batches.row_id[members]
        assert set(found) <= others - {int(target[row])}
        assert len(set(found)) == len(found) == min(6, len(others - {int(target[row])}))


def test_an_in_batch_negative_comes_as_often_as_it_is_a_target() -> None:
    n_rows, rows = 4000, np.random.default_rng(1)
    target = rows.choice(4, n_rows, p=[0.5, 0.3, 0.15, 0.05])
    row_id = np.arange(n_rows)
    drawn = draw_in_batch(own_target(target, 4), row_id, 1, 0, Batches.of(row_id, target, n_rows, 0))[:, 0]
    of_third = drawn[target == 2]
    share = np.bincount(target, minlength=4)[[0, 1, 3]] / (target != 2).sum()
    found = np.bincount(of_third, minlength=4)[[0, 1, 3]]
    assert (np.abs(found - len(of_third) * share) < 5 * np.sqrt(len(of_third) * share)).all()


def test_a_row_alone_in_its_batch_has_no_in_batch_negative() -> None:
    row_id, target = np.array([4, 9]), np.array([1, 1])
    drawn = draw_in_batch(own_target(target, 3), row_id, 2, 0, Batches.of(row_id, target, 2, 0))
    assert (drawn == ABSENT).all()


def test_a_pool_of_all_miners_ranks_each_item_and_repeats_none_within_a_miner(
    scores: np.ndarray, is_touched: np.ndarray
) -> None:
    pool, row_id = Pool(hard=4, in_batch=3, popularity=5, uniform=2), np.arange(40)
    drawn = np.concatenate(
        [
            draw_in_batch(is_touched, row_id, 3, 0, Batches.of(row_id, row_id % N_ITEMS, 10, 0)),
            draw_by_popularity(is_touched, row_id, 5, 0, np.arange(1, N_ITEMS + 1)),
        ],
        axis=1,
    )
    mined = mine_pool(scores, is_touched, row_id, pool, 0, drawn)
    plain = mine_pool(scores, is_touched, row_id, Pool(hard=4, uniform=2), 0)
    miner = np.array(MINERS)[mined.miner]
    assert miner.tolist() == ["hardest"] * 4 + ["in_batch"] * 3 + ["popularity"] * 5 + ["uniform"] * 2
    assert mined.place.tolist() == [1, 2, 3, 4, 1, 2, 3, 1, 2, 3, 4, 5, 1, 2]
    assert np.array_equal(mined.items[:, [0, 1, 2, 3, 12, 13]], plain.items)
    for row in range(40):
        order = [item for item in np.argsort(-scores[row], kind="stable") if not is_touched[row, item]]
        for item, rank in zip(mined.items[row], mined.rank[row], strict=True):
            assert item == ABSENT or order[rank - 1] == item


def test_of_a_sample_that_is_the_whole_catalogue_the_pool_is_that_of_the_catalogue(
    scores: np.ndarray, is_touched: np.ndarray
) -> None:
    pool, row_id, target = Pool(hard=4, popularity=5, uniform=0), np.arange(40), np.full(40, 24)
    is_touched[:, 24] = True
    drawn = draw_by_popularity(is_touched, row_id, 5, 0, np.arange(1, N_ITEMS + 1))
    sample = draw_uniform(is_touched, row_id, N_ITEMS, 0)
    items = np.concatenate([sample, drawn], axis=1)
    items = np.where(items == ABSENT, target[:, None], items)
    mined, logps = mine_sample(items, np.take_along_axis(scores, items, axis=1), target, pool, N_ITEMS)
    whole = mine_pool(scores, is_touched, row_id, pool, 0, drawn)
    assert np.array_equal(mined.items, whole.items)
    assert np.array_equal(mined.rank[mined.items != ABSENT], whole.rank[whole.items != ABSENT])
    assert np.array_equal(
        logps[mined.items != ABSENT], np.take_along_axis(scores, whole.items, axis=1)[whole.items != ABSENT]
    )
