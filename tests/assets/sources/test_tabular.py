"""A user's own files: every way in which they can be wrong, and what is said about it.

`REFUSED` and `SET_ASIDE` are the whole matrix: a file's content beside the message or the quarantined line.
"""

import gzip
import io
import json
import tracemalloc
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter, ValidationError

from assets.lake.validate import validate
from assets.sources import MissingRawFile, RawTables, UnusableSource, files, source_files, tabular
from assets.sources.reader import text
from assets.sources.tabular.files import files_of
from contracts.config.sources import Source, TabularSource
from contracts.tables import TABLES

GOOD = [f"u{row % 150},i{row % 3},{row % 5 + 1},{1_700_000_000 + row}" for row in range(300)]
HEADER = "user,item,stars,ts"
MAPPING: dict[str, Any] = {
    "kind": "tabular",
    "path": "log.csv",
    "user": "user",
    "item": "item",
    "time": {"column": "ts", "format": "seconds"},
    "weight": {"column": "stars", "minimum": 1, "maximum": 5},
}


def source(**changes: Any) -> TabularSource:
    config = TypeAdapter(Source).validate_python({**MAPPING, **changes})
    assert isinstance(config, TabularSource)
    return config


def csv(*lines: str, header: str = HEADER, good: list[str] = GOOD) -> bytes:
    """A good log, with `lines` from line 302 on."""
    return "\n".join([header, *good, *lines, ""]).encode()


def read(folder: Path, files: dict[str, bytes], **changes: Any) -> RawTables:
    folder = folder / "raw"
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    scratch = folder.parent / "scratch"
    scratch.mkdir()
    raw = tabular.read(source(**changes), folder, scratch)
    validate(raw.interactions.collect(), TABLES["raw_interactions"])
    validate(raw.items, TABLES["raw_items"])
    validate(raw.quarantine, TABLES["quarantine"])
    return raw


def at(day: str) -> dict[str, str]:
    return {"column": "ts", "format": day}


def jsonl(*rows: str) -> bytes:
    good = [{"user": f"u{row % 150}", "item": row % 3, "stars": 4, "ts": 1_700_000_000 + row} for row in range(300)]
    return "\n".join([*map(json.dumps, good), *rows]).encode()


def parquet(**columns: Any) -> bytes:
    out = io.BytesIO()
    table = {
        "user": ["a"] * 300,
        "item": [1] * 300,
        "stars": [4.0] * 300,
        "ts": list(range(1_700_000_000, 1_700_000_300)),
    }
    pl.DataFrame({**table, **columns}).write_parquet(out)
    return out.getvalue()


TRUNCATED_GZIP = gzip.compress(csv(good=GOOD * 50), mtime=0)[:-40]
MILLISECONDS = [line + "000" for line in GOOD]
MICROSECONDS = [line + "000000" for line in GOOD]
SMALL = [line.rsplit(",", 1)[0] + f",{row}" for row, line in enumerate(GOOD)]
DAYS = [line.rsplit(",", 1)[0] + f",{row % 28 + 1:02}/05/2024 12:30" for row, line in enumerate(GOOD)]

REFUSED: list[tuple[str, dict[str, bytes], dict[str, Any], str]] = [
    ("empty file", {"log.csv": b""}, {}, r"log\.csv must hold data, got an empty file\. Bring its rows"),
    ("blank lines", {"log.csv": b"\n\n\r\n"}, {}, r"log\.csv must hold data, got an empty file"),
    ("header only", {"log.csv": HEADER.encode()}, {}, r"log\.csv must hold rows, got none after its header\."),
    ("column missing", {"log.csv": csv(header="user,itme,stars,ts")}, {},
     r"log\.csv must have the column 'item', got user, itme, stars, ts\. Did you mean 'itme'\?"),
    ("column in capitals", {"log.csv": csv(header="USER,ITEM,STARS,TS")}, {},
     r"log\.csv must have the column 'user', got USER, ITEM, STARS, TS\. Did you mean 'USER'\?"),
    ("another delimiter", {"log.csv": csv().replace(b",", b";")}, {},
     r"must have the column 'user', got user;item;stars;ts\. It looks split by ';': write delimiter: ';'"),
    ("column twice", {"log.csv": csv(header="user,item,item,ts")}, {},
     r"log\.csv: column 'item' must stand once, got it 2 times\. Rename one"),
    ("drift in a glob", {"a.csv": csv(), "b.csv": csv(header="user,item,rating,ts")}, {"path": "*.csv"},
     r"b\.csv must have the column 'stars' that a\.csv has, got user, item, rating, ts\. Write the files with one"),
    ("type drift", {"a.parquet": parquet(), "b.parquet": parquet(item=["x"] * 300)}, {"path": "*.parquet"},
     r"b\.parquet: column 'item' must be of the type int64 that it has in a\.parquet, got large_string\."),
    ("list for an id", {"a.parquet": parquet(item=[[1]] * 300)}, {"path": "a.parquet"},
     r"a\.parquet: column 'item' must hold one value a row, got large_list<.*\. Flatten it"),
    ("no rows in parquet", {"a.parquet": parquet(user=[], item=[], stars=[], ts=[])}, {"path": "a.parquet"},
     r"a\.parquet must hold rows, got none"),
    ("damaged parquet", {"a.parquet": parquet()[:-9]}, {"path": "a.parquet"},
     r"a\.parquet: must be a readable Parquet file, got: .*\. Copy it again"),
    ("milliseconds", {"log.csv": csv(good=MILLISECONDS)}, {},
     r"log\.csv, near line 152: column 'ts' must be seconds, got '1700000150000', which would be the year 55,841; "
     r"as milliseconds it is 2023-11-14\. Write format: milliseconds\."),
    ("microseconds", {"log.csv": csv(good=MICROSECONDS)}, {"time": at("milliseconds")},
     r"column 'ts' must be milliseconds, .* as microseconds it is 2023-11-14\. Write format: microseconds\."),
    ("seconds read as milliseconds", {"log.csv": csv()}, {"time": at("milliseconds")},
     r"got '1700000150', which would be the year 1970; as seconds it is 2023-11-14\. Write format: seconds\."),
    ("an order, not a clock", {"log.csv": csv(good=SMALL)}, {},
     r"column 'ts' must be seconds, got '150', which would be the year 1970, and no other format fits\. .* map it as "
     r"position"),
    ("a pattern, read as iso", {"log.csv": csv(good=DAYS)}, {"time": at("iso")},
     r"column 'ts' must be iso, got '11/05/2024 12:30'; as %d/%m/%Y %H:%M it is 2024-05-11\. Write format: "
     r"'%d/%m/%Y %H:%M'\."),
    ("wrong encoding", {"log.csv": csv("Zoë,i1,4,1700000000").decode().encode("iso-8859-1")}, {},
     r"log\.csv, line 302: must be text in utf-8, got the byte 0xeb\. Write encoding: cp1252 .*or save it as UTF-8"),
    ("UTF-16", {"log.csv": csv().decode().encode("utf-16")}, {},
     r"log\.csv, line 1: must be text in utf-8, got the byte 0xff\. It starts like UTF-16: write encoding: utf-16"),
    ("truncated gz", {"log.csv.gz": TRUNCATED_GZIP}, {"path": "log.csv.gz"},
     r"log\.csv\.gz must be readable to its end, got after line [\d,]+: .*\. Copy it again; it is cut off"),
    ("no gz at all", {"log.csv.gz": csv()}, {"path": "log.csv.gz"},
     r"log\.csv\.gz must be readable to its end, got after line 1: Not a gzipped file"),
    ("too many bad rows", {"log.csv": csv(*["u1,i1,six,1700000000"] * 4)}, {},
     r"log\.csv must have at most 1% unusable rows, got 4 of 304\. First: line 302, column 'stars' must be a number "
     r"from 1 to 5 \('u1,i1,six,1700000000'\)\. Bring the file as published, correct its mapping"),
    ("nothing usable", {"log.csv": csv(good=[f"u,i,no,{ts}" for ts in range(1_700_000_000, 1_700_003_000)])}, {},
     r"log\.csv must have at most 1% unusable rows, got 3,000 of the first 3,000\. First: line 2, column 'stars'"),
    ("JSON array", {"log.jsonl": b'[{"user": 1}]'}, {"path": "log.jsonl"},
     r"log\.jsonl, line 1: must be one JSON object a line, got an array"),
    ("key missing", {"log.jsonl": jsonl()}, {"path": "log.jsonl", "user": "customer"},
     r"log\.jsonl must have the column 'customer', got user, item, stars, ts\."),
    ("no known ending", {"log.dat": csv()}, {"path": "log.dat"},
     r"log\.dat must end in \.csv, .* got \.dat\. Write format: csv"),
    ("header with a NUL byte", {"log.csv": b"us\0er," + csv()}, {},
     r"log\.csv, line 1: must be a header, got a NUL byte"),
]  # fmt: skip

SET_ASIDE: list[tuple[str, bytes, str, str]] = [
    ("too few fields", b"u1,i1,4", "must have 4 fields, got 3", "u1,i1,4"),
    ("too many fields", b"u1,i1,4,1700000000,x", "must have 4 fields, got 5", "u1,i1,4,1700000000,x"),
    ("NUL byte", b"u\x001,i1,4,1700000000", "holds a NUL byte", "u\x001,i1,4,1700000000"),
    ("empty user", b",i1,4,1700000000", "column 'user' must be 1 to 200 characters", ",i1,4,1700000000"),
    ("blank item", b"u1,  ,4,1700000000", "column 'item' must be 1 to 200 characters", "u1,  ,4,1700000000"),
    ("id of 201 characters", b"u" * 201 + b",i1,4,1", "column 'user' must be 1 to 200 characters", "u" * 200),
    ("id of 1 MB", b"u" * 1_000_000 + b",i1,4,1", "is longer than 1,000,000 bytes", "u" * 200),
    ("NaN", b"u1,i1,NaN,1700000000", "column 'stars' must be a number from 1 to 5", "u1,i1,NaN,1700000000"),
    ("infinite", b"u1,i1,inf,1700000000", "column 'stars' must be a number from 1 to 5", "u1,i1,inf,1700000000"),
    ("out of range", b"u1,i1,6,1700000000", "column 'stars' must be a number from 1 to 5", "u1,i1,6,1700000000"),
    ("no weight", b"u1,i1,,1700000000", "column 'stars' must be a number from 1 to 5", "u1,i1,,1700000000"),
    ("no time", b"u1,i1,4,", "column 'ts' must be a time, format seconds, not in the future", "u1,i1,4,"),
    ("before 1970", b"u1,i1,4,-5", "column 'ts' must be a time, format seconds, not in the future", "u1,i1,4,-5"),
    ("future", b"u1,i1,4,9999999999", "column 'ts' must be a time, format seconds, not in the future",
     "u1,i1,4,9999999999"),
    ("one row in milliseconds", b"u1,i1,4,1700000000000",
     "column 'ts' must be a time, format seconds, not in the future", "u1,i1,4,1700000000000"),
    ("stray quote", b'u"1,i1,4,1700000000', STRAY := (
        'has a " inside a field that is not quoted, or one that is never closed; double it and quote the field, or '
        "write quote: none"), 'u"1,i1,4,1700000000'),
    ("quote never closed", b'"u1,i1,4,1700000000', STRAY, '"u1,i1,4,1700000000'),
    ("text after a quote", b'"u1"x,i1,4,1700000000', STRAY, '"u1"x,i1,4,1700000000'),
]  # fmt: skip

ACCEPTED: list[tuple[str, bytes, str]] = [
    ("emoji", "👩‍🚀,i1,4,1700000000".encode(), "👩‍🚀"),
    ("SQL", b'"\'); DROP TABLE users; --",i1,4,1700000000', "'); DROP TABLE users; --"),
    ("path", b"../../etc/passwd,i1,4,1700000000", "../../etc/passwd"),
    ("template", b"{x}%s$HOME`id`,i1,4,1700000000", "{x}%s$HOME`id`"),
    ("null as text", b"null,i1,4,1700000000", "null"),
    ("leading zeros", b"007,i1,4,1700000000", "007"),
    ("quoted newline", b'"a\nb",i1,4,1700000000', "a\nb"),
    ("quoted delimiter", b'"a,b",i1,4,1700000000', "a,b"),
    ("doubled quote", b'"a ""b""",i1,4,1700000000', 'a "b"'),
    ("spaces around", b"  u9 ,i1,4,1700000000", "u9"),
    ("fractional seconds", b"u9,i1,4,1700000000.25", "u9"),
]


@pytest.mark.parametrize(("files", "changes", "message"), [pytest.param(*row[1:], id=row[0]) for row in REFUSED])
def test_is_refused(files: dict[str, bytes], changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UnusableSource, match=message):
        read(tmp_path, files, **changes)


@pytest.mark.parametrize(("row", "reason", "text"), [pytest.param(*row[1:], id=row[0]) for row in SET_ASIDE])
@pytest.mark.parametrize("block", [16 << 20, 512])
def test_is_set_aside(
    row: bytes, reason: str, text: str, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if block < 1_000 < len(row):
        pytest.skip("a megabyte in blocks of 512 bytes takes minutes")
    monkeypatch.setattr(files, "BLOCK", block)
    raw = read(tmp_path, {"log.csv": csv() + row + b"\nlast,i0,1,1700000000\n"})
    assert raw.quarantine.rows() == [("log.csv", 302, reason, text)]
    log = raw.interactions.collect()
    assert (log.height, log.row(-1, named=True)["user"], log.row(-1, named=True)["line"]) == (301, "last", 303)


@pytest.mark.parametrize(("row", "user"), [pytest.param(*row[1:], id=row[0]) for row in ACCEPTED])
@pytest.mark.parametrize("block", [16 << 20, 512])
def test_is_read(row: bytes, user: str, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BLOCK", block)
    raw = read(tmp_path, {"log.csv": csv() + row + b"\nlast,i0,1,1700000000\n"})
    log = raw.interactions.collect()
    assert raw.quarantine.is_empty()
    assert log["user"].to_list()[-2:] == [user, "last"]
    assert log["line"].to_list()[-2:] == [302, 303 + row.count(b"\n")]


def test_a_log_that_expands_absurdly_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "SMALL", 1_000)
    content = gzip.compress(csv() + b"u1,i1,4,1700000000\n" * 400_000)
    with pytest.raises(
        UnusableSource, match=r"log\.csv\.gz must unpack to at most 200 times its size, got more by line"
    ):
        read(tmp_path, {"log.csv.gz": content}, path="log.csv.gz")


def test_a_line_without_an_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "_ENDLESS", 5_000_000)
    with pytest.raises(UnusableSource, match=r"log\.csv, line 302: must end within 5,000,000 bytes"):
        read(tmp_path, {"log.csv": csv() + b"0" * 40_000_000})


def test_every_form_of_a_log_gives_the_same_tables(tmp_path: Path) -> None:
    rows = pl.read_csv(csv(), schema_overrides={"item": pl.String})
    zipped, as_parquet = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("export/log.csv", csv())
    rows.write_parquet(as_parquet)
    half = GOOD[:150], GOOD[150:]
    as_json = "\n".join(json.dumps(row) for row in rows.iter_rows(named=True)).encode()
    forms: dict[str, tuple[dict[str, bytes], dict[str, Any]]] = {
        "csv": ({"log.csv": csv()}, {}),
        "windows": ({"log.csv": b"\xef\xbb\xbf" + csv().replace(b"\n", b"\r\n")}, {}),
        "gz": ({"log.csv.gz": gzip.compress(csv())}, {"path": "log.csv.gz"}),
        "zip": ({"log.csv.zip": zipped.getvalue()}, {"path": "log.csv.zip"}),
        "utf-16": ({"log.csv": csv().decode().encode("utf-16")}, {"encoding": "utf-16"}),
        "tsv": ({"log.tsv": csv().replace(b",", b"\t")}, {"path": "log.tsv"}),
        "semicolons": ({"log.csv": csv().replace(b",", b";")}, {"delimiter": ";"}),
        "quoted": ({"log.csv": csv().replace(b",", b'","').replace(b"\n", b'"\n"')[:-1].join([b'"', b""])}, {}),
        "no header": ({"log.csv": "\n".join(GOOD).encode()}, {"columns": ["user", "item", "stars", "ts"]}),
        "another ending": ({"log.dat": csv()}, {"path": "log.dat", "format": "csv"}),
        "folder": (
            {"log/a.csv": csv(good=half[0]), "log/b.csv": csv(good=half[1]), "log/_SUCCESS": b"", "log/.x.crc": b"x"},
            {"path": "log"},
        ),
        "glob": ({"y=1/a.csv": csv(good=half[0]), "y=2/a.csv": csv(good=half[1])}, {"path": "**/*.csv"}),
        "other order": (
            {
                "a.csv": csv(good=half[0]),
                "b.csv": rows[150:].select("ts", "item", "user", "stars").write_csv().encode(),
            },
            {"path": "?.csv"},
        ),
        "json lines": ({"log.jsonl": as_json}, {"path": "log.jsonl"}),
        "json lines gz": ({"log.jsonl.gz": gzip.compress(as_json)}, {"path": "log.jsonl.gz"}),
        "parquet": ({"log.parquet": as_parquet.getvalue()}, {"path": "log.parquet"}),
    }
    expected = [
        (f"u{row % 150}", f"i{row % 3}", datetime.fromtimestamp(1_700_000_000 + row, UTC), None, row % 5 + 1, None)
        for row in range(300)
    ]
    for name, (contents, changes) in forms.items():
        folder = tmp_path / name
        raw = read(folder, contents, **changes)
        assert raw.interactions.collect().drop("file", "line").rows() == expected, name
        assert raw.quarantine.is_empty(), name
        assert raw.items.rows() == [(item, item, None, None) for item in ("i0", "i1", "i2")], name
        read_from = {file.removesuffix("/export/log.csv") for file in raw.interactions.collect()["file"]}
        assert [file for file, _ in source_files(source(**changes), folder / "raw")] == sorted(read_from), name


def test_a_broken_json_row_is_set_aside_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = '{"user": "x", "item": 1, "stars": 1, "ts": 1700000000}'
    rows = ["{broken", '"text"', good, "", '{"user": "x", "item": [1], "stars": 1, "ts": 1700000000}']
    (tmp_path / "whole").mkdir()
    raw = read(tmp_path / "whole", {"log.jsonl": jsonl(*[good] * 300, *rows)}, path="log.jsonl")
    assert raw.quarantine.rows() == [
        ("log.jsonl", 601, "must be a JSON object", "{broken"),
        ("log.jsonl", 602, "must be a JSON object", '"text"'),
        ("log.jsonl", 605, "column 'item' must be 1 to 200 characters", rows[-1]),
    ]
    assert raw.interactions.collect()["line"].to_list()[-2:] == [600, 603]
    monkeypatch.setattr(files, "BLOCK", 1_000)
    again = read(tmp_path, {"log.jsonl": jsonl(*[good] * 300, *rows)}, path="log.jsonl")
    assert again.interactions.collect().equals(raw.interactions.collect())
    assert again.quarantine.equals(raw.quarantine)


def test_keys_are_data_and_never_sql(tmp_path: Path) -> None:
    key = "a'\"/~$.b); DROP TABLE lines; --"
    rows = "\n".join(json.dumps({key: "x", "item": 1, "stars": 4, "ts": 1_700_000_000}) for _ in range(3)).encode()
    raw = read(tmp_path, {"log.jsonl": rows}, path="log.jsonl", user=key)
    assert raw.interactions.collect()["user"].to_list() == ["x"] * 3


def test_a_parquet_row_is_set_aside_with_its_number_and_values(tmp_path: Path) -> None:
    raw = read(
        tmp_path, {"a.parquet": parquet(stars=[4.0, float("nan"), *[4.0] * 298], item=[1.0] * 300)}, path="a.parquet"
    )
    assert raw.quarantine.row(0)[:3] == ("a.parquet", 2, "column 'stars' must be a number from 1 to 5")
    assert raw.interactions.collect()["item"].unique().to_list() == ["1"]


def test_times_of_parquet_keep_their_zone(tmp_path: Path) -> None:
    naive = pl.Series([datetime(2024, 7, 1, 12)] * 300)
    times = {"naive": naive, "zoned": naive.dt.replace_time_zone("Europe/Berlin"), "days": naive.dt.date()}
    time = {"column": "ts", "zone": "America/New_York"}
    hours = {}
    for name, ts in times.items():
        raw = read(tmp_path / name, {"a.parquet": parquet(ts=ts)}, path="a.parquet", time=time)
        hours[name] = raw.interactions.collect()["at"][0]
    assert hours["naive"] == datetime(2024, 7, 1, 16, tzinfo=UTC)
    assert hours["zoned"] == datetime(2024, 7, 1, 10, tzinfo=UTC)
    assert hours["days"] == datetime(2024, 7, 1, 4, tzinfo=UTC)


def test_an_hour_that_a_clock_skips_is_set_aside_and_one_it_shows_twice_is_the_first(tmp_path: Path) -> None:
    good = [f"u{row},i1,4,2024-07-01 12:00" for row in range(300)]
    content = csv("u1,i1,4,2024-03-31 02:30", "u2,i1,4,2024-10-27 02:30", good=good)
    raw = read(tmp_path, {"log.csv": content}, time={"column": "ts", "zone": "Europe/Berlin"})
    assert raw.quarantine["line"].to_list() == [302]
    assert raw.interactions.collect()["at"][-1] == datetime(2024, 10, 27, 0, 30, tzinfo=UTC)


CATALOGUE = b"id,name,kind,words\ni0,Zero,a,none\ni1,One,,\n"
ITEMS = {"path": "items.csv", "item": "id", "title": "name", "category": "kind", "text": "words"}


def test_a_catalogue_gives_titles_and_sets_unlisted_items_aside(tmp_path: Path) -> None:
    good = [f"u{row},i{row % 2},4,{1_700_000_000 + row}" for row in range(300)]
    files = {"log.csv": csv("u1,i2,4,1700000000", good=good), "items.csv": CATALOGUE}
    raw = read(tmp_path / "strict", files, items=ITEMS)
    assert raw.items.rows() == [("i0", "Zero", "a", "none"), ("i1", "One", None, None)]
    reason = "column 'item' must be an item with a usable line in items.csv, such as i0"
    assert raw.quarantine.rows() == [("log.csv", 302, reason, "u1,i2,4,1700000000")]
    raw = read(tmp_path / "lenient", files, items={**ITEMS, "unlisted": "id"})
    assert raw.items.row(-1) == ("i2", "i2", None, None)
    assert raw.quarantine.is_empty()


def test_the_first_line_of_an_item_counts_and_one_without_a_title_is_set_aside(tmp_path: Path) -> None:
    many = "".join(f"j{row},name,,\n" for row in range(300))
    items = CATALOGUE + many.encode() + b"i0,Again,,\ni2,,a,b\n"
    raw = read(
        tmp_path, {"log.csv": csv(*[], good=[g.replace(",i2,", ",i0,") for g in GOOD]), "items.csv": items}, items=ITEMS
    )
    assert raw.quarantine.rows() == [
        ("items.csv", 304, "column 'id' is an item that was listed before; its first line counts", "i0,Again,,"),
        ("items.csv", 305, "column 'name' must be 1 to 100,000 characters", "i2,,a,b"),
    ]
    assert raw.items["title"].to_list()[:2] == ["Zero", "One"]


def test_a_log_with_an_order_and_no_time(tmp_path: Path) -> None:
    raw = read(tmp_path, {"log.csv": csv()}, time=None, position="ts", weight=None, event="stars")
    row = raw.interactions.collect().row(3, named=True)
    assert (row["at"], row["position"], row["weight"], row["event"]) == (None, 1_700_000_003, 1.0, "4")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": "../other/log.csv"}, "must not leave the data set's raw folder"),
        ({"path": "a/../../log.csv"}, "must not leave the data set's raw folder"),
        ({"path": "/etc/passwd"}, "must be a path below the data set's raw folder"),
        ({"path": "~/log.csv"}, "must be a path below the data set's raw folder"),
        ({"path": "a\\..\\log.csv"}, "must be a path below the data set's raw folder"),
        ({"path": "  "}, "must be a path below the data set's raw folder"),
        ({"items": {**ITEMS, "path": "/items.csv"}}, "must be a path below the data set's raw folder"),
        ({"time": {"column": "ts", "format": "unix"}}, "must be seconds, milliseconds, .* got 'unix'"),
        ({"time": {"column": "ts", "format": "%H:%M"}}, "or a pattern with day, month and year"),
        ({"time": {"column": "ts", "zone": "Middle/Earth"}}, "must be a time zone such as UTC or Europe/Berlin"),
        ({"item": "user"}, "user and item must be two columns, got 'user' for both"),
    ],
)
def test_a_mapping_that_cannot_be_meant_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        source(**changes)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "raw"
    for place in (outside, folder):
        place.mkdir()
    (outside / "log.csv").write_bytes(csv())
    (folder / "log.csv").symlink_to(outside / "log.csv")
    (folder / "logs").symlink_to(outside)
    for path in ("log.csv", "*.csv", "logs", "logs/*.csv", "logs/log.csv"):
        with pytest.raises(
            UnusableSource, match=r"must lie in .*raw, got a link to .*outside/log\.csv\. Put the file there"
        ):
            files_of(source(path=path), folder, tabular.card(source()))


def test_a_name_that_looks_like_a_pattern_is_a_name(tmp_path: Path) -> None:
    raw = read(tmp_path, {"log [1]*?.csv": csv()}, path="log [1]*?.csv")
    assert raw.interactions.collect().height == 300


def test_a_missing_file_is_named_with_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "other.csv").write_bytes(csv())
    with pytest.raises(MissingRawFile, match=r"Own data must have log\.csv in .*raw, but found other\.csv\."):
        tabular.locate(source(), tmp_path / "raw")


def test_memory_does_not_grow_with_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BLOCK", 1 << 16)
    peaks = []
    for times in (20, 200):
        scratch = tmp_path / str(times)
        scratch.mkdir()
        (tmp_path / "log.csv").write_bytes(csv(good=GOOD * times))
        tracemalloc.start()
        tabular.read(source(), tmp_path, scratch)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_a_pattern_that_no_shell_takes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableSource, match=r"path must be a file, a folder or a pattern .* got 'a/\*\*\.csv'"):
        read(tmp_path, {"a/log.csv": csv()}, path="a/**.csv")


def test_parquet_that_names_a_column_twice_is_refused(tmp_path: Path) -> None:
    table = pa.table([[1], [2], [3]], names=["user", "item", "user"])
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    with pytest.raises(UnusableSource, match=r"a\.parquet must name each column once, got user twice"):
        read(tmp_path, {"a.parquet": buffer.getvalue()}, path="a.parquet")


def test_parquet_of_a_type_that_is_no_id_names_the_file_and_the_column(tmp_path: Path) -> None:
    content = parquet(item=pl.Series([b"\xff\xfe"] * 300))
    with pytest.raises(UnusableSource, match=r"a\.parquet: column 'item' must hold text, got bytes .* that are none"):
        read(tmp_path, {"a.parquet": content}, path="a.parquet")
