"""The rows of a mapped table: each column typed, and every row that cannot be used set aside with its reason."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from assets.lake.validate import SCHEMAS
from assets.sources.chunks import Chunk
from assets.sources.contract import UnusableSource
from assets.sources.files import RawFile
from assets.sources.times import parsed
from contracts.config.dataset import ItemFiles, TabularSource, TimeColumn, WeightColumn

_ENOUGH = 1_000  # rows after which a file of which most are unusable is given up
_LONGEST_ID = 200
_LONGEST_TEXT = 100_000
_LARGEST = 3.4e38  # what a Float32 holds


@dataclass(frozen=True)
class Mapped:
    """A column of the raw table, as one chunk of a file gives it."""

    values: pl.Series
    is_broken: pl.Series
    """Which rows cannot be used because of it."""
    reason: str
    """What must hold of the file's column."""


class BadRows:
    """The quarantine of one file; gives the file up when too much of it is unusable."""

    def __init__(self, file: RawFile, max_share: float) -> None:
        self.file, self.max_share = file, max_share
        self.n_rows = self.n_bad = 0
        self._rows: list[pl.DataFrame] = []

    def set_aside(self, chunk: Chunk, mapped: Mapping[str, Mapped]) -> pl.DataFrame:
        """The usable rows of a chunk as `mapped` has them, with file and line; the others are kept with their reason.

        Raises:
            UnusableSource: most of the file's first rows are unusable.
        """
        lines = chunk.records["line"]
        first_broken = pl.coalesce(
            *(pl.when(column.is_broken).then(pl.lit(column.reason)) for column in mapped.values()),
            pl.lit(None, pl.String),
        )
        reasons = lines.to_frame().select(first_broken.alias("reason")).to_series()
        places = reasons.is_not_null().arg_true()
        broken = pl.DataFrame(
            {"line": lines.gather(places), "reason": reasons.gather(places), "text": [chunk.text(p) for p in places]},
            schema_overrides={"text": pl.String},
        )
        self._rows += [chunk.bad, broken]
        self.n_rows += lines.len() + chunk.bad.height
        self.n_bad += chunk.bad.height + broken.height
        if self.n_rows > _ENOUGH and self.n_bad > max(0.5, self.max_share) * self.n_rows:
            self._refuse(f"of the first {self.n_rows:,}")
        columns = [column.values.alias(name) for name, column in mapped.items()]
        return pl.DataFrame([*columns, lines]).filter(reasons.is_null()).with_columns(file=pl.lit(self.file.name))

    def table(self) -> pl.DataFrame:
        """The file's part of the table `quarantine`.

        Raises:
            UnusableSource: the file has no row, or more than `max_share` of its rows are unusable.
        """
        if self.n_rows == 0:
            raise UnusableSource(
                f"{self.file.name} must hold rows, got a header and nothing else. Bring its rows, or take it away."
            )
        if self.n_bad > self.max_share * self.n_rows:
            self._refuse(f"of {self.n_rows:,}")
        return self._sorted().select(list(SCHEMAS["quarantine"].dtypes))

    def _sorted(self) -> pl.DataFrame:
        return pl.concat(self._rows).with_columns(file=pl.lit(self.file.name)).sort("line", maintain_order=True)

    def _refuse(self, of: str) -> None:
        first = self._sorted().row(0, named=True)
        raise UnusableSource(
            f"{self.file.name} must have at most {self.max_share:.0%} unusable rows, got {self.n_bad:,} {of}. First: "
            f"line {first['line']:,}, {first['reason']} ({first['text']!r}). Correct the mapping or the file, "
            "or raise max_quarantined_share."
        )


def mapped_log(
    config: TabularSource, records: pl.DataFrame, listed: pl.Series | None, now: datetime
) -> dict[str, Mapped]:
    """The columns of `raw_interactions` but for file and line.

    Args:
        config: the mapping.
        records: the mapped columns of one chunk.
        listed: items of the catalogue, when an interaction with another one is to be set aside.
        now: what lies more than a day after this is in the future.
    """
    n = records.height
    item = _id(records, config.item)
    columns = {
        "user": _id(records, config.user),
        "item": item,
        "at": _nothing(n, SCHEMAS["raw_interactions"].dtypes["at"]),
        "position": _nothing(n, pl.Int64()),
        "weight": _fine(pl.Series([1.0], dtype=pl.Float32).new_from_index(0, n)),
        "event": _nothing(n, pl.String()),
    }
    if config.time is not None:
        columns["at"] = _time(records, config.time, now)
    if config.position is not None:
        columns["position"] = _position(records, config.position)
    if config.weight is not None:
        columns["weight"] = _weight(records, config.weight)
    if config.event is not None:
        columns["event"] = _id(records, config.event)
    if listed is not None and config.items is not None:
        is_unlisted = ~item.values.is_in(listed.implode())
        reason = f"column '{config.item}' must be an item with a usable line in {config.items.path}"
        columns["unlisted"] = Mapped(is_unlisted, is_unlisted.fill_null(False), reason)
    return columns


def mapped_items(config: ItemFiles, records: pl.DataFrame, known: pl.Series) -> dict[str, Mapped]:
    """The columns of `raw_items`; a line of an item that is `known`, or stands earlier in `records`, is broken."""
    item = _id(records, config.item)
    is_repeat = item.values.is_in(known.implode()).fill_null(False) | ~item.values.is_first_distinct()
    columns = {"item": item, "title": _text(records, config.title, needed=True)}
    for name, column in (("category", config.category), ("text", config.text)):
        is_mapped = column is not None
        columns[name] = _text(records, column, needed=False) if is_mapped else _nothing(records.height, pl.String())
    reason = f"column '{config.item}' is an item that was listed before; its first line counts"
    return {**columns, "repeat": Mapped(is_repeat, is_repeat, reason)}


def _fine(values: pl.Series) -> Mapped:
    return Mapped(values, pl.Series([False]).new_from_index(0, values.len()), "")


def _nothing(n: int, dtype: pl.DataType) -> Mapped:
    return _fine(pl.Series([None], dtype=dtype).new_from_index(0, n))


def _id(records: pl.DataFrame, column: str) -> Mapped:
    values = _as_text(records[column])
    is_right = values.str.len_chars().is_between(1, _LONGEST_ID).fill_null(False)
    return Mapped(values, ~is_right, f"column '{column}' must be 1 to {_LONGEST_ID} characters")


def _as_text(values: pl.Series) -> pl.Series:
    """Text; a whole number that was stored as a float, as pandas does beside a missing one, loses its '.0'."""
    if values.dtype.is_float():
        is_whole = (values.round() == values) & (values.abs() < 2**53)
        values = values.set(~is_whole.fill_null(False), None).cast(pl.Int64)
    return values.cast(pl.String, strict=False).str.strip_chars()


def _time(records: pl.DataFrame, time: TimeColumn, now: datetime) -> Mapped:
    at = parsed(records[time.column], time)
    is_future = (at > now + timedelta(days=1)).fill_null(False)
    reason = f"column '{time.column}' must be a time, format {time.format}, not in the future"
    return Mapped(at, at.is_null() | is_future, reason)


def _position(records: pl.DataFrame, column: str) -> Mapped:
    values = _as_text(records[column]).cast(pl.Int64, strict=False)
    return Mapped(values, values.is_null(), f"column '{column}' must be a whole number")


def _weight(records: pl.DataFrame, weight: WeightColumn) -> Mapped:
    values = records[weight.column]
    values = (values.str.strip_chars() if values.dtype == pl.String else values).cast(pl.Float64, strict=False)
    least = -_LARGEST if weight.minimum is None else weight.minimum
    most = _LARGEST if weight.maximum is None else weight.maximum
    is_right = (values.is_finite() & values.is_between(least, most)).fill_null(False)
    reason = f"column '{weight.column}' must be a number from {least:g} to {most:g}"
    return Mapped(values.set(~is_right, None).cast(pl.Float32), ~is_right, reason)


def _text(records: pl.DataFrame, column: str, *, needed: bool) -> Mapped:
    values = _as_text(records[column])
    lengths = values.str.len_chars().fill_null(0)
    is_broken = (lengths > _LONGEST_TEXT) | ((lengths == 0) & needed)
    reason = f"column '{column}' must be {1 if needed else 0} to {_LONGEST_TEXT:,} characters"
    return Mapped(values.set(lengths == 0, None), is_broken, reason)
