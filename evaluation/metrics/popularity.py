"""Popularity lift: how much more popular lists are than the items that their users take.

Dimension key: r rows, k places, i items, h history.
"""

import numpy as np

from evaluation.arrays import Ids
from evaluation.metrics.top_lists import mean_over_list


def popularity_lift(items: Ids, histories: Ids, train_counts: Ids) -> float:
    r"""Relative excess of the popularity of lists over that of histories. Shapes [r k], [r h], [i].

    .. math:: \frac{\bar\phi(lists) - \bar\phi(histories)}{\bar\phi(histories)}

    where the popularity of an item is its train count and both means are over rows, of means within a row
    (Abdollahpouri et al., RecSys 2020). 0: as popular as what the users took; 1: twice as popular; below 0: rarer.
    Rows with an empty list or history are passed over; NaN where none is left or no history was ever touched in train.

    >>> popularity_lift(np.array([[0]]), np.array([[1]]), np.array([30, 10]))
    2.0
    """
    counts = train_counts.astype(np.float64)
    of_lists, of_histories = mean_over_list(counts, items), mean_over_list(counts, histories)
    both = np.isfinite(of_lists) & np.isfinite(of_histories)
    before = float(of_histories[both].sum())
    return float(of_lists[both].sum()) / before - 1.0 if before > 0 else float("nan")
