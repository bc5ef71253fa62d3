"""Every table that the rooms exchange, as data: columns, types, rules, keys, order, and what they mean.

Types are names of our own, because neither polars nor pyarrow is in every room: `evaluation.schemas` turns them into
polars types, `training.io.writers` into Arrow schemas. `assets.lake.validate` holds tables to what is written here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from contracts.words import MINERS, PROTOCOL, SPLITS

Type = Literal[
    "bool",
    "int32",
    "int64",
    "float32",
    "float64",
    "string",
    "timestamp[us, UTC]",
    "list[int32]",
    "list[float32]",
    "list[string]",
]

REMEDY = "Correct the step that makes this table; its rows are unusable."


@dataclass(frozen=True)
class Column:
    """One column. `minimum`, `maximum` and `accepted` speak of the values, or of each element where these are lists."""

    name: str
    type: Type
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
    remedy: str = REMEDY
    """What a person does about values that break a rule."""

    @property
    def is_list(self) -> bool:
        """Whether each value is a list."""
        return self.type.startswith("list[")

    @property
    def value_type(self) -> str:
        """The type of a value, or of each element of a list."""
        return self.type.removeprefix("list[").removesuffix("]") if self.is_list else self.type

    def rules(self) -> list[str]:
        """What must hold of the column beyond its type, in words."""
        each = "each element is " if self.is_list else ""
        rules = [] if self.nullable else ["never missing"]
        if self.value_type.startswith("float"):
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
class Table:
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

    def column(self, name: str) -> Column:
        """The column of this name.

        Raises:
            KeyError: the table has no such column.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"{self.name} has no column {name}; it has {', '.join(c.name for c in self.columns)}.")


_TITLE_REMEDY = "Give every item a title; a source without titles repeats the item's id."


def _id(name: str, description: str, *, nullable: bool = False) -> Column:
    return Column(name, "int32", description, nullable=nullable, minimum=0)


def _text(name: str, description: str, *, nullable: bool = False, remedy: str = REMEDY) -> Column:
    return Column(name, "string", description, nullable=nullable, min_length=1, remedy=remedy)


def _table(
    name: str,
    description: str,
    columns: Sequence[Column],
    *,
    unique: Sequence[tuple[str, ...]] = (),
    sorted_by: tuple[str, ...] = (),
    dense: str | None = None,
) -> Table:
    return Table(name, description, tuple(columns), tuple(unique), sorted_by, dense)


USER_ID = _id("user_id", "The user, as a dense id of this data set; `users` maps it back.")
ITEM_ID = _id("item_id", "The item, as a dense id of this data set; `items` maps it back.")
ROW_ID = _id("row_id", "The row of `histories`: one history and its target.")
AT = Column(
    "at", "timestamp[us, UTC]", "When it happened (UTC); missing throughout for a log without time.", nullable=True
)
SPLIT = Column("split", "string", "What the row is for: train, validation or test.", accepted=SPLITS)
FILE = _text("file", "The raw file, relative to the data set's folder; an archive's member follows its name.")
LINE = Column("line", "int64", "The line in that file, from 1.", minimum=1)
WEIGHT = Column("weight", "float32", "Strength of the interaction: a rating, a play count, or 1.")

_TABLES = (
    _table(
        "raw_interactions",
        "Every interaction that the publisher's files hold and that could be read, typed; nothing is deduplicated yet.",
        (
            _text("user", "The publisher's id of the user."),
            _text("item", "The publisher's id of the item."),
            AT,
            Column(
                "position",
                "int64",
                "The publisher's order within a user's sequence, for a log with an order but no time.",
                nullable=True,
            ),
            replace(WEIGHT, remedy="A source quarantines such lines; a log without weights has 1."),
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
            _text("title", "The item's title, as published.", remedy=_TITLE_REMEDY),
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
            Column("position", "int64", "Place of the target in the user's sequence, from 0.", minimum=1),
            Column("history", "list[string]", "Items just before the target, oldest first.", min_length=1),
            _text("target", "The item that followed."),
            Column(
                "candidates",
                "list[string]",
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
            Column("text", "string", "The line itself; a long one is cut."),
        ),
    ),
    _table(
        "interactions",
        "Who interacted with what, when: deduplicated, in a k-core, each with its split. A user's rows are in "
        "chronological order: by time, then the publisher's position, then as `cleaning.ties` says.",
        (
            USER_ID,
            ITEM_ID,
            AT,
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
            _text("title", "The item's title, as published.", remedy=_TITLE_REMEDY),
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
            Column("interactions", "int64", "Interactions in the split.", minimum=0),
            Column("users", "int64", "Users with an interaction in the split.", minimum=0),
            Column("items", "int64", "Items with an interaction in the split.", minimum=0),
            Column("first_at", "timestamp[us, UTC]", "Time of the split's first interaction (UTC).", nullable=True),
            Column("last_at", "timestamp[us, UTC]", "Time of the split's last interaction (UTC).", nullable=True),
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
                "history",
                "list[int32]",
                "Items strictly before the target, oldest first.",
                minimum=0,
                min_length=1,
                remedy="A row needs at least one item before its target.",
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
                "list[int32]",
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
            Column("logp", "float32", "Log-probability of the item given the history, in nats.", maximum=1e-3),
            Column(
                "rank",
                "int32",
                "1 is the most likely of the items that the user did not touch in train.",
                minimum=1,
            ),
            Column("margin", "float32", "Log-probability of the chosen item minus this one's, in nats."),
            Column("on_boundary", "bool", "Whether it lies on the policy's decision boundary."),
            Column("miner", "string", "What put it into the pool.", accepted=MINERS),
            Column("place", "int32", "1 is the first its miner found: by rank, or as drawn.", minimum=1),
            Column("round", "int32", "Mining round; 0 is mined by the starting policy.", minimum=0),
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
                "list[int32]",
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
            Column(
                "logp",
                "float32",
                "Sum over the completion's tokens, in nats.",
                maximum=1e-3,
                remedy="Minus infinity means never computed; score the row again.",
            ),
            Column("tokens", "int32", "Length of the completion in tokens.", minimum=1),
        ),
        unique=(("row_id", "item_id"),),
        sorted_by=("row_id",),
    ),
    _table(
        "predictions",
        "How a policy ranks the items for each validation and test row, on each protocol.",
        (
            ROW_ID,
            Column(
                "protocol",
                "string",
                "of_<n>: the n candidates; full: the whole catalogue without the row's history.",
                pattern=f"^({PROTOCOL})$",
            ),
            Column("items", "list[int32]", "Items, best first.", minimum=0, min_length=1, distinct=True),
            Column("scores", "list[float32]", "Their scores."),
            Column("target_rank", "int32", "1 is best; on ties the target comes last.", minimum=1),
        ),
        unique=(("row_id", "protocol"),),
        sorted_by=("row_id", "protocol"),
    ),
    _table(
        "metrics",
        "One number for each row, protocol and metric; means and intervals are made from these.",
        (
            ROW_ID,
            USER_ID,
            SPLIT,
            Column("protocol", "string", "of_<n> or full.", pattern=f"^({PROTOCOL})$"),
            _text("metric", "The metric's name, which carries its protocol."),
            Column("value", "float64", "The row's value.", minimum=0),
        ),
        unique=(("row_id", "metric"),),
    ),
)

TABLES: dict[str, Table] = {table.name: table for table in _TABLES}
"""Every table by name."""
