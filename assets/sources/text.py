"""Delimited text read by DuckDB: one row a line, split into fields, each line judged by rules, the bad ones set aside.

A line is read whole and split in SQL. A CSV parser that guesses would drop, pad or merge lines without a word; here a
line with too many or too few fields is a row with a reason, and its number is that of the publisher's file.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import polars as pl

from assets.sources.contract import UnusableSource
from assets.sources.files import RawFile, write_utf8
from assets.sources.lines import Lines

MAX_BAD_SHARE = 0.01
"""A file of which more lines than this share are unusable is refused: it is not what its name says."""
_SHOWN = 200  # characters of a bad line that are kept
_NO_DELIMITER = "\x1f\x1e\x1f\x1e"  # what no text holds, so that a line stays whole
_NO_TEXT = "\x1c\x1d\x1c\x1d"  # what no text is, so that no line reads as missing


@dataclass(frozen=True)
class Layout:
    """How the lines of a file are to be read."""

    lines: Lines
    """How a line is split into fields."""
    fields: tuple[str, ...]
    encoding: str
    rules: Mapping[str, str]
    """Reason → a condition in SQL over the fields that a bad line meets; the first one met is the line's reason."""
    select: Mapping[str, str]
    """Column → an expression in SQL over the fields, evaluated for good lines."""
    max_bytes: int
    header: str | None = None
    """What the first line must be, which then is no row; none, when the file starts with its first row."""


def read_lines(source: RawFile, layout: Layout) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The good lines of a file, as `layout.select` says with file and line; and its `quarantine`.

    Raises:
        UnusableSource: the file is empty, not text in the layout's encoding, too large, or of another layout.
    """
    with tempfile.TemporaryDirectory(prefix="borderline-") as scratch:
        copy = Path(scratch) / "lines.txt"
        numbers = write_utf8(source, layout.encoding, copy, layout.max_bytes)
        if not len(numbers):
            raise UnusableSource(f"{source.name} must hold data, got an empty file. Download it again.")
        if layout.header is not None:
            _refuse_other_header(copy, source, layout.header)
        with _locked_to(Path(scratch)) as connection:
            return _read(connection, copy, source, layout, numbers)


def refuse_bad_share(quarantine: pl.DataFrame, n_lines: Mapping[str, int]) -> None:
    """Raises when more than MAX_BAD_SHARE of a file's lines are in quarantine.

    Raises:
        UnusableSource: naming the file, the count and the first bad line.
    """
    for (file,), bad in quarantine.sort("file", "line").group_by(["file"], maintain_order=True):
        if bad.height > MAX_BAD_SHARE * n_lines[str(file)]:
            first = bad.row(0, named=True)
            raise UnusableSource(
                f"{file} must have at most {MAX_BAD_SHARE:.0%} unusable lines, got {bad.height:,} of "
                f"{n_lines[str(file)]:,}. First: line {first['line']}, {first['reason']} ({first['text']!r}). "
                "Bring the file as published."
            )


def _refuse_other_header(copy: Path, source: RawFile, header: str) -> None:
    with copy.open(encoding="utf-8") as lines:
        found = next((line.strip("\n") for line in lines if line.strip("\n")), "")
    if found != header:
        raise UnusableSource(
            f"{source.name} must start with the line {header!r}, got {found[:_SHOWN]!r}. Bring the file as published."
        )


@contextmanager
def _locked_to(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that can read this folder and nothing else, and can neither load extensions nor be unlocked."""
    connection = duckdb.connect(
        config={
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
        }
    )
    try:
        # In this order: the folder can only be named while access is open, and the lock ends all changes.
        connection.execute("SET allowed_directories = ['{}']".format(str(folder).replace("'", "''")))
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        yield connection
    finally:
        connection.close()


def _read(
    connection: duckdb.DuckDBPyConnection, copy: Path, source: RawFile, layout: Layout, numbers: np.ndarray
) -> tuple[pl.DataFrame, pl.DataFrame]:
    # Names and rules come from this package's own layouts, never from a file or a user; the path is bound.
    fields = ", ".join(f"fields[{place}] AS {name}" for place, name in enumerate(layout.fields, start=1))
    fixed = {"holds a NUL byte": "contains(text, chr(0))", **layout.lines.rules(len(layout.fields))}
    is_row = "true" if layout.header is None else "number > 1"
    reasons = " ".join(f"WHEN {rule} THEN '{reason}'" for reason, rule in (fixed | dict(layout.rules)).items())
    selected = ", ".join(f"{value} AS {name}" for name, value in layout.select.items())
    table = connection.sql(
        f"""
        WITH lines AS (
            SELECT row_number() OVER () AS number, text
            FROM read_csv(?, columns = {{'text': 'VARCHAR'}}, delim = '{_NO_DELIMITER}', quote = '', escape = '',
                          header = false, auto_detect = false, new_line = '\\n', nullstr = '{_NO_TEXT}',
                          max_line_size = {layout.max_bytes})
        ), split AS (SELECT *, {layout.lines.fields()} AS fields FROM lines), named AS (SELECT *, {fields} FROM split)
        SELECT number, CASE {reasons} END AS reason, text AS line_text, {selected} FROM named WHERE {is_row}
        ORDER BY number
        """,
        params=[str(copy)],
    ).to_arrow_table()
    lines = pl.DataFrame(table)
    numbers = numbers if layout.header is None else numbers[1:]
    if lines.height != len(numbers):
        raise UnusableSource(
            f"{source.name} must be read whole, got {lines.height:,} of {len(numbers):,} lines. Bring it as published."
        )
    lines = lines.with_columns(pl.lit(source.name).alias("file"), pl.Series("line", numbers))
    is_bad = pl.col("reason").is_not_null()
    good = lines.filter(~is_bad).select(*layout.select, "file", "line")
    bad = lines.filter(is_bad).select("file", "line", "reason", pl.col("line_text").str.head(_SHOWN).alias("text"))
    return good, bad
