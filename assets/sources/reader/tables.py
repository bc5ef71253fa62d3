"""Files of records → the tables `raw_interactions`, `raw_items` and `quarantine`, chunk by chunk.

Memory does not grow with a log. What the columns of a file mean is a mapping, which the sources give.
"""

import functools
import operator
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from assets.sources.contract import EmptyFile, UnusableSource
from assets.sources.files import RawFile
from assets.sources.reader import delimited
from assets.sources.reader.columns import Mapped, Row, rule
from assets.sources.reader.quarantine import Quarantine
from assets.sources.reader.text import Chunk
from evaluation.schemas import empty, schema_of

REPEATED = "item is listed more than once; the first line counts"


@dataclass(frozen=True)
class Part:
    """One file, how its records are read, and what they mean."""

    name: str
    """The file's, as the tables show it."""
    chunks: Callable[[], Iterator[Chunk]]
    row: Callable[[pl.DataFrame], Row]


@dataclass(frozen=True)
class Log:
    """What the files of a log hold."""

    rows: pl.LazyFrame
    """`raw_interactions`, and what else the mappings give; a scan of Parquet files."""
    items: pl.Series
    """The distinct items of the usable rows, sorted."""
    quarantine: pl.DataFrame
    empty_files: tuple[str, ...] = ()
    """Files without a row, which lie among others that have some."""

    @property
    def interactions(self) -> pl.LazyFrame:
        """The table `raw_interactions`."""
        return self.rows.select(list(schema_of("raw_interactions")))


def published_part(
    file: RawFile,
    dialect: delimited.Dialect,
    names: tuple[str, ...],
    row: Callable[[pl.DataFrame], Row],
    *,
    header: bool = False,
) -> Part:
    """A publisher's delimited file; `header` says that its first line must name the columns just so.

    Raises:
        UnusableSource: the file is empty, or its first line is another one.
    """
    found = delimited.header(file, dialect) if header else names
    delimited.beginning(file, dialect.form)
    if found != names:
        written, got = (dialect.delimiter.join(fields)[:200] for fields in (names, found))
        raise UnusableSource(
            f"{file.name} must start with the line {written!r}, got {got!r}. Bring the file as published."
        )
    return Part(file.name, lambda: delimited.chunks(file, dialect, names, names, has_header=header), row)


def read_log(parts: Iterable[Part], max_share: float, scratch: Path) -> Log:
    """Writes the usable rows to `scratch`, and keeps the others.

    Args:
        parts: the files, in order.
        max_share: a file of which more rows than this share are unusable is refused.
        scratch: a folder for the Parquet files behind the log, which must outlive them.

    Raises:
        EmptyFile: no file has a row.
        UnusableSource: a file cannot be read, or too many of its rows are unusable.
    """
    quarantine: list[pl.DataFrame] = []
    items = pl.Series("item", [], pl.String)
    written: list[Path] = []
    without_rows: dict[str, EmptyFile] = {}
    for part in parts:
        bad = Quarantine(part.name, max_share)
        for chunk in part.chunks():
            rows = bad.set_aside(chunk, _typed(part, chunk))
            written.append(scratch / f"log-{len(written):06}.parquet")
            rows.write_parquet(written[-1])
            items = pl.concat([items, rows["item"].unique()]).unique()
        try:
            quarantine.append(bad.table())
        except EmptyFile as error:
            without_rows[part.name] = error
    if not quarantine:
        raise next(iter(without_rows.values()))
    return Log(pl.scan_parquet(written, glob=False), items.sort(), pl.concat(quarantine), tuple(without_rows))


def read_items(
    parts: Iterable[Part], max_share: float, *, repeated: str = REPEATED, may_repeat: bool = False
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Table `raw_items` of files that list items, and the quarantine, with every line of an item but its first.

    Args:
        parts: the files, in order.
        max_share: a file of which more rows than this share are unusable is refused.
        repeated: the reason of a line whose item was listed before.
        may_repeat: repeated items do not count to that share: the publisher repeats them.

    Raises:
        UnusableSource: a file cannot be read, or too many of its rows are unusable.
    """
    known = pl.Series("item", [], pl.String)
    tables: list[pl.DataFrame] = []
    quarantine: list[pl.DataFrame] = []
    for part in parts:
        bad = Quarantine(part.name, max_share, forgiven=repeated if may_repeat else None)
        for chunk in part.chunks():
            row = _typed(part, chunk)
            rows = bad.set_aside(chunk, {**row, "repeat": rule(_is_repeat(row, known), repeated)})
            tables.append(rows.select(list(schema_of("raw_items"))))
            known = pl.concat([known, rows["item"]])
        quarantine.append(bad.table())
    return pl.concat(tables), pl.concat(quarantine)


def items_of_log(parts: Iterable[Part]) -> tuple[pl.DataFrame, int]:
    """Table `raw_items` of a log whose rows carry titles, and how many items have several.

    An item has its most frequent title, the first of several that are as frequent, and what most often goes with it.
    Rows without a usable item or title are passed over: the reading of the log judges them.

    Args:
        parts: the files of the log; their rows are those of a catalogue.

    Raises:
        UnusableSource: a file cannot be read.
    """
    names = list(schema_of("raw_items"))
    found = empty("raw_items").with_columns(rows=pl.lit(0, pl.UInt32))
    for part in parts:
        for chunk in part.chunks():
            row = _typed(part, chunk)
            is_broken = functools.reduce(operator.or_, (column.is_broken for column in row.values()))
            values = [column.values.alias(name) for name, column in row.items() if isinstance(column, Mapped)]
            usable = pl.DataFrame(values).filter(~is_broken).select(names).with_columns(rows=pl.lit(1, pl.UInt32))
            found = pl.concat([found, usable]).group_by(names, maintain_order=True).agg(pl.col("rows").sum())
    of_title = pl.col("rows").sum().over("item", "title")
    ranked = found.with_row_index("place").sort(
        pl.col("place").min().over("item"), of_title, pl.col("place").min().over("item", "title"), "rows", "place",
        descending=[False, True, False, True, False],
    )  # fmt: skip
    titles = found.group_by("item").agg(pl.col("title").n_unique())
    return ranked.unique("item", keep="first", maintain_order=True).select(names), int((titles["title"] > 1).sum())


def with_unlisted(items: pl.DataFrame | None, touched: pl.Series) -> pl.DataFrame:
    """A catalogue, and after it each touched item that it does not list, with its id as its title."""
    schema = schema_of("raw_items")
    listed = empty("raw_items") if items is None else items
    unlisted = touched.to_frame("item").join(listed, on="item", how="anti", maintain_order="left")
    nothing = [pl.lit(None, pl.String).alias(name) for name in ("category", "text")]
    named = unlisted.select("item", pl.col("item").alias("title"), *nothing)
    return pl.concat([listed, named.select(list(schema))])


def _typed(part: Part, chunk: Chunk) -> Row:
    try:
        return part.row(chunk.records)
    except pl.exceptions.PolarsError as error:
        raise UnusableSource(
            f"{part.name}, from line {chunk.lines[0]:,} on: a column must hold texts, numbers or times, got: "
            f"{str(error).splitlines()[0]}. Write it as one of these."
        ) from error


def _is_repeat(row: Row, known: pl.Series) -> pl.Series:
    """Whether an item is known, or an earlier usable row of the chunk lists it."""
    item = row["item"]
    assert isinstance(item, Mapped)
    is_broken = functools.reduce(operator.or_, (column.is_broken for column in row.values()))
    usable = item.values.set(is_broken, None)
    return usable.is_not_null() & (usable.is_in(known.implode()) | ~usable.is_first_distinct())
