"""Online Retail II, as the official spreadsheet or as Parquet (https://archive.ics.uci.edu/dataset/502/online+retail+ii).

An invoice line becomes an interaction of its customer with its stock code; its event says what kind of line it is:

* `cancellation`: the invoice number starts with C, the quantity is negative;
* `not a product`: the stock code is none of a product (postage, bank charges, manual entries, samples, vouchers);
* `correction`: a negative quantity, or an invoice of adjustments (A), without being a cancellation;
* `purchase`: everything else.

A product's code is five digits with at most two letters behind them (85123A), DCGS and more (the sister shop's
products), SP and four digits, or PADS. The publisher spells codes in both cases (85123a); they are read as capitals.
A line without a customer (empty, or 0) cannot be used and goes into quarantine. Times are
the shop's clock, read as UTC.
"""

import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import fastexcel
import polars as pl

from assets.sources.contract import MissingRawFile, RawTables, SourceCard, UnusableSource
from assets.sources.files import RawFile, find, unpacked
from assets.sources.reader import parquet
from assets.sources.reader.columns import Mapped, Row, fine, identifier, log_row, number, rule
from assets.sources.reader.tables import Part, read_log
from assets.sources.reader.text import SHOWN, Chunk, bad_rows
from contracts.config.sources import OnlineRetailSource, StatedCounts

SHEETS = ("Year 2009-2010", "Year 2010-2011")
PRODUCT = r"^([0-9]{5}[A-Z]{0,2}|DCGS.*|SP[0-9]{4}|PADS)$"
_ARCHIVE, _WORKBOOK = "online+retail+ii.zip", "online_retail_II.xlsx"
_NAMES = {"InvoiceNo": "Invoice", "UnitPrice": "Price", "CustomerID": "Customer ID"}  # of the first Online Retail
_COLUMNS = ("Invoice", "StockCode", "Description", "Quantity", "InvoiceDate", "Customer ID")
_MAX_BYTES = 500_000_000  # ten times the published spreadsheet
_MAX_UNPACKED = 4_000_000_000  # ten times what is in it
_TERMS = "Creative Commons Attribution 4.0 (CC BY 4.0): cite Chen 2019, https://doi.org/10.24432/C5CG6D."
_PUBLISHED = StatedCounts(
    interactions=1_067_371,
    note="Rows of both sheets together. Rows without a customer are set aside here, and the two sheets share the first "
    "nine days of December 2010.",
)


def card(config: OnlineRetailSource) -> SourceCard:
    """Where the files come from: the spreadsheet, or Parquet files made from it."""
    return SourceCard(
        title="Online Retail II",
        files=(" and ".join(config.files),) if config.files else (_ARCHIVE, _WORKBOOK),
        page="https://archive.ics.uci.edu/dataset/502/online+retail+ii",
        terms=_TERMS,
        published=None if config.files else _PUBLISHED,
        note="Parquet files made from the spreadsheet: what they leave out is not in here." if config.files else None,
    )


def locate(config: OnlineRetailSource, folder: Path) -> list[RawFile]:
    """The spreadsheet, in its archive or not, or the Parquet files.

    Raises:
        MissingRawFile: they are not in `folder`.
        UnusableSource: the archive is broken, unsafe, or lacks the spreadsheet.
    """
    found = find(folder, None if config.files else _ARCHIVE, config.files or (_WORKBOOK,))
    if found is None:
        raise MissingRawFile(card(config), folder)
    return found


def read(config: OnlineRetailSource, folder: Path, scratch: Path) -> RawTables:
    """Invoice lines as interactions, stock codes as items; their title is their most frequent description.

    Raises:
        MissingRawFile: the files are not in `folder`.
        UnusableSource: a file is not what was published, or more than a permitted share of its rows are unusable.
    """
    parts = [part for file in locate(config, folder) for part in _parts(file, scratch)]
    log = read_log(parts, config.max_quarantined_share, scratch)
    return RawTables(log.interactions, _items(log.rows), log.quarantine.sort("file", "line"))


def _parts(file: RawFile, scratch: Path) -> list[Part]:
    """Each table of a file; a workbook has two."""
    if not file.name.endswith(".xlsx"):
        return [Part(file.name, lambda: _parquet(file), _line)]
    path = unpacked(file, scratch / "workbook.xlsx", _MAX_BYTES)
    return [Part(f"{file.name}/{sheet}", lambda sheet=sheet: _sheet(path, file.name, sheet), _line) for sheet in SHEETS]


def _parquet(file: RawFile) -> Iterator[Chunk]:
    names = list(parquet.columns(file))
    _refuse_other_columns(names, file.name)
    wanted = tuple(name for name in names if _NAMES.get(name, name) in _COLUMNS)
    for chunk in parquet.chunks(file, wanted):
        yield _as_seen(chunk.records, int(chunk.lines[0]))


def _as_seen(table: pl.DataFrame, first_line: int) -> Chunk:
    """Every cell as text, as a person would see it, under its newer name."""
    named = table.rename(_NAMES, strict=False).select(_COLUMNS)
    records = named.select(pl.all().cast(pl.String).str.strip_chars())
    shown = records.select(pl.concat_str(pl.all().fill_null(""), separator=",").str.head(SHOWN)).to_series()
    lines = pl.int_range(first_line, first_line + records.height, dtype=pl.Int64, eager=True)
    return Chunk(records, lines, lambda places: shown[list(places)].to_list(), bad_rows([]))


def _sheet(path: Path, name: str, sheet: str) -> Iterator[Chunk]:
    """A sheet whose cells are read as text: 85048 and 85123A are in one column."""
    _refuse_absurd(path, name)
    try:
        reader = fastexcel.read_excel(path)
        if sheet not in reader.sheet_names:
            raise UnusableSource(
                f"{name} must hold the sheets {', '.join(SHEETS)}, got {', '.join(reader.sheet_names)}. "
                "Download it again."
            )
        rows = reader.load_sheet(sheet, dtypes="string").to_polars()
    except fastexcel.FastExcelError as error:
        raise UnusableSource(f"{name} must be a readable spreadsheet, got: {error}. Download it again.") from error
    _refuse_other_columns(rows.columns, f"{name}/{sheet}")
    yield _as_seen(rows, first_line=2)


def _refuse_absurd(path: Path, name: str) -> None:
    """A workbook is a zip archive, which the spreadsheet reader unpacks into memory."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked_bytes = sum(info.file_size for info in archive.infolist())
    except zipfile.BadZipFile as error:
        raise UnusableSource(f"{name} must be a readable spreadsheet, got: {error}. Download it again.") from error
    if unpacked_bytes > _MAX_UNPACKED:
        raise UnusableSource(
            f"{name} must unpack to at most {_MAX_UNPACKED:,} bytes, got {unpacked_bytes:,}. Download it again."
        )


def _refuse_other_columns(names: list[str], file: str) -> None:
    missing = [name for name in _COLUMNS if name not in [_NAMES.get(name, name) for name in names]]
    if missing:
        raise UnusableSource(
            f"{file} must have the columns {', '.join(_COLUMNS)}, got {', '.join(names)}: {', '.join(missing)} "
            "missing. Bring the table as published."
        )


def _line(records: pl.DataFrame) -> Row:
    whole = r"\.0+$"  # spreadsheets keep whole numbers as 13085.0
    fields = records.select(
        pl.col("Invoice").str.replace(whole, "").alias("invoice"),
        pl.col("StockCode").str.replace(whole, "").str.to_uppercase().alias("item"),
        pl.col("Quantity").cast(pl.Float64, strict=False).alias("quantity"),
        pl.col("InvoiceDate")
        .str.replace(whole, "")
        .str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us", time_zone="UTC", strict=False)
        .alias("at"),
        pl.col("Customer ID").str.replace(whole, "").alias("user"),
    )
    user, at = fields["user"], fields["at"]
    in_time = at.is_between(datetime(1970, 1, 1, tzinfo=UTC), datetime.now(UTC)).fill_null(False)
    given = {
        "no invoice": rule(fields["invoice"].fill_null("") == "", "invoice must not be empty"),
        "item": identifier(fields["item"], "stock code"),
        "weight": replace(number(fields["quantity"], "quantity"), reason="quantity must be a number"),
        "at": Mapped(at, ~in_time, "time must be like 2009-12-01 07:45:00, not in the future"),
        "no customer": rule(user.fill_null("").is_in(["", "0"]), "customer is missing"),
        "user": replace(identifier(user, "customer"), reason="customer must be at most 200 characters"),
        "event": fine(fields.select(_event()).to_series()),
        "description": fine(records["Description"]),
    }
    return log_row(records.height, given)


def _event() -> pl.Expr:
    return (
        pl.when(pl.col("invoice").str.starts_with("C"))
        .then(pl.lit("cancellation"))
        .when(~pl.col("item").str.contains(PRODUCT))
        .then(pl.lit("not a product"))
        .when((pl.col("quantity") <= 0) | ~pl.col("invoice").str.contains("^[0-9]"))
        .then(pl.lit("correction"))
        .otherwise(pl.lit("purchase"))
        .alias("event")
    )


def _items(lines: pl.LazyFrame) -> pl.DataFrame:
    """Every stock code; the title is the description that most of its lines have, the code itself when none has one."""
    counts = lines.group_by("item", "description").agg(
        pl.when(pl.col("description") != "").then(1).otherwise(0).sum().alias("n")
    )
    title = pl.col("description").sort_by(["n", "description"], descending=[True, False]).first()
    return (
        counts.group_by("item")
        .agg(title.alias("title"), pl.col("n").max())
        .select(
            "item",
            pl.when(pl.col("n") > 0).then("title").otherwise("item").alias("title"),
            pl.lit(None, pl.String).alias("category"),
            pl.lit(None, pl.String).alias("text"),
        )
        .sort("item")
        .collect()
    )
