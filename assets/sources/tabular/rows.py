"""What a user's mapping makes of the columns of a file."""

from datetime import datetime, timedelta

import polars as pl

from assets.sources.reader.columns import (
    Mapped,
    Row,
    Rule,
    identifier,
    item_row,
    log_row,
    number,
    optional,
    rule,
    unlisted,
    whole_number,
    words,
)
from assets.sources.reader.times import in_another_unit, parsed
from contracts.config.sources import ItemFiles, TabularSource, TimeColumn


def mapped_log(config: TabularSource, records: pl.DataFrame, listed: pl.Series | None, now: datetime) -> Row:
    """The columns of `raw_interactions` but for file and line.

    Args:
        config: the mapping.
        records: the mapped columns of one chunk.
        listed: items of the catalogue, when an interaction with another one is to be set aside.
        now: what lies more than a day after this is in the future.
    """
    item = _id(records, config.item)
    columns: dict[str, Mapped | Rule] = {"user": _id(records, config.user), "item": item}
    if config.time is not None:
        columns["at"] = at = _time(records, config.time, now)
        is_other = in_another_unit(records[config.time.column], at.values, config.time, now)
        reason = f"column '{config.time.column}' must be {config.time.format} as elsewhere, not 0 or in another unit"
        columns["unit"] = rule(is_other, reason)
    if config.position is not None:
        columns["position"] = whole_number(records[config.position], f"column '{config.position}'")
    if config.weight is not None:
        weight = config.weight
        columns["weight"] = number(
            records[weight.column],
            f"column '{weight.column}'",
            weight.minimum,
            weight.maximum,
            decimal=config.decimal,
        )
    if config.event is not None:
        columns["event"] = optional(_id(records, config.event))
    if listed is not None and config.items is not None:
        reason = f"column '{config.item}' must be an item with a usable line in {config.items.path}"
        if listed.len():
            reason += f", such as {listed[0]}"
        columns["unlisted"] = unlisted(item, listed, reason)
    return log_row(records.height, columns)


def mapped_items(config: ItemFiles, records: pl.DataFrame) -> Row:
    """The columns of `raw_items`."""
    columns = {"item": _id(records, config.item), "title": _words(records, config.title, needed=True)}
    for name, column in (("category", config.category), ("text", config.text)):
        if column is not None:
            columns[name] = _words(records, column, needed=False)
    return item_row(records.height, columns)


def _id(records: pl.DataFrame, column: str) -> Mapped:
    return identifier(records[column], f"column '{column}'")


def _words(records: pl.DataFrame, column: str, *, needed: bool) -> Mapped:
    return words(records[column], f"column '{column}'", needed=needed)


def _time(records: pl.DataFrame, time: TimeColumn, now: datetime) -> Mapped:
    at = parsed(records[time.column], time)
    is_future = (at > now + timedelta(days=1)).fill_null(False)
    reason = f"column '{time.column}' must be a time, format {time.format}, not in the future"
    return Mapped(at, at.is_null() | is_future, reason)
