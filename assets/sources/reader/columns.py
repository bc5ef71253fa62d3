"""Columns of the raw tables, typed from what a file holds, each with the rows that it makes unusable and the reason.

A publisher's mapping and a user's own are built of these. `what` names the column in the reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from evaluation.schemas import UTC as UTC_TYPE
from evaluation.schemas import schema_of

_LONGEST_ID = 200
_LONGEST_TEXT = 100_000
_LARGEST = 3.4e38  # what a Float32 holds
_MICROSECONDS = 1_000_000


@dataclass(frozen=True)
class Mapped:
    """A column of a raw table, as one chunk of a file gives it."""

    values: pl.Series
    is_broken: pl.Series
    """Which rows cannot be used because of it; no row is missing."""
    reason: str
    """What must hold of the file's column."""


@dataclass(frozen=True)
class Rule:
    """What must hold of a row besides its columns."""

    is_broken: pl.Series
    reason: str


Row = Mapping[str, Mapped | Rule]
"""Column of a raw table → its values. A row's reason is that of the first column or rule that is broken."""


def log_row(n: int, given: Row) -> Row:
    """The columns of `raw_interactions` but for file and line; a log without weights gives every interaction 1."""
    dtypes = schema_of("raw_interactions")
    absent = {name: nothing(n, dtypes[name]) for name in ("at", "position", "event") if name not in given}
    weight = {} if "weight" in given else {"weight": constant(n, 1.0, pl.Float32())}
    return {**given, **absent, **weight}


def item_row(n: int, given: Row) -> Row:
    """The columns of `raw_items`; item and title must be given."""
    return {**given, **{name: nothing(n, pl.String()) for name in ("category", "text") if name not in given}}


def constant(n: int, value: float | str | None, dtype: pl.DataType) -> Mapped:
    """The same value in each of n rows."""
    return fine(pl.Series([value], dtype=dtype).new_from_index(0, n))


def nothing(n: int, dtype: pl.DataType) -> Mapped:
    """A column that the log does not have."""
    return constant(n, None, dtype)


def fine(values: pl.Series) -> Mapped:
    """Values that are all usable."""
    return Mapped(values, pl.Series([False]).new_from_index(0, values.len()), "")


def rule(is_broken: pl.Series, reason: str) -> Rule:
    """A rule about a row; where it is missing, the row is not broken."""
    return Rule(is_broken.fill_null(False), reason)


def as_text(values: pl.Series) -> pl.Series:
    """Text without spaces around it; a whole number that was stored as a float loses its '.0'."""
    if values.dtype.is_float():
        exact = 2**24 if values.dtype == pl.Float32 else 2**53
        is_whole = (values.round() == values) & (values.abs() < exact)
        values = values.set(~is_whole.fill_null(False), None).cast(pl.Int64)
    return values.cast(pl.String, strict=False).str.strip_chars()


def _by_value(values: pl.Series) -> pl.Series:
    """Text in which 1000 and 1000.0 are one number, whatever wrote them; 007 and 7 stay two.

    >>> _by_value(pl.Series(["1000.0", "1000", "-3.00", "007.0", "1.5", "v1.0"])).to_list()
    ['1000', '1000', '-3', '007.0', '1.5', 'v1.0']
    """
    texts = as_text(values)
    if texts.str.contains(".0", literal=True).any():
        texts = texts.str.replace(r"^(-?(?:0|[1-9][0-9]*))\.0+$", "$1")
    return texts


def identifier(values: pl.Series, what: str) -> Mapped:
    """Ids of users, items or types of event."""
    texts = _by_value(values)
    is_right = texts.str.len_chars().is_between(1, _LONGEST_ID) & ~texts.str.contains("\0", literal=True)
    return Mapped(texts, ~is_right.fill_null(False), f"{what} must be 1 to {_LONGEST_ID} characters")


def optional(column: Mapped) -> Mapped:
    """A column that a row may lack: what is empty is missing, and not broken."""
    is_empty = column.values.is_null() | (column.values == "").fill_null(True)
    return Mapped(column.values.set(is_empty, None), column.is_broken & ~is_empty, column.reason)


def words(values: pl.Series, what: str, *, needed: bool = False) -> Mapped:
    """Titles, categories and descriptions; an empty one is missing."""
    texts = as_text(values)
    lengths = texts.str.len_chars().fill_null(0)
    is_broken = (lengths > _LONGEST_TEXT) | ((lengths == 0) & needed)
    reason = f"{what} must be {1 if needed else 0} to {_LONGEST_TEXT:,} characters"
    return Mapped(texts.set(lengths == 0, None), is_broken, reason)


def number(
    values: pl.Series, what: str, least: float | None = None, most: float | None = None, *, decimal: str = "point"
) -> Mapped:
    """Weights: finite numbers between two limits, which belong to them.

    Args:
        values: as the file has them.
        what: names the column.
        least: the lower limit; none but that of Float32, when absent.
        most: the upper limit.
        decimal: comma for texts such as 1.234,5.
    """
    least, most = (-_LARGEST if least is None else least), (_LARGEST if most is None else most)
    reason = f"{what} must be a number from {least:g} to {most:g}"
    written = values.str.strip_chars() if values.dtype == pl.String else values
    if written.dtype == pl.String and decimal == "comma":
        written = written.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
    numbers = written.cast(pl.Float64, strict=False)
    is_right = (numbers.is_finite() & numbers.is_between(least, most)).fill_null(False)
    if written.dtype == pl.String and written.filter(~is_right).str.contains(r"^-?[0-9.]+,[0-9]+$").any():
        reason += " (a decimal comma needs decimal: comma)"
    return Mapped(numbers.set(~is_right, None).cast(pl.Float32), ~is_right, reason)


def whole_number(values: pl.Series, what: str) -> Mapped:
    """Positions."""
    numbers = _by_value(values).cast(pl.Int64, strict=False)
    return Mapped(numbers, numbers.is_null(), f"{what} must be a whole number")


def unix_time(values: pl.Series, *, per_second: int = 1, earliest: str = "1970-01-01") -> Mapped:
    """Times as a publisher counts them: whole seconds, or thousandths of them, since 1970, and not after now.

    Args:
        values: text.
        per_second: how often it counts in a second.
        earliest: the first day that can be true.
    """
    counted = values.cast(pl.Int64, strict=False)
    first = int(datetime.fromisoformat(earliest).replace(tzinfo=UTC).timestamp()) * per_second
    last = int(datetime.now(UTC).timestamp() * per_second)
    is_right = counted.is_between(first, last).fill_null(False)
    since = "" if earliest == "1970-01-01" else f" from {earliest},"
    unit = "seconds" if per_second == 1 else "milliseconds"
    micros = counted.set(~is_right, None) * (_MICROSECONDS // per_second)
    return Mapped(micros.cast(UTC_TYPE), ~is_right, f"time must be whole {unit} since 1970,{since} not in the future")


def unlisted(item: Mapped, listed: pl.Series, reason: str) -> Rule:
    """The rule that an interaction's item must be in a catalogue."""
    return rule(~item.values.is_in(listed.implode()), reason)
