"""Tables read and made a part at a time, so that one need not fit in memory. No result depends on a part's size."""

from collections.abc import Callable, Iterator

import polars as pl
from polars.io.plugins import register_io_source

Table = pl.DataFrame | pl.LazyFrame
"""A table in memory, or one that is read from disk when it is needed."""

ROWS = 1_000_000
"""Rows of a part: some 30 MB of interactions."""


def parts(table: Table, rows: int = ROWS) -> Iterator[pl.DataFrame]:
    """The table, about `rows` rows at a time, in order."""
    if isinstance(table, pl.DataFrame):
        yield from table.iter_slices(rows)
    else:
        yield from table.collect_batches(chunk_size=rows, maintain_order=True)


def exact_parts(table: Table, rows: int) -> Iterator[pl.DataFrame]:
    """The table, exactly `rows` rows at a time but for the last part, each part in one piece.

    >>> table = pl.concat([pl.DataFrame({"a": [0]}), pl.DataFrame({"a": [1, 2, 3, 4]})], rechunk=False)
    >>> [(part["a"].to_list(), part.n_chunks()) for part in exact_parts(table, 2)]
    [([0, 1], 1), ([2, 3], 1), ([4], 1)]
    """
    held: list[pl.DataFrame] = []
    for part in parts(table, rows):
        held.append(part)
        while sum(piece.height for piece in held) >= rows:
            whole = pl.concat(held)
            yield whole[:rows].rechunk()
            held = [whole[rows:]]
    rest = pl.concat(held) if held else None
    if rest is not None and rest.height:
        yield rest.rechunk()


def parts_by_row_id(*tables: Table, rows: int = ROWS) -> Iterator[list[pl.DataFrame]]:
    """All tables in step: of each, the rows whose row_id is in one range, about `rows` rows of all tables together.

    The tables may be in any order. Of a file that ascends by row_id, only the row groups of the range are read.

    >>> pool, asked = pl.DataFrame({"row_id": [0, 0, 1, 3]}), pl.DataFrame({"row_id": [3, 1]})
    >>> [[part["row_id"].to_list() for part in both] for both in parts_by_row_id(pool, asked, rows=3)]
    [[[0, 0, 1], [1]], [[3], [3]]]
    """
    row_id, frames = pl.col("row_id"), [table.lazy() for table in tables]
    sizes = [frame.select(pl.len(), low=row_id.min(), high=row_id.max()) for frame in frames]
    size = pl.concat(sizes).collect(engine="streaming")
    low, high = size["low"].drop_nulls().to_list(), size["high"].drop_nulls().to_list()
    if not low:
        return
    n_ranges = -(-size["len"].sum() // rows)
    width = -(-(max(high) - min(low) + 1) // n_ranges)
    for first in range(min(low), max(high) + 1, width):
        in_range = row_id.is_between(first, first + width - 1)
        yield [frame.filter(in_range).collect(engine="streaming") for frame in frames]


def parts_of_whole_users(table: Table, rows: int = ROWS) -> Iterator[pl.DataFrame]:
    """The table in parts of about `rows` rows that hold all rows of each of their users; a user's rows come together.

    >>> log = pl.DataFrame({"user_id": [0, 0, 0, 1, 2]})
    >>> [part["user_id"].to_list() for part in parts_of_whole_users(log, rows=2)]
    [[0, 0, 0], [1], [2]]
    """
    last: list[pl.DataFrame] = []  # rows of one user, who may go on in the next part
    for part in parts(table, rows):
        user = part["user_id"]
        begins = part.height - int((user == user[-1]).sum())
        if last and (begins or last[-1]["user_id"][-1] != user[-1]):
            yield pl.concat([*last, part[:begins]])
            last = []
        elif begins:
            yield part[:begins]
        last.append(part[begins:])
    if last:
        yield pl.concat(last)


def from_parts(make: Callable[[], Iterator[pl.DataFrame]], schema: dict[str, pl.DataType]) -> pl.LazyFrame:
    """A table whose parts are made when it is written; `make` is called anew each time it is."""

    def source(
        columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        left = n_rows
        for part in make():
            part = part if left is None else part.head(left)
            left = None if left is None else left - part.height
            part = part if predicate is None else part.filter(predicate)
            yield part if columns is None else part.select(columns)
            if left == 0:
                return

    return register_io_source(source, schema=schema, validate_schema=True)
