"""Holds a table to `contracts.tables`: one line names table, column, row, value and remedy."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from contracts.parquet_layout import ROW_GROUP
from contracts.tables import Column, Table
from evaluation.schemas import dtype_of

CHUNK_ROWS = ROW_GROUP // 4
"""Rows of a table that are validated together."""


class SchemaError(ValueError):
    """A table breaks its contract; nothing of it was published."""


def validate(table: pl.DataFrame | pl.LazyFrame, schema: Table, *, chunk_rows: int = CHUNK_ROWS) -> int:
    """Raises unless `table` keeps the contract `schema`: columns, types, missing values, ranges, keys and order.

    The table is looked at in chunks; what is said of a broken one does not depend on their size. A LazyFrame is the
    scan of a file.

    >>> from contracts.tables import TABLES
    >>> from evaluation.schemas import schema_of
    >>> items = {"item_id": [0], "item": ["i7"], "title": [""], "category": [None], "text": [None]}
    >>> validate(pl.DataFrame(items, schema=schema_of("items")), TABLES["items"])  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    ...
    assets.lake.validate.SchemaError: items.title must have at least 1 characters, got '' in row 0 (1 of 1 rows). ...

    Returns:
        The number of rows.

    Raises:
        SchemaError: it does not; the message names table, column, row, value and remedy.
    """
    _refuse_other_columns(table.collect_schema(), schema)
    judges = [
        *(_ColumnJudge(schema, column) for column in schema.columns),
        _OrderJudge(schema),  # before the keys, of which some trust the order
        *(_KeyJudge(schema, key) for key in schema.unique),
    ]
    n_rows = 0
    for chunk in _chunks(table, chunk_rows):
        for judge in judges:
            judge.look_at(chunk, n_rows)
        n_rows += chunk.height
    for judge in judges:
        judge.decide(n_rows)
    return n_rows


def _chunks(table: pl.DataFrame | pl.LazyFrame, rows: int) -> Iterator[pl.DataFrame]:
    """The table, at most `rows` rows at a time.

    Each row group of a file is read by itself: a reader of the whole file runs ahead, further with more cores.
    """
    if isinstance(table, pl.DataFrame):
        yield from table.iter_slices(rows)
        return
    n_rows = table.select(pl.len()).collect(engine="streaming").item()
    for first in range(0, n_rows, ROW_GROUP):
        yield from table.slice(first, ROW_GROUP).collect(engine="streaming").iter_slices(rows)


def _refuse_other_columns(found: pl.Schema, schema: Table) -> None:
    wanted = [column.name for column in schema.columns]
    if found.names() != wanted:
        missing = [name for name in wanted if name not in found]
        extra = [name for name in found if name not in wanted]
        parts = [f"missing {', '.join(missing)}"] * bool(missing) + [f"unknown {', '.join(extra)}"] * bool(extra)
        raise SchemaError(
            f"{schema.name} must have the columns {', '.join(wanted)}, got {', '.join(found) or 'none'} "
            f"({'; '.join(parts) or 'in another order'}). Select exactly these, in this order."
        )
    for column in schema.columns:
        if found[column.name] != dtype_of(column):
            raise SchemaError(
                f"{schema.name}.{column.name} must be {dtype_of(column)}, got {found[column.name]}. "
                "Cast it where the table is made."
            )


@dataclass
class _Offence:
    """What breaks one rule of a column: how many values, and the first of them."""

    count: int
    row: int
    value: Any
    unit: str


class _ColumnJudge:
    """Looks at one column chunk by chunk, and remembers what breaks each of its rules."""

    def __init__(self, schema: Table, column: Column) -> None:
        self.where, self.column = (schema.name, column.name), column
        self.is_list = column.is_list
        self.offences: dict[str, _Offence | None] = {}
        """By rule, in the order of the rules."""
        self.n_elements = 0

    def look_at(self, chunk: pl.DataFrame, n_before: int) -> None:
        """Takes the next rows."""
        values = chunk[self.column.name]
        for wanted, bad in self._rules_of_values(values):
            self._note(wanted, bad, lambda row: (n_before + row, values[row]), "rows")
        # Elements are checked flat, and a row is looked for only when one is wrong: lists hold most of the memory.
        flat = values.drop_nulls().explode(empty_as_null=False) if self.is_list else values

        def place(element: int) -> tuple[int, Any]:
            row = int((values.list.len().fill_null(0).cum_sum() <= element).sum()) if self.is_list else element
            return n_before + row, flat[element]

        for wanted, bad in self._rules_of_elements(flat):
            self._note(wanted, bad, place, "elements" if self.is_list else "rows")
        self.n_elements += flat.len()

    def _rules_of_values(self, values: pl.Series) -> Iterator[tuple[str, pl.Series]]:
        column = self.column
        if not column.nullable:
            yield "never be missing", values.is_null()
        if column.min_length is not None:
            lengths, unit = (values.list.len(), "elements") if self.is_list else (values.str.len_chars(), "characters")
            yield f"have at least {column.min_length} {unit}", lengths < column.min_length
        if column.distinct:
            yield "hold no element twice", values.list.n_unique() != values.list.len()

    def _rules_of_elements(self, flat: pl.Series) -> Iterator[tuple[str, pl.Series]]:
        column = self.column
        if self.is_list:
            yield "hold no missing element", flat.is_null()
        if flat.dtype.is_float():
            yield "be a finite number", ~flat.is_finite()
        if column.minimum is not None:
            yield f"be at least {column.minimum:g}", flat < column.minimum
        if column.maximum is not None:
            yield f"be at most {column.maximum:g}", flat > column.maximum
        if column.accepted is not None:
            yield f"be one of {', '.join(column.accepted)}", ~flat.is_in(list(column.accepted))
        if column.pattern is not None:
            yield f"match {column.pattern}", ~flat.str.contains(column.pattern)

    def _note(self, wanted: str, bad: pl.Series, place: Callable[[int], tuple[int, Any]], unit: str) -> None:
        offence = self.offences.setdefault(wanted, None)
        count = int(bad.sum() or 0)
        if offence is not None:
            offence.count += count
        elif count:
            self.offences[wanted] = _Offence(count, *place(int(bad.fill_null(False).arg_true()[0])), unit)

    def decide(self, n_rows: int) -> None:
        """Raises for the first rule that is broken."""
        for wanted, offence in self.offences.items():
            if offence is not None:
                of = self.n_elements if offence.unit == "elements" else n_rows
                raise SchemaError(
                    f"{'.'.join(self.where)} must {wanted}, got {_shown(offence.value)} in row {offence.row} "
                    f"({offence.count:,} of {of:,} {offence.unit}). {self.column.remedy}"
                )


class _KeyJudge:
    """Looks for rows that share a key. It keeps all keys; of rows that ascend by the first column, its last value."""

    def __init__(self, schema: Table, key: tuple[str, ...]) -> None:
        self.schema, self.key = schema, key
        self.is_ascending = schema.sorted_by[:1] == key[:1]
        self.open: list[pl.DataFrame] = []  # rows that a later one may share a key with
        self.first: dict[str, Any] | None = None
        self.count = 0

    def look_at(self, chunk: pl.DataFrame, n_before: int) -> None:
        """Takes the next rows."""
        self.open.append(chunk.select(self.key).with_row_index("row", offset=n_before))
        if self.is_ascending:
            rows = pl.concat(self.open)
            goes_on = pl.col(self.key[0]).eq_missing(pl.col(self.key[0]).last())
            self._note(rows.filter(~goes_on))
            self.open = [rows.filter(goes_on)]

    def _note(self, rows: pl.DataFrame) -> None:
        packed = rows.select(_packed(rows, self.key)).to_series()
        if packed.n_unique() < rows.height:
            repeated = rows.filter(packed.is_duplicated())
            self.count += repeated.height
            self.first = self.first or repeated.row(0, named=True)

    def decide(self, n_rows: int) -> None:
        """Raises when rows share a key."""
        if self.open:
            self._note(pl.concat(self.open))
        if self.first is not None:
            value = ", ".join(f"{name}={_shown(self.first[name])}" for name in self.key)
            raise SchemaError(
                f"{self.schema.name} must have one row for each {', '.join(self.key)}, got {value} more than once, "
                f"first in row {self.first['row']} ({self.count:,} of {n_rows:,} rows). "
                "Drop the repeats where it is made."
            )


def _packed(table: pl.DataFrame, key: tuple[str, ...]) -> pl.Expr:
    """One value for each combination; two int32 fit one int64, whose uniqueness is found faster than a struct's."""
    if len(key) == 2 and all(table.schema[name] == pl.Int32 for name in key):
        first, second = (pl.col(name).cast(pl.Int64) for name in key)
        return first * 2**32 + second
    return pl.struct(key).alias("key")


class _OrderJudge:
    """Looks whether the rows ascend, and whether they are counted, from chunk to chunk."""

    def __init__(self, schema: Table) -> None:
        self.schema = schema
        self.before: pl.DataFrame | None = None
        self.miscount: tuple[int, Any] | None = None
        self.fall: tuple[int, Any, Any] | None = None

    def look_at(self, chunk: pl.DataFrame, n_before: int) -> None:
        """Takes the next rows."""
        if self.schema.dense is not None and self.miscount is None:
            counted = chunk[self.schema.dense]
            wrong = (counted.cast(pl.Int64) != pl.int_range(n_before, n_before + chunk.height, eager=True)).arg_true()
            if wrong.len():
                self.miscount = (n_before + wrong[0], counted[wrong[0]])
        if self.schema.sorted_by and self.fall is None:
            rows = chunk.select(self.schema.sorted_by)
            rows = rows if self.before is None else pl.concat([self.before, rows])
            falls, ties = pl.lit(False), pl.lit(True)
            for name in self.schema.sorted_by:
                falls = falls | (ties & (pl.col(name) < pl.col(name).shift(1)))
                ties = ties & (pl.col(name) == pl.col(name).shift(1))
            wrong = rows.select(falls.fill_null(False)).to_series().arg_true()
            if wrong.len():
                row = wrong[0]
                self.fall = (n_before + row - (self.before is not None), rows.row(row), rows.row(row - 1))
            self.before = rows.tail(1)

    def decide(self, n_rows: int) -> None:
        """Raises when rows are miscounted or out of order."""
        if self.miscount is not None:
            row, got = self.miscount
            raise SchemaError(
                f"{self.schema.name}.{self.schema.dense} must count the rows from 0, got {got} in row {row}. "
                "Number the rows after the last filter."
            )
        if self.fall is not None:
            row, got, before = self.fall
            raise SchemaError(
                f"{self.schema.name} must ascend by {', '.join(self.schema.sorted_by)}, got {_shown(got)} after "
                f"{_shown(before)} in row {row}. Sort it where it is made."
            )


def _shown(value: Any) -> str:
    if isinstance(value, pl.Series):
        value = value.to_list()
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
