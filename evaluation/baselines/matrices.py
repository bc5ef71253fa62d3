# pyright: basic, reportMissingTypeStubs=false
# scipy, threadpoolctl and implicit leave their types untold.
"""Interactions and histories as sparse matrices. Dimension key: r rows, u users, i items of the catalogue.

scipy and implicit are imported where they are used: Dagster's definitions import this package, and load in seconds.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any
from warnings import catch_warnings, filterwarnings

import numpy as np
import polars as pl
from numpy.typing import NDArray

Sparse = Any
"""A scipy.sparse.csr_matrix of float32; scipy leaves its types untold."""


def train_matrix(interactions: pl.DataFrame, *, n_items: int) -> tuple[Sparse, NDArray[np.int64]]:
    """1 where a user touched an item in train, shape [u i], and the user_id of each of its rows, sorted.

    Independent of the order of interactions, and of how often a user took an item.
    """
    from scipy.sparse import csr_matrix

    pairs = interactions.filter(pl.col("split") == "train").select("user_id", "item_id").unique().sort(pl.all())
    if pairs.is_empty():
        raise ValueError("interactions must hold train interactions to learn from, got none.")
    user_ids, place = np.unique(pairs["user_id"].to_numpy().astype(np.int64), return_inverse=True)
    items = pairs["item_id"].to_numpy()
    ones = np.ones(pairs.height, dtype=np.float32)
    return csr_matrix((ones, (place, items)), shape=(user_ids.size, n_items)), user_ids


def history_matrix(rows: pl.DataFrame, *, n_items: int, decay: float) -> Sparse:
    """Each row's history, shape [r i]: 1 for its last item, decay for the one before, decay² for the next.

    decay 0 keeps nothing but the last item, decay 1 the set of all; an item that occurs several times has the sum.
    """
    from scipy.sparse import csr_matrix

    lengths = rows["history"].list.len().to_numpy().astype(np.int64)
    place = np.repeat(np.arange(lengths.size), lengths)
    age = np.repeat(lengths.cumsum(), lengths) - 1 - np.arange(place.size)
    weight = np.power(decay, age.astype(np.float64)).astype(np.float32)  # 0⁰ is 1
    items = rows["history"].explode(empty_as_null=False).to_numpy()
    kept = weight > 0
    matrix = csr_matrix((weight[kept], (place[kept], items[kept])), shape=(lengths.size, n_items))
    matrix.sum_duplicates()
    return matrix


@contextmanager
def reproducible() -> Generator[None]:
    """One thread for linear algebra, whose order of summation then is fixed; quiet about how implicit is called."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), catch_warnings():
        filterwarnings("ignore", message="Method expects CSR input")  # implicit, of a matrix that it made itself
        yield
