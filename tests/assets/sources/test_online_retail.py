"""Online Retail II as the spreadsheet it is published as, and as Parquet. The files are made here."""

import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import polars as pl
import pytest
from pydantic import ValidationError

from assets.lake.validate import validate
from assets.sources import MissingRawFile, UnusableSource, compared_with_published, online_retail, source_card
from contracts.config.sources import OnlineRetailSource
from contracts.tables import TABLES
from tests.assets.sources.test_movielens import Raw
from tests.assets.sources.test_movielens import read as read_source

HEADER = ("Invoice", "StockCode", "Description", "Quantity", "InvoiceDate", "Price", "Customer ID", "Country")
AT = datetime(2009, 12, 1, 7, 45)
UK = "United Kingdom"
Row = tuple[Any, ...]
ROWS: list[Row] = [
    (489434, 85048, "15CM CHRISTMAS GLASS BALL 20 LIGHTS", 12, AT, 6.95, 13085, UK),
    (489434, "79323P", "PINK CHERRY LIGHTS", 12, AT, 6.75, 13085, UK),
    ("C489449", "79323P", "PINK CHERRY LIGHTS", -4, AT, 6.75, 13085, UK),
    (489435, "79323p", "PINK CHERRY  LAMP", 1, AT, 6.75, 13086, UK),
    (489436, "POST", "POSTAGE", 1, AT, 18.0, 13086, UK),
    (489437, 85048, "damages", -9, AT, 0.0, 13086, UK),
    (489438, 85048, None, 3, AT, 6.95, None, UK),
    (489434, 85048, "15CM CHRISTMAS GLASS BALL 20 LIGHTS", 12, AT, 6.95, 13085, UK),
]
EVENTS = ["purchase", "purchase", "cancellation", "purchase", "not a product", "correction", "purchase"]


def source(*files: str, share: float = 0.5) -> OnlineRetailSource:
    return OnlineRetailSource.model_validate({"kind": "online_retail", "files": files, "max_quarantined_share": share})


def read(config: OnlineRetailSource, folder: Path) -> Raw:
    return read_source(config, folder)


def cell(place: str, value: object) -> str:
    match value:
        case None:
            return ""
        case datetime():
            days = (value - datetime(1899, 12, 30)).total_seconds() / 86_400  # Excel's day 0
            return f'<c r="{place}" s="1"><v>{days!r}</v></c>'
        case int() | float():
            return f'<c r="{place}"><v>{value}</v></c>'
        case _:
            return f'<c r="{place}" t="inlineStr"><is><t xml:space="preserve">{escape(str(value))}</t></is></c>'


def sheet(rows: list[Row]) -> str:
    lines = [
        f'<row r="{number}">{"".join(cell(f"{chr(65 + n)}{number}", value) for n, value in enumerate(row))}</row>'
        for number, row in enumerate([HEADER, *rows], start=1)
    ]
    return f'<worksheet xmlns="{MAIN}"><sheetData>{"".join(lines)}</sheetData></worksheet>'


MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def workbook(path: Path, sheets: dict[str, list[Row]]) -> Path:
    """The smallest spreadsheet that keeps numbers, texts and times as Excel does."""
    names = list(enumerate(sheets, start=1))
    links = "".join(
        f'<Relationship Id="r{n}" Type="{OFFICE}/worksheet" Target="worksheets/sheet{n}.xml"/>' for n, _ in names
    )
    links += f'<Relationship Id="styles" Type="{OFFICE}/styles" Target="styles.xml"/>'
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types">'
        '<Default Extension="xml" ContentType="application/xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{PACKAGE}/relationships">'
        f'<Relationship Id="w" Type="{OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{PACKAGE}/relationships">{links}</Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets>'
        + "".join(f'<sheet name="{name}" sheetId="{n}" r:id="r{n}"/>' for n, name in names)
        + "</sheets></workbook>",
        "xl/styles.xml": f'<styleSheet xmlns="{MAIN}"><cellXfs count="2"><xf numFmtId="0"/>'
        '<xf numFmtId="22" applyNumberFormat="1"/></cellXfs></styleSheet>',
    }
    parts |= {f"xl/worksheets/sheet{n}.xml": sheet(sheets[name]) for n, name in names}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, f'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>{text}')
    return path


def parquet(path: Path, rows: list[Row] = ROWS, **columns: pl.Expr) -> None:
    """As people convert the sheet: codes as text, times as text, customers as floating-point numbers."""
    as_text = [(str(r[0]), str(r[1]), r[2], r[3], str(r[4]), r[5], r[6] and float(r[6]), r[7]) for r in rows]
    pl.DataFrame(as_text, schema=list(HEADER), orient="row").with_columns(**columns).write_parquet(path)


def sheets() -> dict[str, list[Row]]:
    return {"Year 2009-2010": ROWS, "Year 2010-2011": [(536365, "85123A", "HEART", 6, AT, 2.55, 17850, UK)]}


@pytest.mark.parametrize("is_packed", [True, False])
def test_both_sheets_of_the_spreadsheet_are_read(tmp_path: Path, is_packed: bool) -> None:
    path = workbook(tmp_path / "online_retail_II.xlsx", sheets())
    if is_packed:
        with zipfile.ZipFile(tmp_path / "online+retail+ii.zip", "w") as archive:
            archive.write(path, path.name)
        path.unlink()
    raw = read(source(), tmp_path)
    for name, table in (
        ("raw_interactions", raw.interactions),
        ("raw_items", raw.items),
        ("quarantine", raw.quarantine),
    ):
        validate(table, TABLES[name])
    file = ("online+retail+ii.zip/" if is_packed else "") + "online_retail_II.xlsx/Year 2009-2010"
    assert raw.interactions.row(0, named=True) == {
        "user": "13085",
        "item": "85048",
        "at": AT.replace(tzinfo=UTC),
        "position": None,
        "weight": 12.0,
        "event": "purchase",
        "file": file,
        "line": 2,
    }
    assert raw.interactions["event"].to_list() == [*EVENTS, "purchase"]
    assert raw.interactions["user"].to_list()[-1] == "17850"
    assert raw.quarantine.row(0)[:3] == (file, 8, "customer is missing")


def test_parquet_gives_the_same_interactions_as_the_spreadsheet(tmp_path: Path) -> None:
    workbook(tmp_path / "online_retail_II.xlsx", sheets())
    parquet(tmp_path / "first.parquet")
    spreadsheet, converted = read(source(), tmp_path), read(source("first.parquet"), tmp_path)
    wanted = spreadsheet.interactions.filter(pl.col("file").str.ends_with("2009-2010")).drop("file", "line")
    assert converted.interactions.drop("file", "line").equals(wanted)
    assert converted.interactions["line"].to_list() == [1, 2, 3, 4, 5, 6, 8]


def test_the_names_and_types_of_the_first_online_retail_are_read_too(tmp_path: Path) -> None:
    rows = [row for row in ROWS if isinstance(row[0], int)]
    zero = pl.col("Customer ID").fill_null(0.0)
    parquet(tmp_path / "new.parquet", rows, **{"Customer ID": zero})
    old = {"Invoice": "InvoiceNo", "Price": "UnitPrice", "Customer ID": "CustomerID"}
    numbered = pl.read_parquet(tmp_path / "new.parquet").with_columns(
        pl.col("Invoice").cast(pl.Int64), pl.col("InvoiceDate").str.to_datetime("%Y-%m-%d %H:%M:%S")
    )
    numbered.rename(old).write_parquet(tmp_path / "old.parquet")
    one, other = read(source("new.parquet"), tmp_path), read(source("old.parquet"), tmp_path)
    assert one.interactions.drop("file").equals(other.interactions.drop("file"))
    assert other.quarantine["reason"].to_list() == ["customer is missing"]  # 0 stands for nobody


def test_a_products_title_is_what_most_of_its_lines_say_and_its_code_has_one_spelling(tmp_path: Path) -> None:
    rows = [*ROWS, (489440, 22222, None, 1, AT, 1.0, 13085, UK)]
    parquet(tmp_path / "lines.parquet", rows)
    assert read(source("lines.parquet"), tmp_path).items.select("item", "title").rows() == [
        ("22222", "22222"),
        ("79323P", "PINK CHERRY LIGHTS"),
        ("85048", "15CM CHRISTMAS GLASS BALL 20 LIGHTS"),
        ("POST", "POSTAGE"),
    ]


@pytest.mark.parametrize(
    ("code", "event"),
    [
        ("85123A", "purchase"),
        ("15056BL", "purchase"),
        ("DCGS0003", "purchase"),
        ("DCGSSGIRL", "purchase"),
        ("PADS", "purchase"),
        ("SP1002", "purchase"),
        *[
            (code, "not a product")
            for code in ("POST", "DOT", "M", "C2", "D", "S", "B", "ADJUST2", "AMAZONFEE", "TEST001", "gift_0001_30")
        ],
        ("BANK CHARGES", "not a product"),
        ("4879", "not a product"),
    ],
)
def test_what_is_a_product_is_told_by_its_code(tmp_path: Path, code: str, event: str) -> None:
    parquet(tmp_path / "lines.parquet", [(1, code, "x", 1, AT, 1.0, 13085, UK)])
    assert read(source("lines.parquet"), tmp_path).interactions["event"].to_list() == [event]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (("", "85048", "x", 1, AT, 1.0, 13085, UK), "invoice must not be empty"),
        ((1, " ", "x", 1, AT, 1.0, 13085, UK), "stock code must be 1 to 200 characters"),
        ((1, "85048", "x", None, AT, 1.0, 13085, UK), "quantity must be a number"),
        (
            (1, "85048", "x", 1, "01/12/2009", 1.0, 13085, UK),
            "time must be like 2009-12-01 07:45:00, not in the future",
        ),
        (
            (1, "85048", "x", 1, "2999-12-01 00:00:00", 1.0, 1, UK),
            "time must be like 2009-12-01 07:45:00, not in the future",
        ),
        ((1, "85048", "x", 1, AT, 1.0, 0, UK), "customer is missing"),
    ],
)
def test_an_unusable_row_is_set_aside(tmp_path: Path, row: Row, reason: str) -> None:
    parquet(tmp_path / "lines.parquet", [*ROWS[:4], row])
    assert read(source("lines.parquet"), tmp_path).quarantine.select("line", "reason").rows() == [(5, reason)]


def test_too_many_rows_without_a_customer_are_refused_with_the_option(tmp_path: Path) -> None:
    parquet(tmp_path / "lines.parquet")
    with pytest.raises(UnusableSource, match=r"at most 10% unusable rows, got 1 of 8.*max_quarantined_share"):
        read(source("lines.parquet", share=0.1), tmp_path)


def test_a_missing_column_sheet_or_file_is_named(tmp_path: Path) -> None:
    parquet(tmp_path / "lines.parquet")
    pl.read_parquet(tmp_path / "lines.parquet").drop("Quantity").write_parquet(tmp_path / "short.parquet")
    with pytest.raises(UnusableSource, match=r"short\.parquet must have the columns .*: Quantity missing"):
        read(source("short.parquet"), tmp_path)
    workbook(tmp_path / "online_retail_II.xlsx", {"Year 2009-2010": ROWS})
    with pytest.raises(UnusableSource, match="must hold the sheets Year 2009-2010, Year 2010-2011, got Year 2009-2010"):
        read(source(), tmp_path)
    with pytest.raises(MissingRawFile, match=r"must have other\.parquet in"):
        read(source("other.parquet"), tmp_path)


@pytest.mark.parametrize("name", ["online_retail_II.xlsx", "lines.parquet"])
def test_a_file_that_is_something_else_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04 not what it says")
    with pytest.raises(UnusableSource, match=r"must be a readable (spreadsheet|Parquet file), got"):
        read(source(*([name] if name.endswith("parquet") else [])), tmp_path)


def test_files_cannot_be_named_outside_the_folder() -> None:
    with pytest.raises(ValidationError, match="must be one plain name"):
        source("../other/lines.parquet")


def test_only_the_whole_spreadsheet_is_compared_with_the_published_count(tmp_path: Path) -> None:
    workbook(tmp_path / "online_retail_II.xlsx", sheets())
    published = source_card(source()).published
    assert published is not None
    table = compared_with_published(read(source(), tmp_path).tables, published)
    assert table.row(0) == ("interactions", 1_067_371, 8)
    assert source_card(source("lines.parquet")).published is None


def test_a_workbook_that_would_unpack_absurdly_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workbook(tmp_path / "online_retail_II.xlsx", sheets())
    monkeypatch.setattr(online_retail, "_MAX_UNPACKED", 1000)
    with pytest.raises(UnusableSource, match=r"online_retail_II\.xlsx must unpack to at most 1,000 bytes, got"):
        read(source(), tmp_path)
