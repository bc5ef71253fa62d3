"""The first items of stored lists as one array. Dimension key: r rows, k places, i items of the catalogue."""

import numpy as np
import polars as pl

from evaluation.arrays import Floats, Ids

NO_ITEM = -1
"""Fills the places of a list that is shorter than k."""


def top_items(predictions: pl.DataFrame, protocol: str, k: int) -> tuple[Ids, Ids]:
    """The row ids of one protocol, sorted, shape [r], and the first k items of each row's list, shape [r k].

    Raises:
        ValueError: no row of that protocol.
    """
    if k < 1:
        raise ValueError(f"k must be 1 or more, got {k}.")
    of_protocol = predictions.filter(pl.col("protocol") == protocol).sort("row_id")
    if of_protocol.is_empty():
        raise ValueError(f"predictions must hold rows of protocol {protocol}, got none. Score the rows under it.")
    heads = of_protocol["items"].list.head(k)
    return of_protocol["row_id"].to_numpy().astype(np.int64), padded(heads, k)


def padded(lists: pl.Series, k: int) -> Ids:
    """Lists of at most k items as an array, filled with `NO_ITEM`. Shape [r k].

    >>> padded(pl.Series([[4, 2], [7]]), 2).tolist()
    [[4, 2], [7, -1]]
    """
    lengths = lists.list.len().to_numpy().astype(np.int64)
    items = np.full((lengths.size, k), NO_ITEM, dtype=np.int64)
    items[np.arange(k) < lengths[:, None]] = lists.explode(empty_as_null=False).to_numpy()
    return items


def mean_over_list(values: Floats, items: Ids) -> Floats:
    """The mean over the items of each list of a value that every item has, shapes [i], [r k] → [r].

    NaN for a list without items.
    """
    is_there = items != NO_ITEM
    totals = np.where(is_there, values[items], 0.0).sum(axis=1)
    lengths = is_there.sum(axis=1)
    return totals / np.where(lengths > 0, lengths, np.nan)
