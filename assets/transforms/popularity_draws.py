"""Items drawn one after the other, each in proportion to its weight among those that are left.

Dimension key: `b` rows, `n` draws, `m` items.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from assets.transforms.randomness import below, hashes, uniforms

Ints = NDArray[np.int64]

_BLOCK = 32
_PROPOSALS = 512
"""Proposals to a row before its remaining items are drawn exactly from what is left of the catalogue."""


def draw_by_popularity(
    weights: Ints, is_touched: Callable[[Ints, Ints], NDArray[np.bool_]], n: int, seed: int, stream: str, *keys: Ints
) -> NDArray[np.int32]:
    """For each row, `n` distinct untouched items, in the order they were drawn; shape [b, n].

    Items are proposed in proportion to their weight, again and again, and the first n that are neither touched nor
    drawn before are taken. A proposal that is taken is then in proportion to the weights of what was left: rejection
    changes how many proposals it takes, not what is drawn. Rows whose users touched nearly all of the weight would
    reject for ever; after a fixed number of proposals what they still lack is drawn by the smallest of independent
    exponential times with the weights as rates (Efraimidis and Spirakis 2006, https://doi.org/10.1016/j.ipl.2005.11.003),
    which is the same law. Proposal d of a row is a hash of (seed, stream, keys, d), so no row depends on another.

    Args:
        weights: m; at least n untouched items of each row must have a positive one. Their sum is below 2^31.
        is_touched: rows [k], items [k, c] → [k, c].
        n: items to draw for each row.
        seed: of the hashes.
        stream: of the hashes.
        keys: each [b]; together they name the row.
    """
    b = len(keys[0])
    drawn = np.full((b, n), -1, dtype=np.int32)
    n_drawn = np.zeros(b, dtype=np.int64)
    cumulative = np.cumsum(weights)
    open_rows = np.arange(b)
    for start in range(0, _PROPOSALS, _BLOCK):
        of_rows = (key[open_rows, None] for key in keys)
        bits = hashes(seed, stream, *of_rows, np.arange(start, start + _BLOCK))
        proposed = np.searchsorted(cumulative, below(cumulative[-1], bits), side="right")
        may_be = ~is_touched(open_rows, proposed)
        for items, is_free in zip(proposed.T, may_be.T, strict=True):
            is_taken = is_free & (n_drawn[open_rows] < n) & (drawn[open_rows] != items[:, None]).all(axis=1)
            rows = open_rows[is_taken]
            drawn[rows, n_drawn[rows]] = items[is_taken]
            n_drawn[rows] += 1
        open_rows = open_rows[n_drawn[open_rows] < n]
        if not len(open_rows):
            return drawn
    every = np.arange(len(weights))
    for row in open_rows:
        is_left = (weights > 0) & ~is_touched(np.array([row]), every[None, :])[0]
        is_left[drawn[row, : n_drawn[row]]] = False
        left = every[is_left]
        chance = uniforms(seed, f"{stream}/rest", *(key[row] for key in keys), left)
        times = -np.log1p(-chance) / weights[left]
        lacking = n - n_drawn[row]
        soonest = np.argpartition(times, lacking - 1)[:lacking]
        drawn[row, n_drawn[row] :] = left[soonest[np.argsort(times[soonest], kind="stable")]]
    return drawn
