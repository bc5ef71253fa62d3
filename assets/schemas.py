"""One vocabulary of tables and columns: types, nullability, ranges, keys and order, enforced at every published table.

`SCHEMAS` is the data contract; `validate` enforces it with one line that names table, column, row, value and remedy.
Imports polars alone, so that whatever shows the contract (a data catalogue, the documentation) is made from it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

UTC = pl.Datetime("us", "UTC")
SPLITS = ("train", "validation", "test")
MINERS = ("hardest", "uniform")
INT32_MAX = 2**31 - 1


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


def validate(table: pl.DataFrame, schema: TableSchema) -> None:
    """Raises unless `table` keeps the contract `schema`: columns, types, missing values, ranges, keys and order.

    >>> items = pl.DataFrame({"item_id": [0], "item": ["i7"], "title": [""], "category": [None]})
    >>> dtypes = SCHEMAS["items"].dtypes
    >>> validate(items.cast(dtypes), SCHEMAS["items"])  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    ...
    assets.schemas.SchemaError: items.title must have at least 1 characters, got '' in row 0 (1 of 1 rows). ...

    Raises:
        SchemaError: it does not; the message names table, column, row, value and remedy.
    """
    wanted = [column.name for column in schema.columns]
    if table.columns != wanted:
        missing = [name for name in wanted if name not in table.columns]
        extra = [name for name in table.columns if name not in wanted]
        parts = [f"missing {', '.join(missing)}"] * bool(missing) + [f"unknown {', '.join(extra)}"] * bool(extra)
        raise SchemaError(
            f"{schema.name} must have the columns {', '.join(wanted)}, got {', '.join(table.columns) or 'none'} "
            f"({'; '.join(parts) or 'in another order'}). Select exactly these, in this order."
        )
    for column in schema.columns:
        dtype = table.schema[column.name]
        if dtype != column.dtype:
            raise SchemaError(
                f"{schema.name}.{column.name} must be {column.dtype}, got {dtype}. Cast it where the table is made."
            )
    for column in schema.columns:
        _validate_column(table, schema, column)
    for key in schema.unique:
        _validate_key(table, schema, key)
    _validate_order(table, schema)


def _validate_column(table: pl.DataFrame, schema: TableSchema, column: Column) -> None:
    values = table[column.name]
    where = f"{schema.name}.{column.name}"
    remedy = _REMEDIES.get((schema.name, column.name), "Correct the step that makes this table; its rows are unusable.")

    def refuse(bad: pl.Series, wanted: str) -> None:
        bad = bad.fill_null(False)
        if bad.any():
            row = bad.arg_true()[0]
            raise SchemaError(
                f"{where} must {wanted}, got {_shown(values[row])} in row {row} "
                f"({bad.sum():,} of {table.height:,} rows). {remedy}"
            )

    if not column.nullable:
        refuse(values.is_null(), "never be missing")
    is_list = isinstance(column.dtype, pl.List)
    if column.min_length is not None:
        lengths, unit = (values.list.len(), "elements") if is_list else (values.str.len_chars(), "characters")
        refuse(lengths < column.min_length, f"have at least {column.min_length} {unit}")
    if column.distinct:
        refuse(values.list.n_unique() != values.list.len(), "hold no element twice")

    # Elements are checked flat, and a row is looked for only when one is wrong: lists hold most of a table's memory.
    flat = values.drop_nulls().explode(empty_as_null=False) if is_list else values

    def refuse_elements(bad: pl.Series, wanted: str) -> None:
        if not is_list:
            refuse(bad, wanted)
        elif bad.fill_null(False).any():
            element = bad.fill_null(False).arg_true()[0]
            row = int((values.list.len().fill_null(0).cum_sum() <= element).sum())
            raise SchemaError(
                f"{where} must {wanted}, got {_shown(flat[element])} in row {row} "
                f"({bad.sum():,} of {flat.len():,} elements). {remedy}"
            )

    if is_list:
        refuse_elements(flat.is_null(), "hold no missing element")
    if flat.dtype.is_float():
        refuse_elements(~flat.is_finite(), "be a finite number")
    if column.minimum is not None:
        refuse_elements(flat < column.minimum, f"be at least {column.minimum:g}")
    if column.maximum is not None:
        refuse_elements(flat > column.maximum, f"be at most {column.maximum:g}")
    if column.accepted is not None:
        refuse_elements(~flat.is_in(list(column.accepted)), f"be one of {', '.join(column.accepted)}")
    if column.pattern is not None:
        refuse_elements(~flat.str.contains(column.pattern), f"match {column.pattern}")


def _validate_key(table: pl.DataFrame, schema: TableSchema, key: tuple[str, ...]) -> None:
    packed = table.select(_packed(table, key)).to_series()
    if packed.n_unique() < table.height:
        repeated = packed.is_duplicated()
        row = repeated.arg_true()[0]
        value = ", ".join(f"{name}={_shown(table[name][row])}" for name in key)
        raise SchemaError(
            f"{schema.name} must have one row for each {', '.join(key)}, got {value} more than once, "
            f"first in row {row} ({repeated.sum():,} of {table.height:,} rows). Drop the repeats where it is made."
        )


def _packed(table: pl.DataFrame, key: tuple[str, ...]) -> pl.Expr:
    """One value for each combination; two int32 fit one int64, whose uniqueness is found faster than a struct's."""
    if len(key) == 2 and all(table.schema[name] == pl.Int32 for name in key):
        first, second = (pl.col(name).cast(pl.Int64) for name in key)
        return first * 2**32 + second
    return pl.struct(key).alias("key")


def _validate_order(table: pl.DataFrame, schema: TableSchema) -> None:
    if schema.dense is not None:
        wrong = (table[schema.dense].cast(pl.Int64) != pl.int_range(table.height, eager=True)).arg_true()
        if wrong.len():
            row = wrong[0]
            raise SchemaError(
                f"{schema.name}.{schema.dense} must count the rows from 0, got {table[schema.dense][row]} "
                f"in row {row}. Number the rows after the last filter."
            )
    if schema.sorted_by and table.height > 1:
        falls = pl.lit(False)
        ties = pl.lit(True)
        for name in schema.sorted_by:
            falls = falls | (ties & (pl.col(name) < pl.col(name).shift(1)))
            ties = ties & (pl.col(name) == pl.col(name).shift(1))
        wrong = table.select(falls.fill_null(False)).to_series()
        if wrong.any():
            row = wrong.arg_true()[0]
            got, before = (_shown(table.select(schema.sorted_by).row(place)) for place in (row, row - 1))
            raise SchemaError(
                f"{schema.name} must ascend by {', '.join(schema.sorted_by)}, got {got} after {before} in row {row}. "
                "Sort it where it is made."
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
            WEIGHT,
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
        ),
        unique=(("item",),),
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
        "chronological order; rows of the same microsecond are ordered by a hash of seed, user and item.",
        (
            USER_ID,
            ITEM_ID,
            Column("at", UTC, "When it happened (UTC)."),
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
        "from it. Ordered by row, miner (hardest first), then rank or draw.",
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
            Column("round", pl.Int32(), "Mining round; 0 is mined by the starting policy.", minimum=0),
            _text("policy", "The policy that scored it."),
        ),
        unique=(("row_id", "item_id"),),
        sorted_by=("row_id", "miner"),
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
    ("interactions", "at"): "A log without time cannot be split chronologically.",
    ("histories", "history"): "A row needs at least one item before its target.",
    ("reference_logps", "logp"): "Minus infinity means never computed; score the row again.",
}
