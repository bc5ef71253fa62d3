"""Whatever stands in a raw file is data: it reaches no statement, no path and no other row."""

from pathlib import Path

import polars as pl
import pytest

from assets.sources import UnusableSource
from assets.sources.files import RawFile
from assets.sources.reader.columns import Row, fine, identifier, log_row
from assets.sources.reader.delimited import Dialect
from assets.sources.reader.tables import Log, published_part, read_log
from assets.sources.reader.text import TextForm
from assets.transforms.cleaning.interactions import clean_interactions
from contracts.config.dataset import Cleaning
from contracts.files.load import load_dataset, load_experiment
from contracts.files.yaml_lines import ConfigurationError
from orchestration.resources.lake import LakeStorage

IDS = [
    "🦊",
    "e\u0301",  # not the same as é
    "é",
    "'; DROP TABLE raw; --",
    '"quoted"',
    "../../etc/passwd",
    "%s {0} $1 ?",
    "NULL",
    "nan",
    "1e5",
    "-0",
    "\u202eright to left",
    "x" * 200,
]


DIALECT = Dialect(one_line=True, form=TextForm("utf-8", 100_000_000))


def row(records: pl.DataFrame) -> Row:
    given = {"user": identifier(records["user"], "user id"), "item": identifier(records["item"], "item id")}
    return log_row(records.height, {**given, "event": fine(records["user"])})


def read(source: RawFile, scratch: Path, share: float) -> Log:
    return read_log([published_part(source, DIALECT, ("user", "item"), row)], share, scratch)


def written(folder: Path, content: bytes) -> RawFile:
    (folder / "log.csv").write_bytes(content)
    return RawFile(folder / "log.csv", None, "log.csv")


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def test_ids_that_look_like_something_else_come_out_as_they_went_in(tmp_path: Path) -> None:
    rows = [(user, item) for user in IDS for item in IDS]
    source = written(tmp_path, "".join(f"{quoted(user)},{quoted(item)}\n" for user, item in rows).encode())
    log = read(source, tmp_path, 0)
    assert log.quarantine.is_empty()
    log.interactions.sink_parquet(tmp_path / "raw.parquet")
    items = pl.DataFrame({"item": IDS, "title": IDS, "category": None, "text": None})
    cleaning = Cleaning(events=tuple(IDS), k_core=len(IDS))
    found = clean_interactions(tmp_path / "raw.parquet", items, cleaning, 0, tmp_path)
    assert set(found.users["user"]) == set(found.items["item"]) == set(found.items["title"]) == set(IDS)
    named = found.interactions.collect().join(found.users, on="user_id").join(found.items, on="item_id")
    assert sorted(named.select("user", "item").rows()) == sorted(rows)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (f"{'u' * 990_000},x", "user id must be 1 to 200 characters"),
        (f"{'u' * 2_000_000},x", "is longer than 1,000,000 bytes"),
        ('u,"a title', "quotes must enclose whole fields and close on their line"),  # its newline is quoted
        ('u,x"y', "quotes must enclose whole fields and close on their line"),
        ("u,x,y", "must have 2 fields, got 3"),
        ("u", "must have 2 fields, got 1"),
        ("u\0,x", "holds a NUL byte"),
        (",x", "user id must be 1 to 200 characters"),
        ("u, ", "item id must be 1 to 200 characters"),
    ],
)
def test_a_line_that_cannot_be_used_is_set_aside_and_spoils_no_other(tmp_path: Path, line: str, reason: str) -> None:
    source = written(tmp_path, f"a,b\n{line}\nc,d\n".encode())
    log = read(source, tmp_path, 0.5)
    assert log.rows.select("user", "item", "file", "line").collect().rows() == [
        ("a", "b", "log.csv", 1),
        ("c", "d", "log.csv", 3),
    ]
    assert log.quarantine.rows() == [("log.csv", 2, reason, line[:200])]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "a,b\nc,é\n".encode("iso-8859-1"),
            r"log\.csv, line 2: must be text in utf-8, got the byte 0xe9\. Bring the file as published",
        ),
        ("a,b\n".encode("utf-16"), r"line 1: must be text in utf-8, got the byte 0xff"),
        (b"a,b\n" * 5 + b"\xf0\x9f", r"line 6: must be text in utf-8, got the byte 0xf0"),  # cut in a character
        (b"", "must hold data, got an empty file"),
    ],
)
def test_a_file_that_is_no_such_text_is_refused_whole(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(UnusableSource, match=message):
        read(written(tmp_path, content), tmp_path, 0.5)


@pytest.mark.parametrize("name", ["../secret", "a/../../b", "/etc/passwd", "..", ".", "", "a\0b", "Ünï", "a" * 65])
def test_a_name_cannot_leave_its_folder(tmp_path: Path, name: str) -> None:
    for load in (load_dataset, load_experiment):
        with pytest.raises(ConfigurationError, match="unknown"):
            load(name)
    lake = LakeStorage(root=str(tmp_path / "lake"), warehouse=str(tmp_path / "warehouse.duckdb"))
    for asset, partition in ((name, ("demo",)), ("users", (name,)), ("users", ("demo", name))):
        with pytest.raises(ValueError, match="a name in the lake must match"):
            lake.current(asset, partition)
    assert list(tmp_path.iterdir()) == []
