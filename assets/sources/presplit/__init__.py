"""Benchmarks that publish rows instead of a log: histories with their targets, split, some with candidate lists.

The publisher's rows become the table `paper_rows`; the sequences they are cut from become `raw_interactions`, each
item at its position. Where the publisher names no users, every sequence is one.
"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from assets.sources.contract import MissingRawFile, RawTables, SourceCard, UnusableSource
from assets.sources.files import RawFile
from assets.sources.presplit.found import Found, Row
from assets.sources.presplit.inputs import read_inputs
from assets.sources.presplit.prompts import read_prompts
from assets.sources.presplit.sequences import read_sequences
from assets.sources.reader.quarantine import Quarantine
from assets.sources.reader.text import bad_rows
from contracts.config.sources import InnerPath, InputRows, PresplitSource, PromptRows, SequenceRows
from contracts.words import HELD_OUT, SPLITS
from evaluation.schemas import empty, schema_of


def card(config: PresplitSource) -> SourceCard:
    """What the configuration says of the benchmark."""
    return SourceCard(config.title, _names(config), config.page, config.terms, config.published)


def locate(config: PresplitSource, folder: Path) -> list[RawFile]:
    """The files that are there.

    Raises:
        MissingRawFile: one is missing that is not of the test part.
        UnusableSource: a link leads out of `folder`.
    """
    return sorted(_located(config, folder).values(), key=lambda file: file.name)


def read(config: PresplitSource, folder: Path, scratch: Path) -> RawTables:
    """The publisher's rows, the sequences they are cut from, and the catalogue.

    Raises:
        MissingRawFile: a file is missing that is not of the test part.
        UnusableSource: a file is not in its layout, or too many of its rows are unusable.
    """
    files = _located(config, folder)
    found = Found()
    match config.rows:
        case PromptRows():
            read_prompts(config.rows, files, found)
        case SequenceRows():
            read_sequences(config.rows, files, found)
        case InputRows():
            read_inputs(config.rows, files, found)
    quarantine = _quarantine(found, config.max_quarantined_share)
    log = pl.DataFrame(
        [
            (user, item, position, file, line)
            for user, sequence in found.sequences.items()
            for position, (item, file, line) in enumerate(sequence)
        ],
        schema={"user": pl.String, "item": pl.String, "position": pl.Int64, "file": pl.String, "line": pl.Int64},
        orient="row",
    )
    schema = schema_of("raw_interactions")
    nothing = {"at": pl.lit(None, schema["at"]), "event": pl.lit(None, pl.String)}
    path = scratch / "log.parquet"
    log.with_columns(weight=pl.lit(1.0, pl.Float32), **nothing).select(list(schema)).write_parquet(path)
    return RawTables(
        interactions=pl.scan_parquet(path, glob=False),
        items=_items(found, log),
        quarantine=quarantine,
        paper_rows=_paper_rows(found.rows),
    )


def _paper_rows(rows: Sequence[Row]) -> pl.DataFrame:
    schema = schema_of("paper_rows")
    columns = {name: [getattr(row, name) for row in rows] for name in schema}
    return pl.DataFrame(columns, schema=schema)


def _items(found: Found, log: pl.DataFrame) -> pl.DataFrame:
    titles = found.titles or {item: item for item in log["item"].unique().sort()}
    schema = schema_of("raw_items")
    nothing = [None] * len(titles)
    return pl.DataFrame({"item": [*titles], "title": [*titles.values()], "category": nothing, "text": nothing}, schema)


def _quarantine(found: Found, max_share: float) -> pl.DataFrame:
    tables = [empty("quarantine")]
    for file, n_lines in found.n_lines.items():
        quarantine = Quarantine(file, max_share)
        rows = bad_rows(row[1:] for row in found.bad if row[0] == file)
        quarantine.add(rows, n_lines - rows.height)
        tables.append(quarantine.table())
    return pl.concat(tables).sort("file", "line", maintain_order=True)


def _parts(config: PresplitSource) -> dict[str, tuple[str, ...]]:
    """Part → its files; a part is named after its field."""
    match config.rows:
        case PromptRows() as rows:
            return {name: (getattr(rows, name),) for name in (*SPLITS, "items")}
        case SequenceRows() as rows:
            named = {"path": rows.path, "ids": rows.ids, "titles": rows.titles}
            return {name: (path,) for name, path in named.items() if path is not None}
        case InputRows() as rows:
            held_out = {name: getattr(rows, name) for name in HELD_OUT}
            pairs = {name: (f"{path}/input.txt", f"{path}/output.txt") for name, path in held_out.items()}
            return {"train": (f"{rows.train}/input.txt",), **pairs}


def _names(config: PresplitSource) -> tuple[str, ...]:
    paths = [path for part in _parts(config).values() for path in part]
    return (f"{' and '.join(paths)} (each may end in .gz; the test part may be missing)",)


def _located(config: PresplitSource, folder: Path) -> dict[str, RawFile]:
    """The files that are there, by the path that the configuration names."""
    found: dict[str, RawFile] = {}
    for part, paths in _parts(config).items():
        places = {path: _place(folder, path) for path in paths}
        missing = [path for path, place in places.items() if place is None]
        if missing and (part != "test" or len(missing) < len(paths)):
            raise MissingRawFile(card(config), folder)
        found |= {path: place for path, place in places.items() if place is not None}
    return found


def _place(folder: Path, path: InnerPath) -> RawFile | None:
    for name in (path, f"{path}.gz"):
        if (folder / name).is_file():
            if not (folder / name).resolve().is_relative_to(folder.resolve()):
                raise UnusableSource(
                    f"{name} must lie in {folder}, got a link to {(folder / name).resolve()}. Put the file there."
                )
            return RawFile(folder / name, None, name)
    return None
