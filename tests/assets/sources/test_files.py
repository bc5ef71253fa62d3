"""Raw text of any size and shape: packed or not, broken or not, it is read line by line or refused."""

import gzip
import zipfile
from dataclasses import replace
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pytest

from assets.sources import UnusableSource, files
from assets.sources.files import MAX_LINE, RawFile, find, numbered_lines
from assets.sources.lines import Delimited
from assets.sources.text import Layout, read_lines
from assets.transforms.database import database, sql_text

LAYOUT = Layout(
    lines=Delimited(","),
    fields=("a", "b"),
    encoding="utf-8",
    rules={"b must be a number": "try_cast(b AS DOUBLE) IS NULL"},
    select={"a": "a", "b": "try_cast(b AS DOUBLE)"},
    max_bytes=100_000_000,
)
TEXT = "x,1\n\nÿ,2\r\nz,three\rw,4"


def lines(source: RawFile, encoding: str = "utf-8", max_bytes: int = 1 << 30) -> list[tuple[int, str, bool]]:
    table = pa.Table.from_batches(numbered_lines(source, encoding, max_bytes), files.LINES)
    return [(row["number"], row["text"], row["is_too_long"]) for row in table.to_pylist()]


def plain(folder: Path, content: bytes, name: str = "log.csv") -> RawFile:
    (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return RawFile(folder / name, None, name)


def member(folder: Path, content: bytes) -> RawFile:
    with zipfile.ZipFile(folder / "log.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("in/log.csv", content)
    return RawFile(folder / "log.zip", "in/log.csv", "log.zip/in/log.csv")


def test_a_plain_a_gzipped_and_a_zipped_file_read_the_same(tmp_path: Path) -> None:
    content = TEXT.encode()
    wanted = [(1, "x,1", False), (3, "ÿ,2", False), (4, "z,three", False), (5, "w,4", False)]
    for source in (plain(tmp_path, content), plain(tmp_path, content, "log.csv.gz"), member(tmp_path, content)):
        assert lines(source) == wanted


@pytest.mark.parametrize("block", [1, 2, 3, 7, 1 << 20])
def test_lines_do_not_depend_on_the_blocks_they_are_read_in(
    tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_BLOCK", block)
    monkeypatch.setattr(files, "MAX_LINE", 6)
    monkeypatch.setattr(files, "_KEPT", 6)
    found = lines(plain(tmp_path, f"{TEXT}\r\n123456\n1234567\n123456789\n\n8\n".encode()))
    assert [(number, text[:6], is_too_long) for number, text, is_too_long in found] == [
        (1, "x,1", False), (3, "ÿ,2", False), (4, "z,thre", True), (5, "w,4", False),
        (6, "123456", False), (7, "123456", True), (8, "123456", True), (10, "8", False),
    ]  # fmt: skip


def test_a_line_far_too_long_is_set_aside_without_being_held(tmp_path: Path) -> None:
    content = b"x,1\n" + b"y" * (12 * MAX_LINE) + b"\nz,3\n"
    good, bad = read_lines(plain(tmp_path, content), LAYOUT, tmp_path, max_bad_share=0.5)
    assert good.collect().rows() == [("x", 1.0, "log.csv", 1), ("z", 3.0, "log.csv", 3)]
    assert bad.rows() == [("log.csv", 2, f"is longer than {MAX_LINE:,} bytes", "y" * 200)]


def test_good_lines_keep_the_order_of_the_file_through_many_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_BLOCK", 1 << 12)
    source = plain(tmp_path, "".join(f"u{number},{number}\n" for number in range(200_000)).encode())
    good, bad = read_lines(source, LAYOUT, tmp_path, max_bad_share=0)
    assert good.select(pl.col("line") - 1 == pl.col("b")).collect()["line"].all()
    assert (good.select(pl.len()).collect().item(), bad.height) == (200_000, 0)
    assert good.collect()["line"].is_sorted()


@pytest.mark.parametrize("pack", [member, lambda folder, content: plain(folder, content, "log.csv.gz")])
def test_a_file_that_expands_absurdly_is_refused_by_its_ratio(tmp_path: Path, pack: object) -> None:
    source = pack(tmp_path, b"0" * 40_000_000)  # type: ignore[operator]
    with pytest.raises(UnusableSource, match=r"must expand to at most 200 times its [\d,]+ compressed bytes, got more"):
        lines(source)


def test_a_small_file_may_be_all_the_same(tmp_path: Path) -> None:
    assert len(lines(plain(tmp_path, b"a,1\n" * 500_000, "log.csv.gz"))) == 500_000


def test_a_truncated_gzip_is_refused(tmp_path: Path) -> None:
    source = plain(tmp_path, b"".join(b"%d,1\n" % number for number in range(10_000)), "log.csv.gz")
    source.path.write_bytes(source.path.read_bytes()[:-200])
    with pytest.raises(UnusableSource, match=r"log\.csv\.gz must be readable, got: .* Download it again"):
        lines(source)
    with pytest.raises(UnusableSource, match=r"log\.csv\.gz must be readable"):
        read_lines(source, LAYOUT, tmp_path, max_bad_share=1)


def test_a_name_in_gz_that_is_no_gzip_is_refused(tmp_path: Path) -> None:
    source = plain(tmp_path, b"x,1\n")
    source.path.rename(tmp_path / "log.csv.gz")
    with pytest.raises(UnusableSource, match=r"must be readable, got: Not a gzipped file"):
        lines(RawFile(tmp_path / "log.csv.gz", None, "log.csv.gz"))


def test_gzipped_files_are_found_beside_plain_ones(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv.gz"):
        plain(tmp_path, b"x,1\n", name)
    found = find(tmp_path, "all.zip", ("a.csv", "b.csv"))
    assert found is not None
    assert [source.name for source in found] == ["a.csv", "b.csv.gz"]
    assert [lines(source) for source in found] == [[(1, "x,1", False)]] * 2


def test_the_first_line_must_be_the_header_and_is_no_row(tmp_path: Path) -> None:
    layout = replace(LAYOUT, header="a,b")
    good, _ = read_lines(plain(tmp_path, b"\na,b\nx,1\n"), layout, tmp_path, max_bad_share=0)
    assert good.collect().rows() == [("x", 1.0, "log.csv", 3)]
    with pytest.raises(UnusableSource, match=r"log\.csv must start with the line 'a,b', got 'x,1'\. Bring"):
        read_lines(plain(tmp_path, b"x,1\ny,2\n"), layout, tmp_path, max_bad_share=0)
    for empty in (b"a,b\n", b"", b"\n\n"):
        with pytest.raises(UnusableSource, match=r"log\.csv must hold data, got (an empty file|a header alone)"):
            read_lines(plain(tmp_path, empty), layout, tmp_path, max_bad_share=0)


def test_the_share_of_bad_lines_is_the_callers_and_the_refusal_says_how_to_raise_it(tmp_path: Path) -> None:
    source = plain(tmp_path, b"x,1\ny,two\nz,3\nw,four\n")
    _, bad = read_lines(source, LAYOUT, tmp_path, max_bad_share=0.5)
    assert bad["line"].to_list() == [2, 4]
    message = (
        r"log\.csv must have at most 0\.49 of its lines unusable, got 2 of 4 \(0\.5\)\. First: line 2, b must be a "
        r"number \('y,two'\)\. .* raise source\.max_quarantined_share"
    )
    with pytest.raises(UnusableSource, match=message):
        read_lines(source, LAYOUT, tmp_path, max_bad_share=0.49)


def test_the_engine_reaches_nothing_but_its_folders_and_stays_locked(tmp_path: Path) -> None:
    scratch, given, other = (tmp_path / name for name in ("scr'atch", "given", "other"))
    for folder in (scratch, given, other):
        folder.mkdir()
        (folder / "x.csv").write_text("1\n")
    with database(scratch, given) as connection:
        for folder in (scratch, given):
            assert connection.execute(f"SELECT * FROM read_csv({sql_text(folder / 'x.csv')})").fetchall() == [(1,)]
        for statement in (
            f"SELECT * FROM read_csv({sql_text(other / 'x.csv')})",
            f"COPY (SELECT 1) TO {sql_text(other / 'y.csv')}",
            f"ATTACH {sql_text(other / 'z.duckdb')}",
            "INSTALL httpfs",
            "LOAD httpfs",
            "SET enable_external_access = true",
            "SET memory_limit = '1TB'",
        ):
            with pytest.raises(duckdb.Error):
                connection.execute(statement)
    assert sorted(path.name for path in other.iterdir()) == ["x.csv"]


def test_a_memory_limit_that_is_no_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BORDERLINE_MEMORY", "plenty")
    with (
        pytest.raises(ValueError, match="BORDERLINE_MEMORY must be a size such as 500MB or 4GB, got 'plenty'"),
        database(tmp_path),
    ):
        pass


def test_the_memory_limit_is_the_environments_and_what_does_not_fit_is_spilled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BORDERLINE_MEMORY", "64MB")
    with database(tmp_path) as connection:
        rows = "SELECT hash(range) AS key, range::VARCHAR || repeat('x', 40) AS text FROM range(3_000_000)"
        connection.execute(f"CREATE TABLE big AS {rows}")  # some 180 MB
        found = connection.execute("SELECT count(*) FROM (SELECT text FROM big ORDER BY key OFFSET 1)").fetchone()
        assert found == (2_999_999,)
