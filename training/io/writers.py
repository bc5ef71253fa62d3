"""Tables that commands write: a reader finds a whole file or none."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int

from contracts.durable import commit, staging_path
from contracts.parquet_layout import COMPRESSION, ROW_GROUP
from contracts.tables import TABLES

_TYPES = {
    "bool": pa.bool_(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "string": pa.string(),
    "timestamp[us, UTC]": pa.timestamp("us", tz="UTC"),
}


def list_array(offsets: Int[np.ndarray, " k+1"], values: np.ndarray) -> pa.ListArray:
    """Lists of different lengths as an Arrow column."""
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(values))


def write_table(table: pa.Table, path: Path) -> None:
    """Writes one table as `write_parts` does."""
    write_parts([table], table.schema, path)


def write_parts(parts: Iterable[pa.Table], schema: pa.Schema, path: Path) -> None:
    """Writes the parts as one table beside `path`, then renames it: a reader finds all of it or nothing.

    The parent publishes the file as it is. Its bytes depend on the rows only, not on how they were cut into parts.
    """
    stored = pa.schema([(field.name, _stored(field.type)) for field in schema])
    texts = [field.name for field in stored if pa.types.is_large_string(field.type)]
    staging = staging_path(path)
    # pyarrow takes names where its annotation says bool.
    with pq.ParquetWriter(staging, stored, compression=COMPRESSION, use_dictionary=texts) as writer:  # pyright: ignore[reportArgumentType]
        for group in _row_groups(parts, ROW_GROUP):
            writer.write_table(group.cast(stored).combine_chunks(), row_group_size=ROW_GROUP)
    commit(staging, path)


def _stored(kind: pa.DataType) -> pa.DataType:
    """The type that polars gives to texts and lists, and that the file names: offsets of 64 bits."""
    if pa.types.is_string(kind):
        return pa.large_string()
    return pa.large_list(kind.value_type) if pa.types.is_list(kind) else kind


def _row_groups(parts: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The parts' rows, exactly `rows` at a time but for the last group."""
    held: list[pa.Table] = []
    for part in parts:
        held.append(part)
        if sum(map(len, held)) >= rows:
            whole = pa.concat_tables(held)
            n_whole = len(whole) // rows * rows
            yield from (whole.slice(first, rows) for first in range(0, n_whole, rows))
            held = [whole.slice(n_whole)]
    if sum(map(len, held)):
        yield pa.concat_tables(held)


def arrow_schema(table: str) -> pa.Schema:
    """Column names and Arrow types of a table of `contracts.tables`, in order."""
    columns = TABLES[table].columns
    return pa.schema([(c.name, pa.list_(_TYPES[c.value_type]) if c.is_list else _TYPES[c.type]) for c in columns])
