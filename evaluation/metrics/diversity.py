"""Intra-list diversity: how unlike each other the items of one list are.

Dimension key: r rows, k places, i items of the catalogue, c categories.
"""

from collections.abc import Callable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evaluation.arrays import Floats, Ids
from evaluation.metrics.top_lists import NO_ITEM

Similarity = Callable[[Ids], NDArray[np.float32]]
"""The lists of some rows [r k] → how alike each two of their items are [r k k]."""

_CHUNK_CELLS = 4_000_000
"""Cells of features held at a time: 16 MB of float32."""


def category_features(category: pl.Series) -> NDArray[np.float32]:
    """Which categories each item has, as 0 and 1, shape [i c]; several are separated by '|', a null has none.

    >>> category_features(pl.Series(["Crime|Drama", None, "Drama"])).tolist()
    [[1.0, 1.0], [0.0, 0.0], [0.0, 1.0]]
    >>> category_features(pl.Series([None, None], dtype=pl.String)).shape
    (2, 0)
    """
    pairs = pl.DataFrame({"item": pl.int_range(len(category), eager=True), "name": category.str.split("|")})
    pairs = pairs.explode("name").drop_nulls("name").filter(pl.col("name") != "")
    names = pairs["name"].unique().sort()
    features = np.zeros((len(category), names.len()), dtype=np.float32)
    if names.is_empty():
        return features
    place = pairs["name"].replace_strict(names, pl.int_range(names.len(), eager=True), return_dtype=pl.Int64)
    features[pairs["item"].to_numpy(), place.to_numpy()] = 1.0
    return features


def category_diversity(items: Ids, features: NDArray[np.float32]) -> Floats:
    """Mean Jaccard distance of the categories over all pairs of a list's items. Shapes [r k], [i c] → [r].

    Intra-list distance as in Vargas and Castells (RecSys 2011), after Ziegler et al. (WWW 2005). Items without a
    category are passed over; NaN where fewer than two are left.
    """
    sizes = features.sum(axis=1)

    def similarity(of_chunk: Ids) -> NDArray[np.float32]:
        common = _products(features[of_chunk])
        size = sizes[of_chunk]
        union = size[:, :, None] + size[:, None, :] - common
        return np.divide(common, union, out=np.zeros_like(common), where=union > 0)

    known = np.where((items != NO_ITEM) & (sizes[items] > 0), items, NO_ITEM)
    return _mean_distance(known, similarity, features.shape[1])


def _products(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.matmul(vectors, vectors.transpose(0, 2, 1))


def _mean_distance(items: Ids, similarity: Similarity, width: int) -> Floats:
    rows, k = items.shape
    result = np.full(rows, np.nan)
    off_diagonal = ~np.eye(k, dtype=np.bool_)
    step = max(1, _CHUNK_CELLS // max(1, k * max(width, k)))
    for start in range(0, rows, step):
        part = slice(start, start + step)
        is_there = items[part] != NO_ITEM
        is_pair = is_there[:, :, None] & is_there[:, None, :] & off_diagonal
        distance = np.where(is_pair, 1.0 - similarity(items[part]).astype(np.float64), 0.0)
        pairs = is_pair.sum(axis=(1, 2))
        np.divide(distance.sum(axis=(1, 2)), pairs, out=result[part], where=pairs > 0)
    return result
