"""Samples that a probe takes of a large table: whole users or single rows, chosen by a hash of their id."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from contracts.draws import cell_uniforms

Frame = pl.DataFrame | pl.LazyFrame
Sampled = tuple[pl.LazyFrame, float]
"""The kept rows, in their order, and the share of ids that was kept: 1 when it is all of them."""


def sampled_by(table: Frame, column: str, most: int, *, stream: str) -> Sampled:
    """About `most` rows of a table: all rows of ids of `column` that a hash of (stream, id) picks.

    The same ids whatever the order of rows, and nothing larger than one bit for each id in memory.

    Args:
        table: `column` holds ids from 0.
        column: user_id keeps whole users, row_id single rows.
        most: rows; a smaller table is kept whole.
        stream: names the purpose, so that two samples are independent.
    """
    frame = table.lazy()
    rows, largest = frame.select(pl.len(), pl.col(column).max().alias("largest")).collect(engine="streaming").row(0)
    if rows <= most:
        return frame, 1.0
    ids = np.arange(int(largest) + 1, dtype=np.int64)
    share = most / rows
    kept = ids[cell_uniforms(0, stream, ids, np.zeros(1, dtype=np.int64)) < share]
    return frame.filter(pl.col(column).is_in(_ids(kept).implode())), share


def collected(frame: pl.LazyFrame) -> pl.DataFrame:
    """The rows in memory, read in pieces."""
    return frame.collect(engine="streaming")


def _ids(values: NDArray[np.int64]) -> pl.Series:
    return pl.Series(values, dtype=pl.Int32)
