"""What a user's file can hold that is easily changed without a word: names, ids, types, late keys."""

import io
import json
import uuid
import zipfile
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from assets.sources import UnusableSource, files
from tests.assets.sources.test_tabular import read, source

# Every name that the reader, its SQL, or the raw tables use themselves.
INTERNAL = (
    "line", "file", "reason", "text", "user", "item", "at", "position", "weight", "event", "title", "category",
    "unlisted", "repeat", "unit", "value_0", "value_1", "is_object", "column_1", "column_2", "place", "lines", "index",
    "literal", "offset", "local", "without", "whole", "real", "in_range", "slow", "len", "row", "count", "é",
)  # fmt: skip
ROWS = 40


def forms(rows: list[dict[str, Any]]) -> dict[str, bytes]:
    """The same rows as a file of each format."""
    parquet = io.BytesIO()
    table = pl.DataFrame(rows)
    table.write_parquet(parquet)
    return {
        "log.csv": table.write_csv().encode(),
        "log.jsonl": "\n".join(map(json.dumps, rows)).encode(),
        "log.parquet": parquet.getvalue(),
    }


def log_of(folder: Path, name: str, content: bytes, **mapping: Any) -> pl.DataFrame:
    plain = {"user": "u", "item": "i", "time": {"column": "t", "format": "seconds"}, "weight": None}
    raw = read(folder, {name: content}, path=name, **{**plain, **mapping})
    assert raw.quarantine.is_empty()
    return raw.interactions.collect()


@pytest.mark.parametrize("name", INTERNAL)
def test_a_column_may_have_any_name(name: str, tmp_path: Path) -> None:
    rows = [{name: f"x{row % 7}", "other": f"y{row % 5}", "t": 1_700_000_000 + row} for row in range(ROWS)]
    for file, content in forms(rows).items():
        for mapping in ({"user": name, "item": "other"}, {"user": "other", "item": name}):
            log = log_of(tmp_path / file / mapping["item"], file, content, **mapping)
            column = "user" if mapping["user"] == name else "item"
            assert log[column].to_list() == [f"x{row % 7}" for row in range(ROWS)], file
            assert log["line"].to_list() == list(
                range(2 if file == "log.csv" else 1, ROWS + (2 if file == "log.csv" else 1))
            )


@pytest.mark.parametrize("name", ["line", "value_0", "file", "at"])
def test_numbers_and_titles_may_have_any_name_too(name: str, tmp_path: Path) -> None:
    rows = [{"u": f"u{row % 7}", "i": f"i{row % 5}", "t": 1_700_000_000 + row, name: ROWS - row} for row in range(ROWS)]
    for file, content in forms(rows).items():
        log = log_of(tmp_path / file, file, content, time=None, position=name, weight=name)
        assert log["position"].to_list() == log["weight"].to_list() == list(range(ROWS, 0, -1)), file
    catalogue = "\n".join([f"id,{name}", *(f"i{item},Title {item}" for item in range(5))]).encode()
    items = {"path": "items.csv", "item": "id", "title": name}
    mapping = {"user": "u", "item": "i", "time": {"column": "t", "format": "seconds"}, "weight": None, "items": items}
    raw = read(tmp_path, {"log.csv": forms(rows)["log.csv"], "items.csv": catalogue}, **mapping)
    assert raw.items["title"].to_list() == [f"Title {item}" for item in range(5)]


def test_a_whole_number_is_one_id_whatever_wrote_it(tmp_path: Path) -> None:
    values = [1000, 7, -3]
    written: dict[str, tuple[str, Any]] = {
        "ints": ("csv", "{}"), "floats": ("csv", "{}.0"), "more zeros": ("csv", "{}.000"), "json": ("jsonl", "{}.0"),
    }  # fmt: skip
    for name, (ending, form) in written.items():
        if ending == "csv":
            content = "\n".join(["u,i,t", *(f"{form.format(value)},x,1700000000" for value in values)]).encode()
        else:
            rows = (f'{{"u": {form.format(value)}, "i": "x", "t": 1700000000}}' for value in values)
            content = "\n".join(rows).encode()
        assert log_of(tmp_path / name, f"log.{ending}", content)["user"].to_list() == ["1000", "7", "-3"], name
    for kind in (pl.Float64, pl.Float32, pl.Int64, pl.Decimal(12, 2)):
        out = io.BytesIO()
        pl.DataFrame({"u": pl.Series(values).cast(kind), "i": ["x"] * 3, "t": [1_700_000_000] * 3}).write_parquet(out)
        log = log_of(tmp_path / str(kind), "log.parquet", out.getvalue())
        assert log["user"].to_list() == ["1000", "7", "-3"], kind


def test_what_only_looks_like_a_number_stays_as_it_is(tmp_path: Path) -> None:
    ids = ["007", "007.0", "1.5", "v1.0", "1.0.0", "1e3", "+1.0"]
    content = "\n".join(["u,i,t", *(f"{name},x,1700000000" for name in ids)]).encode()
    assert log_of(tmp_path, "log.csv", content)["user"].to_list() == ids


def test_a_catalogue_in_the_other_form_matches(tmp_path: Path) -> None:
    log = b"u,i,t\na,3.0,1700000000\nb,4.0,1700000001\n"
    items = {"path": "items.csv", "item": "id", "title": "name"}
    mapping = {"user": "u", "item": "i", "time": {"column": "t", "format": "seconds"}, "weight": None, "items": items}
    raw = read(tmp_path, {"log.csv": log, "items.csv": b"id,name\n3,Three\n4,Four\n"}, **mapping)
    assert raw.items.select("item", "title").rows() == [("3", "Three"), ("4", "Four")]
    assert raw.quarantine.is_empty()


def arrow(users: pa.Array, t: pa.Array | None = None) -> bytes:
    n = len(users)
    times = pa.array([1_700_000_000 + row for row in range(n)]) if t is None else t
    out = io.BytesIO()
    pq.write_table(pa.table({"u": users, "i": pa.array(["x"] * n), "t": times}), out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("users", "ids"),
    [
        pytest.param(
            pa.array([uuid.UUID(int=1).bytes, None, uuid.UUID(int=2).bytes], pa.uuid()),
            [str(uuid.UUID(int=1)), str(uuid.UUID(int=2))],
            id="uuid",
        ),
        pytest.param(pa.array([b"ab12", None, b"cd34"], pa.binary(4)), ["ab12", "cd34"], id="fixed-size text"),
        pytest.param(pa.array([b"ab", None, b"c"], pa.binary()), ["ab", "c"], id="binary text"),
        pytest.param(
            pa.array([Decimal(10**50), None, Decimal(3)], pa.decimal256(60, 0)), [str(10**50), "3"], id="wide decimal"
        ),
        pytest.param(
            pa.array([Decimal(10**30), None, Decimal(3)], pa.decimal128(38, 0)), [str(10**30), "3"], id="decimal"
        ),
    ],
)
def test_ids_of_every_type_that_parquet_has(users: pa.Array, ids: list[str], tmp_path: Path) -> None:
    mapping = {"user": "u", "item": "i", "time": {"column": "t", "format": "seconds"}, "weight": None}
    raw = read(tmp_path, {"a.parquet": arrow(users)}, path="a.parquet", max_quarantined_share=0.5, **mapping)
    assert raw.interactions.collect()["user"].to_list() == ids
    assert raw.quarantine["line"].to_list() == [2]


def test_bytes_that_are_no_text_are_refused_with_their_column(tmp_path: Path) -> None:
    mapping = {"user": "u", "item": "i", "time": None, "weight": None}
    with pytest.raises(UnusableSource, match=r"a\.parquet: column 'u' must hold text, got bytes .*hexadecimal"):
        read(tmp_path, {"a.parquet": arrow(pa.array([b"\xff\x01"], pa.binary(2)))}, path="a.parquet", **mapping)


@pytest.mark.parametrize("unit", ["ms", "us"])
def test_a_stored_time_that_no_calendar_holds_is_set_aside_as_it_is_stored(unit: str, tmp_path: Path) -> None:
    per_second = {"ms": 10**3, "us": 10**6}[unit]
    times = [(1_700_000_000 + row) * per_second for row in range(200)]
    times[5] = 9_000_000_000_000_000 if unit == "ms" else 9_000_000_000_000_000_000
    content = arrow(pa.array([f"u{row}" for row in range(200)]), pa.array(times, pa.timestamp(unit)))
    mapping = {"user": "u", "item": "i", "time": {"column": "t"}, "weight": None}
    raw = read(tmp_path, {"a.parquet": content}, path="a.parquet", **mapping)
    assert raw.quarantine["line"].to_list() == [6]
    assert str(times[5]) in raw.quarantine["text"][0]
    assert raw.interactions.collect()["at"].max() == datetime.fromtimestamp(1_700_000_199, UTC)


def test_a_key_may_appear_late_and_an_event_may_be_missing(tmp_path: Path) -> None:
    rows = [{"u": f"u{row % 9}", "i": f"i{row % 7}", "t": 1_700_000_000 + row} for row in range(1_500)]
    for row in rows[1_200:]:
        row["kind é"] = "buy"
    content = "\n".join(map(json.dumps, rows)).encode()
    log = log_of(tmp_path / "late", "log.jsonl", content, event="kind é")
    assert log["event"].to_list() == [None] * 1_200 + ["buy"] * 300
    with pytest.raises(UnusableSource, match=r"log\.jsonl must have the column 'sort', got u, i, t"):
        log_of(tmp_path / "never", "log.jsonl", content, event="sort")


def test_a_row_in_another_unit_than_its_log_is_set_aside(tmp_path: Path) -> None:
    times = [(1_700_000_000 + row) * 1000 for row in range(300)]
    times[10], times[20] = times[10] // 1000, 0
    content = "\n".join(["u,i,t", *(f"u{row},x,{time}" for row, time in enumerate(times))]).encode()
    mapping = {"user": "u", "item": "i", "time": {"column": "t", "format": "milliseconds"}, "weight": None}
    raw = read(tmp_path, {"log.csv": content}, **mapping)
    assert raw.quarantine["line"].to_list() == [12, 22]
    assert set(raw.quarantine["reason"]) == {"column 't' must be milliseconds as elsewhere, not 0 or in another unit"}


def test_fields_may_be_told_apart_by_several_characters_or_by_whitespace(tmp_path: Path) -> None:
    rows = [(f"u{row}", f"i{row % 3}", 1_700_000_000 + row) for row in range(50)]
    written = {
        "colons": ("::", "\n".join("::".join(map(str, row)) for row in [("u", "i", "t"), *rows])),
        "a sign": ("§", "\n".join("§".join(map(str, row)) for row in [("u", "i", "t"), *rows])),
        "spaces": ("whitespace", "".join("  {}\t {}   {} \n".format(*row) for row in [("u", "i", "t"), *rows])),
        "last line": ("whitespace", "\n".join("{} {} {}  ".format(*row) for row in [("u", "i", "t"), *rows])),
    }
    for name, (delimiter, text) in written.items():
        for block in (7, 16 << 20):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(files, "BLOCK", block)
                log = log_of(tmp_path / f"{name} {block}", "log.csv", text.encode(), delimiter=delimiter)
            assert log.select("user", "item", "line").rows() == [
                (user, item, 2 + row) for row, (user, item, _) in enumerate(rows)
            ], name


@pytest.mark.parametrize("delimiter", ["", "\n", '"', "a\nb", "x" * 17])
def test_a_delimiter_that_cannot_be_one_is_refused(delimiter: str) -> None:
    with pytest.raises(ValidationError, match="delimiter"):
        source(delimiter=delimiter)


def test_a_decimal_comma_is_read_when_it_is_said_and_named_when_it_is_not(tmp_path: Path) -> None:
    content = "\n".join(["u;i;t;w", *(f"u{row};x;1700000000;1.00{row % 10},5" for row in range(20))]).encode()
    log = log_of(tmp_path / "said", "log.csv", content, delimiter=";", weight="w", decimal="comma")
    assert log["weight"].to_list() == [1000.5 + row % 10 for row in range(20)]
    with pytest.raises(UnusableSource, match=r"column 'w' must be a number .*decimal: comma"):
        log_of(tmp_path / "not", "log.csv", content, delimiter=";", weight="w")


def test_what_means_no_value_is_missing(tmp_path: Path) -> None:
    content = b"u,i,t,e\na,x,1700000000,NULL\nNULL,x,1700000001,buy\nNULLA,x,1700000002, \\N \n"
    mapping = {"user": "u", "item": "i", "time": {"column": "t", "format": "seconds"}, "weight": None, "event": "e"}
    raw = read(tmp_path, {"log.csv": content}, missing=["NULL", "\\N"], max_quarantined_share=0.5, **mapping)
    assert raw.interactions.collect().select("user", "event").rows() == [("a", None), ("NULLA", None)]
    assert raw.quarantine["line"].to_list() == [3]


def test_ids_in_two_forms_are_said_and_ids_in_one_are_not(tmp_path: Path) -> None:
    def notes(name: str, *parts: str) -> tuple[str, ...]:
        files = {f"{part}.csv": f"user,item,stars,ts\n{text}".encode() for part, text in enumerate(parts)}
        return read(tmp_path / name, files, path="*.csv").notes

    ints = "".join(f"{row % 7 + 10},i{row},3,{1_700_000_000 + row}\n" for row in range(20))
    floats = ints.replace(",i", ".0,i")
    assert notes("ints", ints, ints) == notes("floats", floats, floats) == ()
    for name, parts in {"two files": (floats, ints), "the other way": (ints, floats), "one": (ints + floats,)}.items():
        (note,) = notes(name, *parts)
        assert "'user'" in note
        assert "10.0 and 10" in note


def test_a_catalogue_that_knows_no_item_of_the_log_is_said_with_an_example(tmp_path: Path) -> None:
    log = "user,item,stars,ts\n" + "".join(f"u{row},7,3,{1_700_000_000 + row}\n" for row in range(20))
    files = {"log.csv": log.encode(), "items.csv": b"id,name\nA7,Seven\n"}
    table = {"path": "items.csv", "item": "id", "title": "name"}
    (note,) = read(tmp_path / "kept", files, items={**table, "unlisted": "id"}).notes
    assert "items.csv" in note
    assert "7 in the log and A7 there" in note
    with pytest.raises(UnusableSource, match=r"20 of 20.*usable line in items\.csv, such as A7"):
        read(tmp_path / "refused", files, items=table)
    files["items.csv"] += b"7,Seven\n"
    assert read(tmp_path / "found", files, items={**table, "unlisted": "id"}).notes == ()


def test_a_refusal_shows_the_reason_of_most_rows_and_not_of_the_first(tmp_path: Path) -> None:
    rows = [",i1,3,1700000000", *[f"u{row},i1,many,1700000000" for row in range(50)]]
    with pytest.raises(UnusableSource, match=r"51 of 51\. First of 50 for one reason: line 3, column 'stars'"):
        read(tmp_path, {"log.csv": "\n".join(["user,item,stars,ts", *rows]).encode()})


def test_a_log_that_carries_titles_is_its_own_catalogue(tmp_path: Path) -> None:
    rows = [f"u{row},i{row % 3},3,{1_700_000_000 + row},Title {row % 3},shop" for row in range(30)]
    rows += ["u1,i0,3,1700000000,TITLE 0,shop", "u2,i1,3,1700000000,,", "u2,i2,3,1700000000"]
    table = {"item": "item", "title": "name", "category": "kind"}
    files = {
        "a.csv": "\n".join(["user,item,stars,ts,name,kind", *rows[:20]]).encode(),
        "b.csv": "\n".join(["user,item,stars,ts,name,kind", *rows[20:]]).encode(),
    }
    raw = read(tmp_path, files, path="*.csv", items={"path": "*.csv", **table}, max_quarantined_share=0.1)
    assert raw.items.rows() == [(f"i{item}", f"Title {item}", "shop", None) for item in range(3)]
    assert raw.interactions.collect().height == 32
    assert raw.quarantine["reason"].to_list() == ["must have 6 fields, got 4"]
    (note,) = raw.notes
    assert note.startswith("1 items have several titles")


def test_the_titles_of_a_log_do_not_depend_on_its_blocks_and_the_first_of_equals_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = ["a,i,1,1700000000,B,x", "a,i,1,1700000001,A,x", "a,i,1,1700000002,A,y", "a,i,1,1700000003,B,y"]
    rows += ["a,j,1,1700000004,A,x", "a,j,1,1700000005,C,z", "a,j,1,1700000006,C,w", "a,j,1,1700000007,C,w"]
    file = "\n".join(["user,item,stars,ts,name,kind", *rows]).encode()
    items = {"path": "log.csv", "item": "item", "title": "name", "category": "kind"}
    for block in (16 << 20, 40):
        monkeypatch.setattr(files, "BLOCK", block)
        raw = read(tmp_path / str(block), {"log.csv": file}, items=items)
        assert raw.items.select("item", "title", "category").rows() == [("i", "B", "x"), ("j", "C", "w")]


def test_a_file_without_rows_among_full_ones_is_passed_over_and_counted(tmp_path: Path) -> None:
    def parquet(rows: int) -> bytes:
        out = io.BytesIO()
        columns = {"user": ["a"] * rows, "item": ["i"] * rows, "stars": [4.0] * rows, "ts": [1_700_000_000] * rows}
        pl.DataFrame(columns, schema_overrides={"user": pl.String, "item": pl.String, "ts": pl.Int64}).write_parquet(
            out
        )
        return out.getvalue()

    header = b"user,item,stars,ts\n"
    full = header + b"a,i,4,1700000000\n" * 20
    cases = {"log/*.csv": (full, header, b""), "log/*.parquet": (parquet(20), parquet(0), parquet(0))}
    for path, contents in cases.items():
        ending = path.partition("*")[2]
        for order in ((0, 1, 2), (1, 2, 0)):
            names = {f"log/{place}{ending}": contents[which] for place, which in enumerate(order)}
            raw = read(tmp_path / f"{ending}{order[0]}", names, path=path)
            assert raw.interactions.collect().height == 20
            (note,) = raw.notes
            assert note.startswith("2 files hold no row")
        with pytest.raises(UnusableSource, match=r"must hold (rows|data), got"):
            read(tmp_path / f"{ending}none", {f"log/{n}{ending}": contents[n] for n in (1, 2)}, path=path)


def test_an_empty_file_is_still_held_to_its_columns(tmp_path: Path) -> None:
    full = b"user,item,stars,ts\n" + b"a,i,4,1700000000\n" * 20
    with pytest.raises(UnusableSource, match=r"b\.csv must have the column 'user' that a\.csv has"):
        read(tmp_path, {"a.csv": full, "b.csv": b"member,item,stars,ts\n"}, path="*.csv")


def test_a_path_that_holds_only_folders_names_them(tmp_path: Path) -> None:
    with pytest.raises(UnusableSource, match=r"got only folders: 2024, 2025\. Write path: 'log/\*\*/\*\.csv'"):
        read(tmp_path, {"log/2024/a.csv": b"x", "log/2025/a.csv": b"x"}, path="log")


def test_what_a_mac_adds_to_an_archive_does_not_count(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("log.csv", "user,item,stars,ts\n" + "a,i,4,1700000000\n" * 20)
        archive.writestr("__MACOSX/._log.csv", b"\0\5\x16\7")
        archive.writestr(".DS_Store", b"\0")
    raw = read(tmp_path, {"log.ZIP": out.getvalue()}, path="log.ZIP", format="csv")
    assert raw.interactions.collect().height == 20
