"""The k-core of a log, found in scans: two arrays of counts are held, never the interactions."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int32]
Pairs = Callable[[], Iterable[tuple[Ints, Ints]]]
"""Reads the users and items of all interactions from the start, in chunks."""


@dataclass(frozen=True)
class Core:
    """The largest part of a log in which every user and every item has at least k interactions."""

    users: NDArray[np.bool_]
    """Whether each user is in it."""
    items: NDArray[np.bool_]
    interactions: int
    passes: int
    """Scans that dropped something."""


def k_core(pairs: Pairs, n_users: int, n_items: int, k: int) -> Core:
    """The k-core of interactions; it may be empty.

    Dropping an item can leave a user short and the other way round, hence to a fixed point. Each pass keeps the
    interactions whose user and item are still in, a semi-join over a scan, and takes O(users + items) memory.

    >>> users, items = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 0, 1, 1])
    >>> core = k_core(lambda: [(users, items)], 3, 2, k=2)
    >>> core.users.tolist(), core.items.tolist(), core.interactions, core.passes
    ([True, True, False], [True, True], 4, 1)

    Args:
        pairs: of users below `n_users` and items below `n_items`.
        n_users: how many users there are.
        n_items: how many items there are.
        k: at least 1.
    """
    has_user, has_item = np.ones(n_users, dtype=bool), np.ones(n_items, dtype=bool)
    passes = 0
    while True:
        of_users, of_items = np.zeros(n_users, dtype=np.int64), np.zeros(n_items, dtype=np.int64)
        for users, items in pairs():
            is_in = has_user[users] & has_item[items]
            of_users += np.bincount(users[is_in], minlength=n_users)
            of_items += np.bincount(items[is_in], minlength=n_items)
        has_user, has_item = of_users > 0, of_items > 0
        if (of_users[has_user] >= k).all() and (of_items[has_item] >= k).all():
            return Core(has_user, has_item, int(of_users.sum()), passes)
        has_user, has_item = of_users >= k, of_items >= k
        passes += 1


def largest_core(pairs: Pairs, n_users: int, n_items: int, below: int) -> tuple[int, Core]:
    """The largest k under `below` whose core is not empty, and that core; `below` is at least 2, the log not empty."""
    low, core = 1, k_core(pairs, n_users, n_items, 1)
    high = below
    while high - low > 1:
        middle = (low + high) // 2
        found = k_core(pairs, n_users, n_items, middle)
        if found.interactions:
            low, core = middle, found
        else:
            high = middle
    return low, core
