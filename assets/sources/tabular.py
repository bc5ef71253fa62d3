"""The user's own log and catalogue, with their columns mapped: CSV, TSV, JSON lines or Parquet.

A log is read file by file, chunk by chunk: memory does not grow with it. Everything that is wrong with the files as
such (a column that is not there, an encoding, a unit of time) is found in their first lines, before the rest is read; a
row that is wrong goes into quarantine with its file, line and reason.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from assets.lake.validate import SCHEMAS
from assets.sources.contract import RawTables, SourceCard, UnusableSource
from assets.sources.files import RawFile
from assets.sources.tabular_files import Part, files_of, inspected
from assets.sources.tabular_rows import BadRows, mapped_items, mapped_log
from assets.sources.times import misread
from contracts.config.dataset import ItemFiles, TableFiles, TabularSource


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
    log = inspected(config, _log_columns(config), folder, card(config))
    items, bad_items = _catalogue(config, folder)
    bad, touched = _write_log(config, log, items, scratch)
    return RawTables(
        interactions=pl.scan_parquet(sorted(scratch.glob("log-*.parquet")), glob=False),
        items=_titled(items, touched),
        quarantine=pl.concat([bad_items, bad]).sort("file", "line", maintain_order=True),
    )


def _write_log(
    config: TabularSource, parts: Sequence[Part], items: pl.DataFrame | None, scratch: Path
) -> tuple[pl.DataFrame, pl.Series]:
    """Writes the usable rows to `scratch`; returns the others, and the items that the usable ones are about."""
    now = datetime.now(UTC)
    listed = items["item"] if items is not None and config.items and config.items.unlisted == "quarantine" else None
    wanted = tuple(dict.fromkeys(_log_columns(config)))
    quarantine: list[pl.DataFrame] = []
    touched = pl.Series("item", [], pl.String)
    n_chunks = 0
    for part in parts:
        bad = BadRows(part.file, config.max_quarantined_share)
        for chunk in part.chunks(wanted):
            if bad.n_rows == 0:
                _refuse_misread(config, chunk.records, part)
            try:
                rows = bad.set_aside(chunk, mapped_log(config, chunk.records, listed, now))
            except pl.exceptions.PolarsError as error:
                raise UnusableSource(
                    f"{part.file.name}, from line {chunk.records['line'][0]:,} on: a column must hold texts, numbers "
                    f"or times, got: {str(error).splitlines()[0]}. Write it as one of these."
                ) from error
            rows.select(list(SCHEMAS["raw_interactions"].dtypes)).write_parquet(scratch / f"log-{n_chunks:06}.parquet")
            touched = pl.concat([touched, rows["item"].unique()]).unique()
            n_chunks += 1
        quarantine.append(bad.table())
    return pl.concat(quarantine), touched


def _refuse_misread(config: TabularSource, records: pl.DataFrame, part: Part) -> None:
    if config.time is None:
        return
    problem = misread(records[config.time.column], config.time, datetime.now(UTC))
    if problem is not None:
        line = records["line"][records.height // 2]
        raise UnusableSource(f"{part.file.name}, near line {line:,}: column '{config.time.column}' {problem}")


def _catalogue(config: TabularSource, folder: Path) -> tuple[pl.DataFrame | None, pl.DataFrame]:
    """The table `raw_items`, and the lines of it that cannot be used; of an item listed twice the first line counts."""
    if config.items is None:
        return None, SCHEMAS["quarantine"].empty()
    columns = _item_columns(config.items)
    known = pl.Series("item", [], pl.String)
    tables: list[pl.DataFrame] = []
    quarantine: list[pl.DataFrame] = []
    for part in inspected(config.items, columns, folder, card(config)):
        bad = BadRows(part.file, config.max_quarantined_share)
        for chunk in part.chunks(tuple(dict.fromkeys(columns))):
            rows = bad.set_aside(chunk, mapped_items(config.items, chunk.records, known))
            tables.append(rows.select(list(SCHEMAS["raw_items"].dtypes)))
            known = pl.concat([known, rows["item"]])
        quarantine.append(bad.table())
    return pl.concat(tables), pl.concat(quarantine)


def _titled(items: pl.DataFrame | None, touched: pl.Series) -> pl.DataFrame:
    """The catalogue, with the id as the title of each touched item that it does not list."""
    schema = SCHEMAS["raw_items"]
    listed = schema.empty() if items is None else items
    unlisted = touched.sort().to_frame("item").join(listed, on="item", how="anti", maintain_order="left")
    nothing = [pl.lit(None, pl.String).alias(name) for name in ("category", "text")]
    named = unlisted.select("item", pl.col("item").alias("title"), *nothing)
    return pl.concat([listed, named.select(list(schema.dtypes))])


def _log_columns(config: TabularSource) -> list[str]:
    time, weight = config.time and config.time.column, config.weight and config.weight.column
    return [config.user, config.item, *filter(None, (time, config.position, weight, config.event))]


def _item_columns(config: ItemFiles) -> list[str]:
    return [config.item, config.title, *filter(None, (config.category, config.text))]
