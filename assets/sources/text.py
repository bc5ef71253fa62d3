"""Delimited text read by DuckDB: one row a line, split into fields, each line judged by rules, the bad ones set aside.

A line is read whole and split in SQL. A CSV parser that guesses would drop, pad or merge lines without a word; here a
line with too many or too few fields is a row with a reason, and its number is that of the publisher's file.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa

from assets.sources.contract import UnusableSource
from assets.sources.files import LINES, MAX_LINE, RawFile, numbered_lines
from assets.sources.lines import Lines
from assets.transforms.database import database, sql_text

_SHOWN = 200  # characters of a bad line that are kept


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


def read_lines(
    source: RawFile, layout: Layout, scratch: Path, max_bad_share: float, known: pl.DataFrame | None = None
) -> tuple[pl.LazyFrame, pl.DataFrame]:
    """The good lines of a file in its order, as `layout.select` says with file and line; and its `quarantine`.

    Args:
        source: the file.
        layout: how to read it.
        scratch: a folder for the Parquet file that the good lines are a scan of; it must outlive them.
        max_bad_share: a file of which more lines than this share are unusable is refused.
        known: a table that rules can ask, under the name `known`.

    Raises:
        UnusableSource: the file is empty, not text in the layout's encoding, too large, has another header, or too much
            of it is unusable.
    """
    to = scratch / f"lines-{len(list(scratch.glob('lines-*')))}.parquet"
    lines = _Lines(source, layout)
    with database(scratch) as connection:
        connection.register("lines", pa.RecordBatchReader.from_batches(LINES, lines))
        if known is not None:
            connection.register("known", known.to_arrow())
        try:
            # Asking `known` is a join, which hands the lines on in the order its threads finish.
            query = _query(layout) if known is None else f"{_query(layout)} ORDER BY line"
            connection.execute(f"COPY ({query}) TO {sql_text(to)} (FORMAT parquet, COMPRESSION zstd)")
        except duckdb.Error as error:
            if lines.failure is not None:  # DuckDB reports what stopped its input as an error of its own
                raise lines.failure from error
            raise
    table = pl.scan_parquet(to, glob=False).with_columns(file=pl.lit(source.name))
    is_bad = pl.col("reason").is_not_null()
    n_lines, n_bad = table.select(pl.len(), is_bad.sum()).collect(engine="streaming").row(0)
    if not n_lines:
        got = "an empty file" if layout.header is None else "a header alone"
        raise UnusableSource(f"{source.name} must hold data, got {got}. Download it again.")
    bad = table.filter(is_bad).select("file", "line", "reason", text="line_text")
    if n_bad > max_bad_share * n_lines:
        raise _too_many(bad.head(1).collect(), source.name, n_bad, n_lines, max_bad_share)
    return table.filter(~is_bad).select(*layout.select, "file", "line"), bad.collect()


def refuse_bad_share(quarantine: pl.DataFrame, n_lines: Mapping[str, int], max_bad_share: float) -> None:
    """Raises when more than a share of a file's lines are in quarantine.

    Raises:
        UnusableSource: naming the file, the count, the first bad line, and how to raise the share.
    """
    for (file,), bad in quarantine.sort("file", "line").group_by(["file"], maintain_order=True):
        if bad.height > max_bad_share * n_lines[str(file)]:
            raise _too_many(bad, str(file), bad.height, n_lines[str(file)], max_bad_share)


def _too_many(bad: pl.DataFrame, file: str, n_bad: int, n_lines: int, max_bad_share: float) -> UnusableSource:
    first = bad.row(0, named=True)
    return UnusableSource(
        f"{file} must have at most {max_bad_share:.3g} of its lines unusable, got {n_bad:,} of {n_lines:,} "
        f"({n_bad / n_lines:.3g}). First: line {first['line']}, {first['reason']} ({first['text']!r}). Bring the file "
        "as published, or raise source.max_quarantined_share in the data set's file."
    )


class _Lines:
    """The lines of a file; remembers the error that ended them."""

    def __init__(self, source: RawFile, layout: Layout) -> None:
        self.source, self.layout = source, layout
        self.failure: UnusableSource | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        header = self.layout.header
        try:
            for batch in numbered_lines(self.source, self.layout.encoding, self.layout.max_bytes):
                if header is not None and batch.num_rows:
                    found = batch["text"][0].as_py()
                    if found != header:
                        raise UnusableSource(
                            f"{self.source.name} must start with the line {header!r}, got {found[:_SHOWN]!r}. "
                            "Bring the file as published."
                        )
                    batch, header = batch.slice(1), None
                yield batch
        except UnusableSource as error:
            self.failure = error
            raise


def _query(layout: Layout) -> str:
    # Names and rules come from this package's own layouts, never from a file or a user.
    fields = ", ".join(f"fields[{place}] AS {name}" for place, name in enumerate(layout.fields, start=1))
    fixed = {
        f"is longer than {MAX_LINE:,} bytes": "is_too_long",
        "holds a NUL byte": "contains(text, chr(0))",
        **layout.lines.rules(len(layout.fields)),
    }
    rules = fixed | dict(layout.rules)
    reasons = " ".join(f"WHEN {rule} THEN {sql_text(reason)}" for reason, rule in rules.items())
    selected = ", ".join(f"{value} AS {name}" for name, value in layout.select.items())
    return f"""
        WITH split AS (SELECT *, {layout.lines.fields()} AS fields FROM lines),
        named AS (SELECT number, text, is_too_long, fields, {fields} FROM split),
        judged AS (SELECT *, CASE {reasons} END AS reason FROM named)
        SELECT number AS line, reason, CASE WHEN reason IS NOT NULL THEN left(text, {_SHOWN}) END AS line_text,
               {selected} FROM judged
    """
