"""The pool of negatives of each row: the items the policy ranks highest, and items that are drawn.

Never an item the user touched in train; held-out items are neither forced in nor kept out. Dimensions: r rows, i items,
s sampled items, n negatives, m of them drawn in the batch or by popularity.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from contracts.config import Pool
from contracts.distinct import ABSENT
from contracts.ranks import EXCLUDED, ranking_keys
from contracts.words import MINERS
from training.negatives.drawn import draw_uniform


@dataclass(frozen=True)
class Mined:
    """The pool of some rows, miner by miner: the hardest by rank, the others in the order they were drawn.

    No miner holds an item twice. Uniform negatives are drawn from what is not among the hardest; in-batch and popular
    ones are what their rule draws, whatever else holds the item.
    """

    items: Int[np.ndarray, "r n"]
    """Item ids, or ABSENT, which follows all that its miner found."""
    rank: Int[np.ndarray, "r n"]
    """1 = most likely among the items that the row's user did not touch in train; ties by item id."""
    widths: tuple[int, int, int, int]
    """Columns of each of MINERS."""

    @property
    def miner(self) -> Int[np.ndarray, " n"]:
        """Of each column, as an index into MINERS."""
        return np.repeat(np.arange(len(MINERS), dtype=np.int8), self.widths)

    @property
    def place(self) -> Int[np.ndarray, " n"]:
        """Of each column among those of its miner, from 1."""
        return np.concatenate([np.arange(1, width + 1, dtype=np.int32) for width in self.widths])


def mine_pool(
    logps: Float[np.ndarray, "r i"],
    is_touched: Bool[np.ndarray, "r i"],
    row_id: Int[np.ndarray, " r"],
    pool: Pool,
    seed: int,
    drawn: Int[np.ndarray, "r m"] | None = None,
) -> Mined:
    """The pool of each row; of an exhausted catalogue, what there is.

    Args:
        logps: of the whole catalogue.
        is_touched: in train, or the row's target.
        row_id: of each row.
        pool: how many to keep.
        seed: of the uniform draws.
        drawn: what `BlindMiners` drew for this pool; none, when it asks for nothing of theirs.
    """
    n_rows, n_items = logps.shape
    drawn = np.full((n_rows, 0), ABSENT) if drawn is None else drawn
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
    uniform = draw_uniform(is_taken[:, :-1], row_id, min(pool.uniform, n_items), seed)
    items = np.concatenate([hardest, drawn, uniform], axis=1)
    ranks = np.take_along_axis(rank, np.where(items == ABSENT, n_items, items), axis=1)
    return Mined(items, ranks, _widths(pool, n_items, n_hardest, uniform.shape[1]))


def sample_of(
    is_touched: Bool[np.ndarray, "r i"], row_id: Int[np.ndarray, " r"], n: int, seed: int
) -> Int[np.ndarray, "r n"]:
    """The items of each row that are scored where the whole catalogue is not; ABSENT where it has fewer."""
    return draw_uniform(is_touched, row_id, min(n, is_touched.shape[1]), seed)


def mine_sample(
    items: Int[np.ndarray, "r s+m"],
    logps: Float[np.ndarray, "r s+m"],
    target: Int[np.ndarray, " r"],
    pool: Pool,
    n_items: int,
) -> tuple[Mined, Float[np.ndarray, "r n"]]:
    """The pool of each row out of a sample, and its log-probabilities.

    Args:
        items: a sample of distinct items in the order they were drawn, then what `BlindMiners` drew; the row's target
            where there are no more.
        logps: their log-probabilities.
        target: of each row.
        pool: how many to keep: the best of the sample, then the first drawn of the others.
        n_items: size of the catalogue.

    Returns:
        The pool and the log-probability of each of its items. Ranks are within the sample; that of an item outside it
        is where it would be.
    """
    n_sample = items.shape[1] - min(pool.in_batch, n_items) - min(pool.popularity, n_items)
    is_absent = items == target[:, None]
    scores = np.where(is_absent, -np.inf, logps)
    sample, of_sample, n_hardest = items[:, :n_sample], scores[:, :n_sample], min(pool.hard, n_sample)
    by_score = np.lexsort((sample, -of_sample), axis=1)
    rank = np.empty(items.shape, dtype=np.int32)
    np.put_along_axis(rank[:, :n_sample], by_score, np.arange(1, n_sample + 1, dtype=np.int32)[None], axis=1)
    for column in range(n_sample, items.shape[1]):
        score, item = scores[:, column, None], items[:, column, None]
        is_before = (of_sample > score) | ((of_sample == score) & (sample < item))
        rank[:, column] = 1 + is_before.sum(axis=1)
    is_rest = (rank[:, :n_sample] > n_hardest) & ~is_absent[:, :n_sample]
    by_draw = np.argsort(~is_rest, axis=1, kind="stable")[:, : pool.uniform]
    others = np.broadcast_to(np.arange(n_sample, items.shape[1]), (len(items), items.shape[1] - n_sample))
    place = np.concatenate([by_score[:, :n_hardest], others, by_draw], axis=1)
    is_kept = ~np.take_along_axis(is_absent, place, axis=1)
    is_kept[:, place.shape[1] - by_draw.shape[1] :] &= np.take_along_axis(is_rest, by_draw, axis=1)
    mined = Mined(
        np.where(is_kept, np.take_along_axis(items, place, axis=1), ABSENT),
        np.take_along_axis(rank, place, axis=1),
        _widths(pool, n_items, n_hardest, by_draw.shape[1]),
    )
    return mined, np.take_along_axis(logps, place, axis=1)


def _widths(pool: Pool, n_items: int, n_hardest: int, n_uniform: int) -> tuple[int, int, int, int]:
    return n_hardest, min(pool.in_batch, n_items), min(pool.popularity, n_items), n_uniform
