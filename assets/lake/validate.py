"""One vocabulary of tables and columns: types, nullability, ranges, keys and order, enforced at every published table.

`SCHEMAS` is the data contract; `validate` enforces it with one line that names table, column, row, value and remedy.
Imports polars alone, so that whatever shows the contract (a data catalogue, the documentation) is made from it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from contracts.words import MINERS, SPLITS

UTC = pl.Datetime("us", "UTC")
INT32_MAX = 2**31 - 1
CHUNK_ROWS = 1_000_000
"""Rows of a table that are validated together."""


@dataclass(frozen=True)
class Column:
    """One column. `minimum`, `maximum` and `accepted` speak of the values, or of each element where these are lists."""

    name: str
    dtype: pl.DataType
    description: str
    nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    accepted: tuple[str, ...] | None = None
    pattern: str | None = None
    """A regular expression that each text value must contain a match of."""
    min_length: int | None = None
    """Fewest elements of a list, or characters of a text."""
    distinct: bool = False
    """A list holds no element twice."""

    def rules(self) -> list[str]:
        """What must hold of the column beyond its type, in words."""
        each = "each element is " if isinstance(self.dtype, pl.List) else ""
        rules = [] if self.nullable else ["never missing"]
        if _value_dtype(self).is_float():
            rules.append(f"{each}a finite number")
        if self.minimum is not None:
            rules.append(f"{each}at least {self.minimum:g}")
        if self.maximum is not None:
            rules.append(f"{each}at most {self.maximum:g}")
        if self.accepted is not None:
            rules.append(f"{each}one of {', '.join(self.accepted)}")
        if self.pattern is not None:
            rules.append(f"{each}like {self.pattern}")
        if self.min_length is not None:
            rules.append(f"at least {self.min_length} {'elements' if each else 'characters'}")
        if self.distinct:
            rules.append("no element twice")
        return rules


@dataclass(frozen=True)
class TableSchema:
    """The contract of one table."""

    name: str
    description: str
    columns: tuple[Column, ...]
    unique: tuple[tuple[str, ...], ...] = ()
    """Each is a key: no two rows share its values."""
    sorted_by: tuple[str, ...] = ()
    """The rows ascend by these columns; rows that tie are in an order that the description states."""
    dense: str | None = None
    """A column that counts the rows: 0, 1, 2, …"""

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns)

    @property
    def dtypes(self) -> dict[str, pl.DataType]:
        """Column names and types, in order: what `pl.DataFrame(schema=…)` takes."""
        return {column.name: column.dtype for column in self.columns}

    def empty(self) -> pl.DataFrame:
        """The table without rows."""
        return pl.DataFrame(schema=self.dtypes)

    def column(self, name: str) -> Column:
        """The column of this name.

        Raises:
            KeyError: the table has no such column.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"{self.name} has no column {name}; it has {', '.join(c.name for c in self.columns)}.")


class SchemaError(ValueError):
    """A table breaks its contract; nothing of it was published."""


def validate(table: pl.DataFrame | pl.LazyFrame, schema: TableSchema, *, chunk_rows: int = CHUNK_ROWS) -> int:
    """Raises unless `table` keeps the contract `schema`: columns, types, missing values, ranges, keys and order.

    The table is looked at in chunks; what is said of a broken one does not depend on their size.

    >>> items = pl.DataFrame({"item_id": [0], "item": ["i7"], "title": [""], "category": [None], "text": [None]})
    >>> dtypes = SCHEMAS["items"].dtypes
    >>> validate(items.cast(dtypes), SCHEMAS["items"])  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    ...
    assets.lake.validate.SchemaError: items.title must have at least 1 characters, got '' in row 0 (1 of 1 rows). ...

    Returns:
        The number of rows.

    Raises:
        SchemaError: it does not; the message names table, column, row, value and remedy.
    """
    _refuse_other_columns(table.collect_schema(), schema)
    if isinstance(table, pl.DataFrame):
        chunks = table.iter_slices(chunk_rows)
    else:
        chunks = table.collect_batches(chunk_size=chunk_rows, maintain_order=True)
    judges = [
        *(_ColumnJudge(schema, column) for column in schema.columns),
        _OrderJudge(schema),  # before the keys, of which some trust the order
        *(_KeyJudge(schema, key) for key in schema.unique),
    ]
    n_rows = 0
    for chunk in chunks:
        for judge in judges:
            judge.look_at(chunk, n_rows)
        n_rows += chunk.height
    for judge in judges:
        judge.decide(n_rows)
    return n_rows


def _refuse_other_columns(found: pl.Schema, schema: TableSchema) -> None:
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
        if found[column.name] != column.dtype:
            raise SchemaError(
                f"{schema.name}.{column.name} must be {column.dtype}, got {found[column.name]}. "
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

    def __init__(self, schema: TableSchema, column: Column) -> None:
        self.where, self.column = (schema.name, column.name), column
        self.is_list = isinstance(column.dtype, pl.List)
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
        remedy = _REMEDIES.get(self.where, "Correct the step that makes this table; its rows are unusable.")
        for wanted, offence in self.offences.items():
            if offence is not None:
                of = self.n_elements if offence.unit == "elements" else n_rows
                raise SchemaError(
                    f"{'.'.join(self.where)} must {wanted}, got {_shown(offence.value)} in row {offence.row} "
                    f"({offence.count:,} of {of:,} {offence.unit}). {remedy}"
                )


class _KeyJudge:
    """Looks for rows that share a key. It keeps all keys; of rows that ascend by the first column, its last value."""

    def __init__(self, schema: TableSchema, key: tuple[str, ...]) -> None:
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

    def __init__(self, schema: TableSchema) -> None:
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


def _value_dtype(column: Column) -> pl.DataType:
    inner = column.dtype.inner if isinstance(column.dtype, pl.List) else column.dtype
    return inner if isinstance(inner, pl.DataType) else inner()


def _shown(value: Any) -> str:
    if isinstance(value, pl.Series):
        value = value.to_list()
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _id(name: str, description: str, *, nullable: bool = False) -> Column:
    return Column(name, pl.Int32(), description, nullable=nullable, minimum=0)


def _text(name: str, description: str, *, nullable: bool = False) -> Column:
    return Column(name, pl.String(), description, nullable=nullable, min_length=1)


def _table(
    name: str,
    description: str,
    columns: Sequence[Column],
    *,
    unique: Sequence[tuple[str, ...]] = (),
    sorted_by: tuple[str, ...] = (),
    dense: str | None = None,
) -> TableSchema:
    return TableSchema(name, description, tuple(columns), tuple(unique), sorted_by, dense)


USER_ID = _id("user_id", "The user, as a dense id of this data set; `users` maps it back.")
ITEM_ID = _id("item_id", "The item, as a dense id of this data set; `items` maps it back.")
ROW_ID = _id("row_id", "The row of `histories`: one history and its target.")
SPLIT = Column("split", pl.String(), "What the row is for: train, validation or test.", accepted=SPLITS)
FILE = _text("file", "The raw file, relative to the data set's folder; an archive's member follows its name.")
LINE = Column("line", pl.Int64(), "The line in that file, from 1.", minimum=1)
WEIGHT = Column("weight", pl.Float32(), "Strength of the interaction: a rating, a play count, or 1.")

_TABLES = (
    _table(
        "raw_interactions",
        "Every interaction that the publisher's files hold and that could be read, typed; nothing is deduplicated yet.",
        (
            _text("user", "The publisher's id of the user."),
            _text("item", "The publisher's id of the item."),
            Column("at", UTC, "When it happened (UTC); missing throughout for a log without time.", nullable=True),
            Column(
                "position",
                pl.Int64(),
                "The publisher's order within a user's sequence, for a log with an order but no time.",
                nullable=True,
            ),
            WEIGHT,
            _text("event", "Type of event, as published; missing for a log of one kind of event.", nullable=True),
            FILE,
            LINE,
        ),
    ),
    _table(
        "raw_items",
        "The publisher's catalogue: a text for every item, also for items nobody touched.",
        (
            _text("item", "The publisher's id of the item."),
            _text("title", "The item's title, as published."),
            _text("category", "Genre or department; several are separated by '|'.", nullable=True),
            _text("text", "A description, as published.", nullable=True),
        ),
        unique=(("item",),),
    ),
    _table(
        "paper_rows",
        "The rows of a benchmark that publishes them, with raw ids: histories, targets, and candidate lists if it has "
        "them. Empty for a log.",
        (
            SPLIT,
            _text("user", "The publisher's id of the user; of a sequence, where users have none."),
            Column("position", pl.Int64(), "Place of the target in the user's sequence, from 0.", minimum=1),
            Column("history", pl.List(pl.String), "Items just before the target, oldest first.", min_length=1),
            _text("target", "The item that followed."),
            Column(
                "candidates",
                pl.List(pl.String),
                "The publisher's candidate list, in its order.",
                nullable=True,
                min_length=2,
                distinct=True,
            ),
            FILE,
            LINE,
        ),
        unique=(("split", "user", "position"),),
    ),
    _table(
        "quarantine",
        "Lines of the raw files that could not be used, and why. Nothing is dropped silently.",
        (
            FILE,
            LINE,
            _text("reason", "What is wrong with the line, in words."),
            Column("text", pl.String(), "The line itself; a long one is cut."),
        ),
    ),
    _table(
        "interactions",
        "Who interacted with what, when: deduplicated, in a k-core, each with its split. A user's rows are in "
        "chronological order: by time, then the publisher's position, then as `cleaning.ties` says.",
        (
            USER_ID,
            ITEM_ID,
            Column("at", UTC, "When it happened (UTC); missing throughout for a log without time.", nullable=True),
            WEIGHT,
            SPLIT,
        ),
        sorted_by=("user_id", "at"),
    ),
    _table(
        "users",
        "The users that cleaning kept, sorted by the publisher's id.",
        (USER_ID, _text("user", "The publisher's id of the user.")),
        unique=(("user",),),
        dense="user_id",
    ),
    _table(
        "items",
        "The catalogue: the items that cleaning kept, sorted by the publisher's id.",
        (
            ITEM_ID,
            _text("item", "The publisher's id of the item."),
            _text("title", "The item's title, as published."),
            _text("category", "Genre or department; several are separated by '|'.", nullable=True),
            _text("text", "A description, as published.", nullable=True),
        ),
        unique=(("item",),),
        dense="item_id",
    ),
    _table(
        "splits",
        "What each split holds.",
        (
            SPLIT,
            Column("interactions", pl.Int64(), "Interactions in the split.", minimum=0),
            Column("users", pl.Int64(), "Users with an interaction in the split.", minimum=0),
            Column("items", pl.Int64(), "Items with an interaction in the split.", minimum=0),
            Column("first_at", UTC, "Time of the split's first interaction (UTC).", nullable=True),
            Column("last_at", UTC, "Time of the split's last interaction (UTC).", nullable=True),
        ),
        unique=(("split",),),
    ),
    _table(
        "histories",
        "What a model learns from and is asked: the items before a target, and the target. Train rows first, then "
        "validation, then test; within a split by user, then chronologically.",
        (
            ROW_ID,
            USER_ID,
            SPLIT,
            Column(
                "history", pl.List(pl.Int32), "Items strictly before the target, oldest first.", minimum=0, min_length=1
            ),
            _id("target", "The item that followed."),
        ),
        dense="row_id",
    ),
    _table(
        "candidate_sets",
        "The choice each validation and test row is asked to make.",
        (
            ROW_ID,
            Column(
                "candidates",
                pl.List(pl.Int32),
                "The target once, among items the user never touched in any split; shuffled.",
                minimum=0,
                min_length=2,
                distinct=True,
            ),
        ),
        unique=(("row_id",),),
        sorted_by=("row_id",),
    ),
    _table(
        "mined_negatives",
        "The pool of negatives of each train row, scored by one policy and shared by every experiment that starts "
        "from it. Ordered by row, miner, then place. An item is there once for each miner that found it.",
        (
            ROW_ID,
            ITEM_ID,
            Column("logp", pl.Float32(), "Log-probability of the item given the history, in nats.", maximum=1e-3),
            Column(
                "rank",
                pl.Int32(),
                "1 is the most likely of the items that the user did not touch in train.",
                minimum=1,
            ),
            Column("margin", pl.Float32(), "Log-probability of the chosen item minus this one's, in nats."),
            Column("on_boundary", pl.Boolean(), "Whether it lies on the policy's decision boundary."),
            Column("miner", pl.String(), "What put it into the pool.", accepted=MINERS),
            Column("place", pl.Int32(), "1 is the first its miner found: by rank, or as drawn.", minimum=1),
            Column("round", pl.Int32(), "Mining round; 0 is mined by the starting policy.", minimum=0),
            _text("policy", "The policy that scored it."),
        ),
        unique=(("row_id", "miner", "item_id"),),
        sorted_by=("row_id", "miner", "place"),
    ),
    _table(
        "preference_rows",
        "What a preference experiment trains on: the target as chosen, against negatives of the row's pool.",
        (
            ROW_ID,
            _id("chosen", "The item that followed the history."),
            Column(
                "rejected",
                pl.List(pl.Int32),
                "Negatives, as many as the experiment asks; fewer when the pool is short.",
                minimum=0,
                distinct=True,
            ),
        ),
        unique=(("row_id",),),
        sorted_by=("row_id",),
    ),
    _table(
        "reference_logps",
        "Log-probabilities of every chosen and rejected item under the reference policy, computed once.",
        (
            ROW_ID,
            ITEM_ID,
            Column("logp", pl.Float32(), "Sum over the completion's tokens, in nats.", maximum=1e-3),
            Column("tokens", pl.Int32(), "Length of the completion in tokens.", minimum=1),
        ),
        unique=(("row_id", "item_id"),),
    ),
    _table(
        "predictions",
        "How a policy ranks the items for each validation and test row, on each protocol.",
        (
            ROW_ID,
            Column(
                "protocol",
                pl.String(),
                "of_<n>: the n candidates; full: the whole catalogue without the row's history.",
                pattern=r"^(full|of_[0-9]+)$",
            ),
            Column("items", pl.List(pl.Int32), "Items, best first.", minimum=0, min_length=1, distinct=True),
            Column("scores", pl.List(pl.Float32), "Their scores."),
            Column("target_rank", pl.Int32(), "1 is best; on ties the target comes last.", minimum=1),
        ),
        unique=(("row_id", "protocol"),),
    ),
    _table(
        "metrics",
        "One number for each row, protocol and metric; means and intervals are made from these.",
        (
            ROW_ID,
            USER_ID,
            SPLIT,
            Column("protocol", pl.String(), "of_<n> or full.", pattern=r"^(full|of_[0-9]+)$"),
            _text("metric", "The metric's name, which carries its protocol."),
            Column("value", pl.Float64(), "The row's value.", minimum=0),
        ),
        unique=(("row_id", "metric"),),
    ),
)

SCHEMAS: dict[str, TableSchema] = {schema.name: schema for schema in _TABLES}
"""Every table by name."""

_REMEDIES = {
    ("raw_items", "title"): "Give every item a title; a source without titles repeats the item's id.",
    ("items", "title"): "Give every item a title; a source without titles repeats the item's id.",
    ("raw_interactions", "weight"): "A source quarantines such lines; a log without weights has 1.",
    ("histories", "history"): "A row needs at least one item before its target.",
    ("reference_logps", "logp"): "Minus infinity means never computed; score the row again.",
}
