"""The files of a table that a user names: found below their folder, opened, their columns held against the mapping.

A path cannot leave the folder: neither by what it says nor by a link.
"""

import difflib
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from assets.sources.contract import EmptyFile, MissingRawFile, SourceCard, UnusableSource
from assets.sources.files import RawFile
from assets.sources.reader import delimited, json_lines, parquet
from assets.sources.reader.text import Chunk, TextForm
from contracts.config.sources import TableFiles

_ENDINGS = {
    ".csv": "csv", ".txt": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "json_lines", ".ndjson": "json_lines",
    ".json": "json_lines", ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip


_PACKED = (".gz", ".bz2", ".zst", ".zip")


@dataclass(frozen=True)
class Opened:
    """One file of a table: its columns, and how its records are read."""

    file: RawFile
    columns: tuple[str, ...]
    types: Mapping[str, str]
    """Of each column, where the format has types."""
    chunks: Callable[[tuple[str, ...]], Iterator[Chunk]]
    """Wanted columns → chunks."""
    has: Callable[[str], bool] = lambda column: False
    """Whether the file has a column that is not among `columns`: an object may have a key that the first ones lack."""


def files_of(table: TableFiles, folder: Path, card: SourceCard) -> list[RawFile]:
    """The files of a table in the order of their names; hidden ones in a folder are passed over.

    Raises:
        MissingRawFile: there is none.
        UnusableSource: a link leads out of the folder.
    """
    place = folder / table.path
    if place.is_dir():
        found = [path for path in place.iterdir() if path.is_file() and path.name[0] not in "._"]
    elif place.is_file():
        found = [place]
    else:
        try:
            found = [path for path in folder.glob(table.path) if path.is_file() and path.name[0] not in "._"]
        except ValueError as error:
            raise UnusableSource(
                f"path must be a file, a folder or a pattern such as *.csv or **/*.csv, got {table.path!r}: {error}."
            ) from error
    for path in found:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise UnusableSource(
                f"{path.relative_to(folder)} must lie in {folder}, got a link to {path.resolve()}. Put the file there."
            )
    if not found and place.is_dir() and (folders := sorted(path.name for path in place.iterdir() if path.is_dir())):
        raise UnusableSource(
            f"{table.path} must hold files, got only folders: {_listed(folders)}. Write path: '{table.path}/**/*.csv', "
            "with the ending that the files have."
        )
    if not found:
        raise MissingRawFile(card, folder)
    return [_raw_file(path, folder) for path in sorted(found)]


def _raw_file(path: Path, folder: Path) -> RawFile:
    """The file, or the only member of a zip archive."""
    name = path.relative_to(folder).as_posix()
    if path.suffix.lower() != ".zip":
        return RawFile(path, None, name)
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if not info.is_dir() and not _is_of_macos(info.filename)]
    except zipfile.BadZipFile as error:
        raise UnusableSource(f"{name} must be a zip archive, got: {error}. Copy it again.") from error
    if len(members) != 1 or members[0].flag_bits & 1:
        raise UnusableSource(
            f"{name} must hold one file that is not encrypted, got {len(members)} files. Unpack it into the folder."
        )
    return RawFile(path, members[0].filename, f"{name}/{members[0].filename}")


def _is_of_macos(member: str) -> bool:
    """Whether a Mac put this beside the files that were packed."""
    return member.startswith("__MACOSX/") or member.rpartition("/")[2] == ".DS_Store"


def _format(table: TableFiles, file: RawFile) -> str:
    if table.format is not None:
        return table.format
    endings = [ending for ending in file.path.suffixes[-2:] if ending.lower() not in _PACKED]
    found = _ENDINGS.get(endings[-1].lower()) if endings else None
    if found is None:
        raise UnusableSource(
            f"{file.name} must end in {', '.join(_ENDINGS)} (also {', '.join(_PACKED)}), got "
            f"{file.path.suffix or 'no ending'}. Write format: csv, tsv, json_lines or parquet, or name the files by a "
            "glob."
        )
    return found


def _part(table: TableFiles, file: RawFile) -> Opened:
    match _format(table, file):
        case "parquet":
            types = parquet.columns(file)
            return Opened(file, tuple(types), types, lambda wanted: parquet.chunks(file, wanted))
        case "json_lines":
            form = TextForm(table.encoding)
            names = json_lines.keys(file, form)
            return Opened(
                file,
                names,
                {},
                lambda wanted: json_lines.chunks(file, form, wanted),
                lambda key: json_lines.has_key(file, form, key),
            )
        case form:
            delimiter = table.delimiter or ("\t" if form == "tsv" else ",")
            quote = table.quote != "none" and delimiter != delimited.WHITESPACE
            dialect = delimited.Dialect(delimiter, quote, form=TextForm(table.encoding))
            delimited.beginning(file, dialect.form)
            names = table.columns or delimited.header(file, dialect)
            return Opened(
                file,
                names,
                {},
                lambda wanted: delimited.chunks(file, dialect, names, wanted, has_header=table.columns is None),
            )


def _without_missing(table: TableFiles, opened: Opened) -> Opened:
    """The same file, whose texts that mean no value are missing."""
    if not table.missing:
        return opened
    is_value = ~pl.col(pl.String).str.strip_chars().is_in(list(table.missing))

    def chunks(wanted: tuple[str, ...]) -> Iterator[Chunk]:
        for chunk in opened.chunks(wanted):
            records = chunk.records.with_columns(pl.when(is_value).then(pl.col(pl.String)))
            yield replace(chunk, records=records)

    return replace(opened, chunks=chunks)


def inspected(
    table: TableFiles, wanted: Sequence[str], folder: Path, card: SourceCard
) -> tuple[list[Opened], list[str]]:
    """Every file of a table, opened: each has the wanted columns once, and of the same types; and the empty ones.

    Raises:
        MissingRawFile: there is none.
        EmptyFile: all are empty.
        UnusableSource: one lacks a column, has it twice, or in another type than the file before.
    """
    parts: list[Opened] = []
    without_rows: dict[str, EmptyFile] = {}
    for file in files_of(table, folder, card):
        try:
            parts.append(_without_missing(table, _part(table, file)))
        except EmptyFile as error:
            without_rows[file.name] = error
    if not parts:
        raise next(iter(without_rows.values()))
    first = parts[0]
    for part in parts:
        for column in wanted:
            if part.columns.count(column) > 1:
                raise UnusableSource(
                    f"{part.file.name}: column '{column}' must stand once, got it {part.columns.count(column)} times. "
                    "Rename one of them."
                )
            if column not in part.columns and not part.has(column):
                raise UnusableSource(_lacking(part, column, first, table))
            types = first.types.get(column), part.types.get(column)
            if types[0] != types[1]:
                raise UnusableSource(
                    f"{part.file.name}: column '{column}' must be of the type {types[0]} that it has in "
                    f"{first.file.name}, got {types[1]}. Write the files with one schema."
                )
            if types[1] is not None and types[1].startswith(("list", "large_list", "struct", "map", "fixed_size_list")):
                raise UnusableSource(
                    f"{part.file.name}: column '{column}' must hold one value a row, got {types[1]}. Flatten it."
                )
    return parts, list(without_rows)


def _lacking(part: Opened, column: str, first: Opened, table: TableFiles) -> str:
    if column in first.columns:
        return (
            f"{part.file.name} must have the column '{column}' that {first.file.name} has, got "
            f"{_listed(part.columns)}. Write the files with one schema."
        )
    close = difflib.get_close_matches(column, part.columns, n=1) or [
        name for name in part.columns if name.lower() == column.lower()
    ]
    hint = f" Did you mean '{close[0]}'?" if close else ""
    others = [mark for mark in (",", ";", "\t", "|", "::") if len(part.columns) == 1 and mark in part.columns[0]]
    if others:
        hint = f" It looks split by {others[0]!r}: write delimiter: {_yaml(others[0])}."
    elif table.columns is not None:
        hint += " The names come from `columns`."
    return f"{part.file.name} must have the column '{column}', got {_listed(part.columns)}.{hint}"


def _yaml(mark: str) -> str:
    return '"\\t"' if mark == "\t" else f"'{mark}'"


def _listed(columns: Sequence[str]) -> str:
    names = [name if len(name) <= 60 else f"{name[:57]}…" for name in columns[:20]]
    return ", ".join(names) + (f" and {len(columns) - 20} more" if len(columns) > 20 else "") or "none"
