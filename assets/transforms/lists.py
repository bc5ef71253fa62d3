# pyright: basic
"""List columns from flat arrays, without a Python object for each row. The only file here that speaks arrow."""

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray


def slices(values: NDArray[np.int32], starts: NDArray[np.int64], ends: NDArray[np.int64]) -> pl.Series:
    """The lists `values[start:end]`.

    >>> slices(np.array([10, 11, 12], dtype=np.int32), np.array([0, 0]), np.array([1, 3])).to_list()
    [[10], [10, 11, 12]]
    """
    lengths = ends - starts
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    places = np.arange(offsets[-1])
    places += np.repeat(starts - offsets[:-1], lengths)
    return _lists(values[places], offsets)


def rows_of(values: NDArray[np.int32], is_kept: NDArray[np.bool_]) -> pl.Series:
    """The rows of a matrix as lists of the values that `is_kept` marks.

    >>> rows_of(np.array([[1, 2], [3, 4]], dtype=np.int32), np.array([[True, False], [True, True]])).to_list()
    [[1], [3, 4]]
    """
    return _lists(values[is_kept], np.concatenate([[0], np.cumsum(is_kept.sum(axis=1))]))


def flat(lists: pl.Series) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """All elements of a list column one after another, and the row of each.

    >>> flat(pl.Series([[1], [], [10, 11]], dtype=pl.List(pl.Int32)))
    (array([ 1, 10, 11], dtype=int32), array([0, 2, 2]))
    """
    elements, offsets = laid_out(lists)
    lengths = np.diff(offsets)
    return elements, np.repeat(np.arange(len(lengths)), lengths)


def laid_out(lists: pl.Series) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """All elements of a list column one after another, and where each list starts; one more at the end. No copy.

    >>> laid_out(pl.Series([[1], [], [10, 11]], dtype=pl.List(pl.Int32)))
    (array([ 1, 10, 11], dtype=int32), array([0, 1, 1, 3]))
    """
    array = lists.rechunk().to_arrow()
    offsets = array.offsets.to_numpy()
    return array.values.to_numpy()[offsets[0] : offsets[-1]], offsets - offsets[0]


def _lists(elements: NDArray[np.int32], offsets: NDArray[np.int64]) -> pl.Series:
    lists = pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), pa.array(elements, pa.int32()))
    return pl.Series(lists, dtype=pl.List(pl.Int32))
