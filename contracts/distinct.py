"""Items drawn without replacement, row by row, from random numbers that the caller makes.

Which numbers a room draws from (`contracts.draws`), and what it never draws, is its own affair.
Dimension key: r rows, n items drawn for each, i items of the catalogue, k rows that still lack items, c proposals.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Items = NDArray[np.int64]
Flags = NDArray[np.bool_]

ABSENT = -1
"""In place of an item, where a row has fewer."""

Propose = Callable[[Items, int, int], Items]
"""Rows [k], first and last proposal → items [k c]. A proposal depends on its row and its number, on nothing else."""
IsExcluded = Callable[[Items, Items], Flags]
"""Rows [k], items [k c] → which of them are never drawn for their row, [k c]."""


def draw_distinct(
    n_rows: int,
    n: int,
    propose: Propose,
    is_excluded: IsExcluded,
    rest: Callable[[int, Items], Items],
    *,
    proposals: int,
    block: int | None = None,
) -> NDArray[np.int64]:
    """The first n proposals of each row that are neither excluded nor repeated, then what `rest` puts in order.

    Args:
        n_rows: r.
        n: to draw.
        propose: see `Propose`.
        is_excluded: see `IsExcluded`.
        rest: a row that is short after all proposals, and what it has → what else it may draw, in that order.
        proposals: to each row.
        block: proposals made at a time; changes the cost only. All at once, when absent.

    Returns:
        Shape [r n]; ABSENT where a row has fewer.
    """
    drawn = np.full((n_rows, n), ABSENT, dtype=np.int64)
    open_rows = np.arange(n_rows if n else 0)
    for start in range(0, proposals, block or proposals):
        if not len(open_rows):
            return drawn
        items = propose(open_rows, start, min(start + (block or proposals), proposals))
        so_far = drawn[open_rows]
        n_drawn = (so_far != ABSENT).sum(axis=1)
        longest = int(n_drawn.max())
        is_known = is_repeat(np.concatenate([so_far[:, :longest], items], axis=1))[:, longest:]
        is_taken = ~is_excluded(open_rows, items) & ~is_known
        place = np.where(is_taken, n_drawn[:, None] + np.cumsum(is_taken, axis=1) - 1, n)
        with_spare = np.concatenate([so_far, np.empty((len(so_far), 1), dtype=np.int64)], axis=1)
        np.put_along_axis(with_spare, np.minimum(place, n), items, axis=1)
        drawn[open_rows] = with_spare[:, :n]
        open_rows = open_rows[with_spare[:, n - 1] == ABSENT]
    for row in open_rows:
        have = drawn[row][drawn[row] != ABSENT]
        more = rest(int(row), have)[: n - len(have)]
        drawn[row, len(have) : len(have) + len(more)] = more
    return drawn


def draw_by_weight(
    weights: NDArray[np.int64],
    n_rows: int,
    n: int,
    numbers: Callable[[Items, int, int, int], NDArray[np.int64]],
    chances: Callable[[int, Items], NDArray[np.float64]],
    is_excluded: IsExcluded,
    *,
    proposals: int,
    block: int | None = None,
) -> NDArray[np.int64]:
    """Distinct items, each drawn in proportion to its weight among those neither excluded nor drawn before.

    A proposal that is taken is in proportion to the weights of what was left: rejection changes how many proposals it
    takes, not what is drawn. Rows whose excluded items hold nearly all of the weight would reject for ever; what they
    lack after all proposals is drawn by the smallest of independent exponential times with the weights as rates, which
    is the same law (Efraimidis and Spirakis 2006, https://doi.org/10.1016/j.ipl.2005.11.003).

    Args:
        weights: i; an item of weight 0 is never drawn. Their sum is below 2^31.
        n_rows: r.
        n: to draw.
        numbers: rows [k], first and last proposal, a limit → whole numbers in [0, limit), [k c].
        chances: a row and some items [m] → a uniform number in [0, 1) for each, [m].
        is_excluded: see `IsExcluded`.
        proposals: as in `draw_distinct`.
        block: as in `draw_distinct`.

    Returns:
        Shape [r n]; ABSENT where a row has fewer.
    """
    cumulative = np.cumsum(weights)
    if not cumulative.size or cumulative[-1] == 0:
        return np.full((n_rows, n), ABSENT, dtype=np.int64)
    every = np.arange(len(weights))

    def propose(rows: Items, start: int, stop: int) -> Items:
        return np.searchsorted(cumulative, numbers(rows, start, stop, int(cumulative[-1])), side="right")

    def rest(row: int, have: Items) -> Items:
        is_left = (weights > 0) & ~is_excluded(np.array([row]), every[None, :])[0]
        is_left[have] = False
        left = every[is_left]
        times = -np.log1p(-chances(row, left)) / weights[left]
        return left[np.argsort(times, kind="stable")]

    return draw_distinct(n_rows, n, propose, is_excluded, rest, proposals=proposals, block=block)


def is_repeat(items: Items) -> Flags:
    """True where the same item is further left in its row. Shape [r c] → [r c].

    >>> is_repeat(np.array([[3, 1, 3, 1, 2]]))
    array([[False, False,  True,  True, False]])
    """
    order = np.argsort(items, axis=1, kind="stable")
    in_order = np.take_along_axis(items, order, axis=1)
    repeats = np.zeros(items.shape, dtype=bool)
    np.put_along_axis(repeats, order[:, 1:], in_order[:, 1:] == in_order[:, :-1], axis=1)
    return repeats
