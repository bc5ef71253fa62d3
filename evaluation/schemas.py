"""The tables of `contracts.tables` as polars schemas."""

import polars as pl

from contracts.tables import TABLES, Column

UTC = pl.Datetime("us", "UTC")
_TYPES: dict[str, pl.DataType] = {
    "bool": pl.Boolean(),
    "int32": pl.Int32(),
    "int64": pl.Int64(),
    "float32": pl.Float32(),
    "float64": pl.Float64(),
    "string": pl.String(),
    "timestamp[us, UTC]": UTC,
}


def schema_of(table: str) -> pl.Schema:
    """Column names and polars types of a table, in order.

    >>> dict(schema_of("candidate_sets"))
    {'row_id': Int32, 'candidates': List(Int32)}
    """
    return pl.Schema({column.name: dtype_of(column) for column in TABLES[table]})


def empty(table: str) -> pl.DataFrame:
    """The table without rows."""
    return pl.DataFrame(schema=schema_of(table))


def dtype_of(column: Column) -> pl.DataType:
    """The polars type of a column."""
    return pl.List(_TYPES[column.value_type]) if column.is_list else _TYPES[column.type]
