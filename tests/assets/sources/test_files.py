"""Raw files of any size and shape: packed or not, broken or not, they are read to the end or refused."""

import bz2
import gzip
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from assets.sources import UnusableSource, files
from assets.sources.files import RawFile, blocks, find
from assets.sources.reader.columns import Row, constant, identifier, log_row, number
from assets.sources.reader.delimited import Dialect
from assets.sources.reader.tables import Log, published_part, read_log
from assets.sources.reader.text import LONGEST, TextForm, whole_lines

TEXT = "x,1\n\nÿ,2\r\nz,three\rw,4"
PUBLISHED = TextForm("utf-8", 100_000_000)
DIALECT = Dialect(quote=False, form=PUBLISHED)


def row(records: pl.DataFrame) -> Row:
    n = records.height
    given = {"user": identifier(records["a"], "a"), "item": constant(n, "i", pl.String())}
    return log_row(n, {**given, "weight": number(records["b"], "b")})


def read(source: RawFile, scratch: Path, share: float, *, dialect: Dialect = DIALECT, header: bool = False) -> Log:
    return read_log([published_part(source, dialect, ("a", "b"), row, header=header)], share, scratch)


def lines(source: RawFile, form: TextForm = PUBLISHED) -> list[tuple[int, str]]:
    """The lines that are not blank, with their numbers."""
    return [
        (first + place, text.decode())
        for first, found in whole_lines(source, form)
        for place, text in enumerate(found)
        if text
    ]


def plain(folder: Path, content: bytes, name: str = "log.csv") -> RawFile:
    (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return RawFile(folder / name, None, name)


def member(folder: Path, content: bytes) -> RawFile:
    with zipfile.ZipFile(folder / "log.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("in/log.csv", content)
    return RawFile(folder / "log.zip", "in/log.csv", "log.zip/in/log.csv")


def test_a_plain_a_gzipped_and_a_zipped_file_read_the_same(tmp_path: Path) -> None:
    content = TEXT.encode()
    wanted = [(1, "x,1"), (3, "ÿ,2"), (4, "z,three"), (5, "w,4")]
    for source in (plain(tmp_path, content), plain(tmp_path, content, "log.csv.gz"), member(tmp_path, content)):
        assert lines(source) == wanted


@pytest.mark.parametrize("block", [1, 2, 3, 7, 1 << 20])
def test_lines_do_not_depend_on_the_blocks_they_are_read_in(
    tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "BLOCK", block)
    assert lines(plain(tmp_path, f"{TEXT}\r\n123456\n\n8\n".encode())) == [
        (1, "x,1"), (3, "ÿ,2"), (4, "z,three"), (5, "w,4"), (6, "123456"), (8, "8"),
    ]  # fmt: skip


def test_a_line_far_too_long_is_set_aside(tmp_path: Path) -> None:
    content = b"x,1\n" + b"y" * (12 * LONGEST) + b"\nz,3\n"
    log = read(plain(tmp_path, content), tmp_path, 0.5)
    assert log.rows.select("user", "weight", "line").collect().rows() == [("x", 1.0, 1), ("z", 3.0, 3)]
    assert log.quarantine.rows() == [("log.csv", 2, f"is longer than {LONGEST:,} bytes", "y" * 200)]


def test_good_lines_keep_the_order_of_the_file_through_many_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "BLOCK", 1 << 16)
    source = plain(tmp_path, "".join(f"u{number},{number}\n" for number in range(200_000)).encode())
    log = read(source, tmp_path, 0)
    found = log.interactions.collect()
    assert found.select(pl.col("line") - 1 == pl.col("weight"))["line"].all()
    assert (found.height, log.quarantine.height) == (200_000, 0)
    assert found["line"].is_sorted()


@pytest.mark.parametrize("pack", [member, lambda folder, content: plain(folder, content, "log.csv.gz")])
def test_a_file_that_expands_absurdly_is_refused_by_its_ratio(
    tmp_path: Path, pack: Callable[[Path, bytes], RawFile]
) -> None:
    source = pack(tmp_path, b"0" * 100_000_000)
    with pytest.raises(UnusableSource, match=r"must unpack to at most 200 times its size, got more by 8[\d,]+ bytes"):
        list(blocks(source))
    assert len(list(blocks(pack(tmp_path, b"0" * 60_000_000)))) == 4  # a small file may be all the same


def test_a_file_larger_than_any_that_was_published_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableSource, match=r"log\.csv must hold at most 7 bytes, got more\. .* download it again"):
        lines(plain(tmp_path, b"x,1\ny,2\n"), TextForm("utf-8", 7))


def test_a_truncated_gzip_is_refused(tmp_path: Path) -> None:
    source = plain(tmp_path, b"".join(b"%d,1\n" % number for number in range(10_000)), "log.csv.gz")
    source.path.write_bytes(source.path.read_bytes()[:-200])
    for look in (lambda: list(blocks(source)), lambda: lines(source), lambda: read(source, tmp_path, 1)):
        with pytest.raises(UnusableSource, match=r"log\.csv\.gz must be readable to its end, .* Copy it again"):
            look()


def test_a_name_in_gz_that_is_no_gzip_is_refused(tmp_path: Path) -> None:
    source = plain(tmp_path, b"x,1\n")
    source.path.rename(tmp_path / "log.csv.gz")
    with pytest.raises(UnusableSource, match=r"must be readable to its end, got after line 1: Not a gzipped file"):
        lines(RawFile(tmp_path / "log.csv.gz", None, "log.csv.gz"))


def test_gzipped_files_are_found_beside_plain_ones(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv.gz"):
        plain(tmp_path, b"x,1\n", name)
    found = find(tmp_path, "all.zip", ("a.csv", "b.csv"))
    assert found is not None
    assert [source.name for source in found] == ["a.csv", "b.csv.gz"]
    assert [lines(source) for source in found] == [[(1, "x,1")]] * 2


def test_the_first_line_must_be_the_header_and_is_no_row(tmp_path: Path) -> None:
    log = read(plain(tmp_path, b"\na,b\nx,1\n"), tmp_path, 0, header=True)
    assert log.rows.select("user", "weight", "line").collect().rows() == [("x", 1.0, 3)]
    with pytest.raises(UnusableSource, match=r"log\.csv must start with the line 'a,b', got 'x,1'\. Bring"):
        read(plain(tmp_path, b"x,1\ny,2\n"), tmp_path, 0, header=True)
    for empty, got in ((b"a,b\n", "rows, got none"), (b"", "data, got an empty file"), (b"\n\n", "data, got an empty")):
        with pytest.raises(UnusableSource, match=rf"log\.csv must hold {got}"):
            read(plain(tmp_path, empty), tmp_path, 0, header=True)


def test_the_share_of_bad_lines_is_the_callers_and_the_refusal_says_how_to_raise_it(tmp_path: Path) -> None:
    source = plain(tmp_path, b"x,1\ny,two\nz,3\nw,four\n")
    assert read(source, tmp_path, 0.5).quarantine["line"].to_list() == [2, 4]
    message = (
        r"log\.csv must have at most 49% unusable rows, got 2 of 4\. First: line 2, b must be a number .*"
        r"\('y,two'\)\. .* raise source\.max_quarantined_share"
    )
    with pytest.raises(UnusableSource, match=message):
        read(source, tmp_path, 0.49)


@pytest.mark.parametrize("block", [1, 2, 5, 1 << 20])
def test_a_delimiter_of_several_bytes(tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BLOCK", block)
    dialect = replace(DIALECT, delimiter="::")
    content = "a:b\x1f::1\nx:::2\n::\n1::2::3\n\né::4".encode()
    log = read(plain(tmp_path, content), tmp_path, 0.9, dialect=dialect)
    assert log.rows.select("user", "weight", "line").collect().rows() == [("a:b\x1f", 1.0, 1), ("é", 4.0, 6)]
    assert log.quarantine.select("line", "text").rows() == [(2, "x:::2"), (3, "::"), (4, "1::2::3")]


def test_a_delimiter_of_several_bytes_inside_quotes_is_text(tmp_path: Path) -> None:
    dialect = Dialect(delimiter="||", form=PUBLISHED)
    log = read(plain(tmp_path, b'"x||y"||1\nz||2\n'), tmp_path, 0, dialect=dialect)
    assert log.interactions.collect()["user"].to_list() == ["x||y", "z"]


def test_where_a_record_is_one_line_an_open_quote_takes_no_other_line(tmp_path: Path) -> None:
    content = b'"a\nb,1\nc",2\n"d",3\n'
    log = read(plain(tmp_path, content), tmp_path, 1, dialect=Dialect(one_line=True, form=PUBLISHED))
    assert log.rows.select("user", "line").collect().rows() == [("b", 2), ("d", 4)]
    assert log.quarantine["line"].to_list() == [1, 3]
    log = read(plain(tmp_path, content), tmp_path, 1, dialect=Dialect(form=PUBLISHED))
    assert log.rows.select("user", "line").collect().rows() == [("a\nb,1\nc", 1), ("d", 4)]


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("log.csv.bz2", bz2.compress), ("log.csv.zst", zstd), ("LOG.CSV.GZ", gzip.compress), ("log.csv", gzip.compress),
        ("plain.csv", bz2.compress), ("plain.txt", zstd),
    ],
)  # fmt: skip
def test_every_compression_is_read_counted_and_refused_when_cut_off(
    name: str, pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    content = b"".join(b"%d,%d\n" % (number, number * 7919 % 1009) for number in range(50_000))
    source = RawFile(tmp_path / name, None, name)
    source.path.write_bytes(pack(content))
    assert b"".join(blocks(source)) == content
    source.path.write_bytes(pack(b"0" * 100_000_000))
    with pytest.raises(UnusableSource, match="must unpack to at most 200 times its size"):
        list(blocks(source))
    source.path.write_bytes(pack(content)[:-1_000])
    with pytest.raises(UnusableSource, match="must be readable to its end"):
        list(blocks(source))
