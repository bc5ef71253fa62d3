"""Ranks made of scores: best first, ties by item id, and the target after every item that it ties with.

A score and its item become one whole number, a key; keys ascend from the best item to the worst. No two items of a row
share a key, so no sort is unstable, a chunk or a shard ranks as the whole does, and ties are misses for the target.
The three metrics of a rank that validation during training shares with evaluation are here too.
Dimension key: r rows, k ranked items of each.
"""

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]

EXCLUDED = np.uint64(2**64 - 1)
"""The key of an item that is not ranked: larger than all others."""
TARGET = np.uint64(1 << 31)
"""A bit of the lower half that puts a key after those of items with the same score. Item ids are smaller."""
_SIGN = np.uint32(1 << 31)
_LOWER = np.uint64(32)


def ranking_keys(scores: NDArray[np.floating], item_id: NDArray[np.integer] | None = None) -> Keys:
    """Keys in the order of falling score, as float32, ties by item id; the lower half of each is the item id.

    Args:
        scores: [r k], finite.
        item_id: [r k] or [1 k]; the number of the column, when absent.

    >>> keys = np.sort(ranking_keys(np.array([[-2.0, -1.0, -2.0]])))
    >>> items_of(keys)
    array([[1, 0, 2]], dtype=int32)
    """
    items = np.arange(scores.shape[1]) if item_id is None else item_id
    bits = (np.ascontiguousarray(scores, dtype=np.float32) + np.float32(0.0)).view(np.uint32)  # + 0: -0.0 ties with 0.0
    falling = np.where(bits >> np.uint32(31) != 0, bits, ~(bits | _SIGN))
    return (falling.astype(np.uint64) << _LOWER) | items.astype(np.uint64)


def ranks_of(keys: Keys, of_target: Keys) -> NDArray[np.int64]:
    """The rank of each row's target, 1 = best. Shapes [r k], [r] → [r]."""
    return 1 + (keys < of_target[:, None]).sum(axis=1)


def best_first(keys: Keys, k: int) -> Keys:
    """The keys of the first k items of each row, in order; all where there are fewer. Shape [r i] → [r min(k, i)]."""
    return np.sort(keys if k >= keys.shape[1] else np.partition(keys, k, axis=1)[:, :k], axis=1)


def items_of(keys: Keys) -> NDArray[np.int32]:
    """The items of keys, marked as target or not. Those of EXCLUDED have no meaning."""
    return (keys & np.uint64(2**31 - 1)).astype(np.int32)


def scores_of(keys: Keys) -> NDArray[np.float32]:
    """The scores of keys, as float32.

    >>> scores_of(ranking_keys(np.array([[1.5, -0.25]])))
    array([[ 1.5 , -0.25]], dtype=float32)
    """
    falling = (keys >> _LOWER).astype(np.uint32)
    return np.where(falling >> np.uint32(31) != 0, falling, ~falling & ~_SIGN).view(np.float32)


def hit_ratio_at_k(rank: NDArray[np.integer], k: int) -> NDArray[np.float64]:
    """1 where the target is among the first k, else 0. Shape [r] → [r].

    >>> hit_ratio_at_k(np.array([1, 2, 3]), k=2).tolist()
    [1.0, 1.0, 0.0]
    """
    return (rank <= k).astype(np.float64)


def ndcg_at_k(rank: NDArray[np.integer], k: int) -> NDArray[np.float64]:
    """Discounted gain 1 / log2(1 + rank) within the first k; with one target the ideal gain is 1. Shape [r] → [r].

    >>> ndcg_at_k(np.array([1, 3, 4]), k=3).tolist()
    [1.0, 0.5, 0.0]
    """
    return np.where(rank <= k, 1.0 / np.log2(1.0 + rank), 0.0)


def mrr(rank: NDArray[np.integer]) -> NDArray[np.float64]:
    """Reciprocal rank 1 / rank, without a cut-off. Shape [r] → [r].

    >>> mrr(np.array([1, 4])).tolist()
    [1.0, 0.25]
    """
    return 1.0 / rank
