"""The share of the catalogue that lists reach, and how evenly.

These are properties of all lists together; a single row has none of them. Dimension key: r rows, k places, i items of
the catalogue.
"""

import numpy as np

from evaluation.arrays import Floats, Ids
from evaluation.metrics.top_lists import NO_ITEM


def item_counts(items: Ids, n_items: int) -> Floats:
    """Counts how often lists show each item of the catalogue, shape [r k] → [i].

    Raises:
        ValueError: no item is listed, or one that is not in the catalogue.
    """
    listed = items[items != NO_ITEM]
    if listed.size == 0 or int(listed.min()) < 0 or int(listed.max()) >= n_items:
        found = f"{listed.min()} to {listed.max()}" if listed.size else "none"
        raise ValueError(f"listed items must be 0 to {n_items - 1}, got {found}.")
    return np.bincount(listed, minlength=n_items).astype(np.float64)


def catalogue_coverage(items: Ids, n_items: int) -> float:
    """Share of the catalogue that is listed for anybody (Ge et al., RecSys 2010).

    >>> catalogue_coverage(np.array([[0, 1], [1, 2]]), n_items=4)
    0.75
    """
    return float((item_counts(items, n_items) > 0).mean())


def gini(items: Ids, n_items: int) -> float:
    r"""Gini index of how often items are listed (Castells et al., Recommender Systems Handbook, 2022, ch. 16).

    .. math:: \frac{1}{n - 1} \sum_{j=1}^{n} (2j - n - 1)\, p_j, \quad p_1 \le \dots \le p_n

    0 where every item is listed equally often, 1 where all lists hold one and the same item.

    >>> gini(np.array([[0, 1], [2, 3]]), n_items=4), gini(np.array([[0], [0]]), n_items=4)
    (0.0, 1.0)
    """
    counts = np.sort(item_counts(items, n_items))
    if n_items == 1:
        return 0.0
    place = np.arange(1, n_items + 1)
    return float(((2 * place - n_items - 1) * counts).sum() / (n_items - 1) / counts.sum())


def entropy(items: Ids, n_items: int) -> float:
    """Shannon entropy, in nats, of the distribution of listed items; log(n_items) where it is uniform.

    >>> round(entropy(np.array([[0, 1], [2, 3]]), n_items=9), 4)  # log 4
    1.3863
    """
    counts = item_counts(items, n_items)
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum() + 0.0)
