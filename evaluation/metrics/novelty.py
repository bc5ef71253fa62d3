"""Novelty: how few users know the listed items. Dimension key: r rows, k places, i items of the catalogue."""

import numpy as np

from evaluation.arrays import Floats, Ids
from evaluation.metrics.top_lists import mean_over_list


def novelty(items: Ids, train_counts: Ids, n_users: int) -> Floats:
    r"""Mean self-information of a list's items, in bits. Shapes [r k], [i] → [r]; NaN for a list without items.

    .. math:: -\log_2 \frac{c_i + 1}{n + 1}

    for an item that c of n users touched in train (Zhou et al., PNAS 2010). Deviation: 1 is added to both, because an
    item that nobody touched would be infinitely novel.

    >>> novelty(np.array([[0, 1]]), np.array([7, 0]), n_users=7).tolist()  # of bits 0 and 3
    [1.5]
    """
    if n_users < int(train_counts.max(initial=0)):
        raise ValueError(f"n_users must be at least an item's users, {train_counts.max()}, got {n_users}.")
    return mean_over_list(-np.log2((train_counts + 1.0) / (n_users + 1.0)), items)
