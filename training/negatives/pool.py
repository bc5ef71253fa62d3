"""The pool of negatives of each row: the items the policy ranks highest, and items drawn uniformly from the rest.

Never an item the user touched in train; held-out items are neither forced in nor kept out. Dimensions: r rows, i items,
n draws.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from training.config import Pool
from training.draws import random_bits
from training.scoring import EXCLUDED, ranking_keys

ABSENT = -1
"""Stands where a row has fewer items left than were asked for."""


@dataclass(frozen=True)
class Mined:
    """The pool of some rows: hardest first, by rank; then the uniform ones, in the order they were drawn."""

    items: Int[np.ndarray, "r n"]
    """Item ids, or ABSENT."""
    rank: Int[np.ndarray, "r n"]
    """1 = most likely among the items that the row's user did not touch in train; ties by item id."""
    n_hardest: int
    """Columns that hold the hardest; the others hold the uniform ones."""


def mine_pool(
    logps: Float[np.ndarray, "r i"],
    is_touched: Bool[np.ndarray, "r i"],
    row_id: Int[np.ndarray, " r"],
    pool: Pool,
    seed: int,
) -> Mined:
    """The pool of each row; of an exhausted catalogue, what there is."""
    n_rows, n_items = logps.shape
    keys = ranking_keys(logps)
    keys[is_touched] = EXCLUDED
    keys.sort(axis=1)
    n_eligible = n_items - is_touched.sum(axis=1)
    in_order = np.where(keys == EXCLUDED, np.uint64(n_items), keys & np.uint64(0xFFFFFFFF)).astype(np.int64)
    rank = np.zeros((n_rows, n_items + 1), dtype=np.int32)
    np.put_along_axis(rank, in_order, np.arange(1, n_items + 1, dtype=np.int32)[None], axis=1)
    n_hardest = min(pool.hard, n_items)
    hardest = np.where(np.arange(n_hardest) < n_eligible[:, None], in_order[:, :n_hardest], ABSENT)
    is_taken = np.concatenate(
        [is_touched, np.ones((n_rows, 1), dtype=bool)], axis=1
    )  # ABSENT writes to the last column
    np.put_along_axis(is_taken, hardest, True, axis=1)
    items = np.concatenate([hardest, draw_uniform(is_taken[:, :-1], row_id, min(pool.uniform, n_items), seed)], axis=1)
    return Mined(items, np.take_along_axis(rank, np.where(items == ABSENT, n_items, items), axis=1), n_hardest)


def sample_of(
    is_touched: Bool[np.ndarray, "r i"], row_id: Int[np.ndarray, " r"], n: int, seed: int
) -> Int[np.ndarray, "r n"]:
    """The items of each row that are scored where the whole catalogue is not; ABSENT where it has fewer."""
    return draw_uniform(is_touched, row_id, min(n, is_touched.shape[1]), seed)


def mine_sample(
    sample: Int[np.ndarray, "r s"], logps: Float[np.ndarray, "r s"], target: Int[np.ndarray, " r"], pool: Pool
) -> tuple[Mined, Float[np.ndarray, "r n"]]:
    """The pool of each row out of a sample, and its log-probabilities.

    Args:
        sample: distinct items in the order they were drawn; the row's target where there are no more.
        logps: their log-probabilities.
        target: of each row.
        pool: how many to keep: the best of the sample, then the first drawn of the others.

    Returns:
        The pool, with ranks within the sample, and the log-probability of each of its items.
    """
    is_absent = sample == target[:, None]
    scores = np.where(is_absent, -np.inf, logps)
    by_score = np.lexsort((sample, -scores), axis=1)
    rank = np.empty(sample.shape, dtype=np.int32)
    np.put_along_axis(rank, by_score, np.arange(1, sample.shape[1] + 1, dtype=np.int32)[None], axis=1)
    n_hardest = min(pool.hard, sample.shape[1])
    is_rest = (rank > n_hardest) & ~is_absent
    by_draw = np.argsort(~is_rest, axis=1, kind="stable")[:, : pool.uniform]
    place = np.concatenate([by_score[:, :n_hardest], by_draw], axis=1)
    is_kept = np.concatenate(
        [
            ~np.take_along_axis(is_absent, by_score[:, :n_hardest], axis=1),
            np.take_along_axis(is_rest, by_draw, axis=1),
        ],
        axis=1,
    )
    items = np.where(is_kept, np.take_along_axis(sample, place, axis=1), ABSENT)
    return Mined(items, np.take_along_axis(rank, place, axis=1), n_hardest), np.take_along_axis(logps, place, axis=1)


def draw_uniform(
    is_excluded: Bool[np.ndarray, "r i"], row_id: Int[np.ndarray, " r"], n: int, seed: int
) -> Int[np.ndarray, "r n"]:
    """Distinct items drawn uniformly from those not excluded; ABSENT where a row has fewer.

    Draw j of a row is a hash of (seed, row id, j); excluded and repeated items are rejected. The few rows left short by
    that order their remaining items by a hash of (seed, row id, item).
    """
    n_rows, n_items = is_excluded.shape
    if n == 0 or n_rows == 0:
        return np.full((n_rows, n), ABSENT)
    draws = np.arange(2 * n + 16)
    drawn = (random_bits(seed, "uniform negatives", row_id[:, None], draws) % np.uint64(n_items)).astype(np.int64)
    is_fresh = ~np.take_along_axis(is_excluded, drawn, axis=1) & ~_is_repeat(drawn)
    place = np.where(is_fresh, np.cumsum(is_fresh, axis=1) - 1, n)
    chosen = np.full((n_rows, len(draws) + 1), ABSENT)
    np.put_along_axis(chosen, np.minimum(place, n), drawn, axis=1)
    chosen = chosen[:, :n].copy()
    for row in np.flatnonzero((chosen == ABSENT).any(axis=1)):
        have = chosen[row][chosen[row] != ABSENT]
        left = np.setdiff1d(np.flatnonzero(~is_excluded[row]), have, assume_unique=True)
        bits = random_bits(seed, "uniform negatives, rest", row_id[row, None], left)
        more = left[np.argsort(bits, kind="stable")][: n - len(have)]
        chosen[row, : len(have) + len(more)] = np.concatenate([have, more])
    return chosen


def _is_repeat(drawn: Int[np.ndarray, "r n"]) -> Bool[np.ndarray, "r n"]:
    """True where the same item stands further left."""
    order = np.argsort(drawn, axis=1, kind="stable")
    in_order = np.take_along_axis(drawn, order, axis=1)
    repeats = np.zeros(drawn.shape, dtype=bool)
    np.put_along_axis(repeats, order[:, 1:], in_order[:, 1:] == in_order[:, :-1], axis=1)
    return repeats
