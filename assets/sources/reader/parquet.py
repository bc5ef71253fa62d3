"""Parquet files, batch by batch; a row's line is its number from 1."""

import json
from collections.abc import Iterator, Sequence

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from assets.sources.contract import EmptyFile, UnusableSource
from assets.sources.files import RawFile
from assets.sources.reader.text import SHOWN, Chunk, bad_rows
from assets.sources.reader.times import in_calendar

BATCH = 250_000
"""Rows of a chunk."""


def columns(file: RawFile) -> dict[str, str]:
    """The file's columns and the names of their types.

    Raises:
        UnusableSource: it is damaged, holds no row, or names a column twice.
    """
    parquet = _opened(file)
    if parquet.metadata.num_rows == 0:
        raise EmptyFile(f"{file.name} must hold rows, got none. Bring its rows, or take it away.")
    names = parquet.schema_arrow.names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UnusableSource(f"{file.name} must name each column once, got {', '.join(twice)} twice. Rename one.")
    return {field.name: str(field.type) for field in parquet.schema_arrow}


def chunks(file: RawFile, wanted: tuple[str, ...]) -> Iterator[Chunk]:
    """The rows of a file, with the columns `wanted` in the types they have.

    Raises:
        UnusableSource: it is damaged.
    """
    line = 1
    try:
        for batch in _opened(file).iter_batches(batch_size=BATCH, columns=list(dict.fromkeys(wanted))):
            records = _readable(file, pa.Table.from_batches([batch]).select(wanted))
            numbers = pl.int_range(line, line + records.height, dtype=pl.Int64, eager=True)
            yield Chunk(records, numbers, lambda wrong, rows=records: _shown(rows, wrong), bad_rows([]))
            line += records.height
    except (pa.ArrowException, pl.exceptions.PolarsError, OSError) as error:
        raise UnusableSource(f"{file.name}, after row {line - 1:,}: {_damaged(error)}") from error


def _readable(file: RawFile, table: pa.Table) -> pl.DataFrame:
    """The columns in types that polars has: a UUID as its text, bytes as the text they are, a wide decimal as text.

    Raises:
        UnusableSource: bytes are not text.
    """
    columns: dict[str, pa.ChunkedArray] = {}
    for field, column in zip(table.schema, table.columns, strict=True):
        kind = field.type
        if isinstance(kind, pa.UuidType):
            texts = [None if value is None else str(value) for value in column.to_pylist()]
            column = pa.chunked_array([pa.array(texts, pa.string())])
        elif pa.types.is_fixed_size_binary(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            try:
                column = column.cast(pa.large_binary()).cast(pa.large_string())
            except pa.ArrowInvalid as error:
                raise UnusableSource(
                    f"{file.name}: column '{field.name}' must hold text, got bytes ({kind}) that are none. Write "
                    "them as text, in hexadecimal digits say."
                ) from error
        elif pa.types.is_decimal256(kind):
            column = column.cast(pa.string())
        columns[field.name] = column
    return pl.DataFrame(pa.table(columns))


def _opened(file: RawFile) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file.path)
    except (pa.ArrowException, OSError) as error:
        raise UnusableSource(f"{file.name}: {_damaged(error)}") from error


def _damaged(error: Exception) -> str:
    shown = str(error).splitlines()[0][:SHOWN]
    return f"must be a readable Parquet file, got: {shown}. Copy it again; it is cut off or damaged."


def _shown(records: pl.DataFrame, places: Sequence[int]) -> list[str]:
    """Rows as JSON; a time that no calendar holds is shown as the number it is stored as."""
    rows = records[list(places)]
    for name, values in zip(rows.columns, rows.get_columns(), strict=True):
        if isinstance(values.dtype, pl.Date | pl.Datetime):
            stored = values.to_physical().cast(pl.String)
            rows = rows.with_columns(in_calendar(values).cast(pl.String).fill_null(stored).alias(name))
    return [json.dumps(row, default=str, ensure_ascii=False)[:SHOWN] for row in rows.iter_rows(named=True)]
