"""The user's own log and catalogue, with their columns mapped: CSV, TSV, JSON lines or Parquet.

A log is read file by file, chunk by chunk: memory does not grow with it. Everything that is wrong with the files as
such (a column that is not there, an encoding, a unit of time) is found in their first lines, before the rest is read; a
row that is wrong goes into quarantine with its file, line and reason.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from assets.sources.contract import RawTables, SourceCard, UnusableSource
from assets.sources.files import RawFile
from assets.sources.reader.tables import Part, items_of_log, read_items, read_log, with_unlisted
from assets.sources.reader.text import Chunk
from assets.sources.reader.times import misread
from assets.sources.tabular.files import Opened, files_of, inspected
from assets.sources.tabular.noticed import Forms, strangers
from assets.sources.tabular.rows import mapped_items, mapped_log
from contracts.config.sources import ItemFiles, TableFiles, TabularSource
from evaluation.schemas import empty


def card(config: TabularSource) -> SourceCard:
    """What the configuration says of the data set."""
    files = config.path if config.items is None else f"{config.path} and {config.items.path}"
    return SourceCard(title=config.title, files=(files,), page=None, terms=config.terms)


def locate(config: TabularSource, folder: Path) -> list[RawFile]:
    """Each file of the log and the catalogue.

    Raises:
        MissingRawFile: a path matches no file.
        UnusableSource: a path leads out of `folder`.
    """
    tables: list[TableFiles] = [config] if config.items is None else [config, config.items]
    files = {file.name: file for table in tables for file in files_of(table, folder, card(config))}
    return [files[name] for name in sorted(files)]


def read(config: TabularSource, folder: Path, scratch: Path) -> RawTables:
    """The log and the catalogue; rows that cannot be used are in quarantine.

    Args:
        config: how the files' columns are mapped.
        folder: where they are.
        scratch: an empty folder for the Parquet files behind `interactions`.

    Raises:
        MissingRawFile: a path matches no file.
        UnusableSource: a file is not what the configuration says, or too many of its rows are unusable.
    """
    opened, without_rows = inspected(config, _log_columns(config), folder, card(config))
    items, bad_items, said = _catalogue(config, folder)
    listed = items["item"] if items is not None and config.items and config.items.unlisted == "quarantine" else None
    now = datetime.now(UTC)
    forms = Forms()
    parts = [
        Part(
            file.file.name,
            lambda file=file: _as_stated(config, file, now, forms),
            lambda records: mapped_log(config, records, listed, now),
        )
        for file in opened
    ]
    log = read_log(parts, config.max_quarantined_share, scratch)
    return RawTables(
        interactions=log.interactions,
        items=with_unlisted(items, log.items),
        quarantine=pl.concat([bad_items, log.quarantine]).sort("file", "line", maintain_order=True),
        notes=(
            *said,
            *_passed_over([*without_rows, *log.empty_files]),
            *forms.notes(),
            *strangers(config, items, log.items),
        ),
    )


def _passed_over(names: list[str]) -> list[str]:
    if not names:
        return []
    return [f"{len(names):,} files hold no row and were passed over, {names[0]} among them"]


def _as_stated(config: TabularSource, file: Opened, now: datetime, forms: Forms) -> Iterator[Chunk]:
    """The chunks of a file, whose first times are held against what the mapping says of them; `forms` sees the ids."""
    is_judged = config.time is None
    for chunk in file.chunks(tuple(dict.fromkeys(_log_columns(config)))):
        if config.time is not None and not is_judged and chunk.lines.len():
            problem = misread(chunk.records[config.time.column], config.time, now)
            if problem is not None:
                line = chunk.lines[chunk.lines.len() // 2]
                raise UnusableSource(f"{file.file.name}, near line {line:,}: column '{config.time.column}' {problem}")
            is_judged = True
        for column in (config.user, config.item):
            forms.look(column, chunk.records[column])
        yield chunk


def _catalogue(config: TabularSource, folder: Path) -> tuple[pl.DataFrame | None, pl.DataFrame, list[str]]:
    """The table `raw_items`, the lines of it that cannot be used, and what is worth saying of it."""
    if config.items is None:
        return None, empty("quarantine"), []
    table: ItemFiles = config.items
    columns = _item_columns(table)
    wanted = tuple(dict.fromkeys(columns))
    opened, without_rows = inspected(table, columns, folder, card(config))
    parts = [
        Part(file.file.name, lambda file=file: file.chunks(wanted), lambda records: mapped_items(table, records))
        for file in opened
    ]
    if table.path == config.path:
        items, n_differing = items_of_log(parts)
        said = f"{n_differing:,} items have several titles in the log; the most frequent one counts"
        return items, empty("quarantine"), [said] if n_differing else []
    repeated = f"column '{table.item}' is an item that was listed before; its first line counts"
    return *read_items(parts, config.max_quarantined_share, repeated=repeated), _passed_over(without_rows)


def _log_columns(config: TabularSource) -> list[str]:
    time, weight = config.time and config.time.column, config.weight and config.weight.column
    return [config.user, config.item, *filter(None, (time, config.position, weight, config.event))]


def _item_columns(config: ItemFiles) -> list[str]:
    return [config.item, config.title, *filter(None, (config.category, config.text))]
