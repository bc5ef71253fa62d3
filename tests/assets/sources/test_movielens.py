"""MovieLens 100K in the layout it is published in, sound and broken. The files are made here."""

import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest

from assets.lake.validate import validate
from assets.sources import (
    MissingRawFile,
    RawTables,
    UnusableSource,
    compared_with_published,
    read_source,
    source_card,
    source_files,
)
from contracts.config.sources import DemoSource, MovieLensSource, Source
from contracts.tables import TABLES

SOURCE = MovieLensSource(kind="movielens", release="100k")
COMEDY = "0|0|0|0|0|1|0|0|0|0|0|0|0|0|0|0|0|0|0"
UNKNOWN = "1|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0"
CHILDRENS_WAR = "0|0|0|0|1|0|0|0|0|0|0|0|0|0|0|0|0|1|0"
FILMS = [
    f"1|Un été à Zoé (1995)|01-Jan-1995||http://example.org/1|{COMEDY}",
    f'2|The "Quoted" Film, Part 2 (1996)|01-Jan-1996||http://example.org/2|{CHILDRENS_WAR}',
    f"3|unknown||||{UNKNOWN}",
]
RATINGS = [f"{user}\t{1 + (user + film) % 3}\t{1 + (user * film) % 5}\t{880000000 + 60 * user + film}"
           for user in range(1, 151) for film in range(2)]  # fmt: skip


@dataclass(frozen=True)
class Raw:
    """What was read, in memory."""

    interactions: pl.DataFrame
    items: pl.DataFrame
    quarantine: pl.DataFrame
    tables: RawTables


def read(source: Source, folder: Path) -> Raw:
    with TemporaryDirectory() as scratch:
        tables = read_source(source, folder, Path(scratch))
        interactions = tables.interactions.collect()
    kept = replace(tables, interactions=interactions.lazy())
    return Raw(interactions, tables.items, tables.quarantine, kept)


def written(folder: Path, ratings: list[str] | bytes = RATINGS, films: list[str] | bytes = FILMS) -> Path:
    """u.data and u.item, as published: tab and pipe separated, ASCII and ISO-8859-1, a line feed after each line."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in (("u.data", ratings), ("u.item", films)):
        raw = lines if isinstance(lines, bytes) else ("\n".join(lines) + "\n").encode("iso-8859-1")
        (folder / name).write_bytes(raw)
    return folder


def zipped(folder: Path, unpacked: Path, *, prefix: str = "ml-100k/") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / "ml-100k.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(unpacked.iterdir()):
            archive.write(path, prefix + path.name)
    return folder


def test_the_archive_is_read_typed_and_in_the_publishers_encoding(tmp_path: Path) -> None:
    raw = read(SOURCE, zipped(tmp_path / "ml-100k", written(tmp_path / "unpacked")))
    for name, table in (
        ("raw_interactions", raw.interactions),
        ("raw_items", raw.items),
        ("quarantine", raw.quarantine),
    ):
        validate(table, TABLES[name])
    assert raw.interactions.height == 300
    assert raw.quarantine.is_empty()
    first = raw.interactions.row(0, named=True)
    assert first == {
        "user": "1",
        "item": "2",
        "at": datetime.fromtimestamp(880000060, UTC),
        "position": None,
        "weight": 1.0,
        "event": None,
        "file": "ml-100k.zip/ml-100k/u.data",
        "line": 1,
    }
    assert raw.items.rows() == [
        ("1", "Un été à Zoé (1995)", "Comedy", None),
        ("2", 'The "Quoted" Film, Part 2 (1996)', "Children's|War", None),
        ("3", "unknown", None, None),
    ]


@pytest.mark.parametrize("place", [".", "ml-100k"])
def test_unpacked_files_give_the_same_tables(tmp_path: Path, place: str) -> None:
    unpacked = written(tmp_path / "raw" / place)
    archive = zipped(tmp_path / "zip", unpacked)
    from_folder, from_zip = read(SOURCE, tmp_path / "raw"), read(SOURCE, archive)
    assert from_folder.items.equals(from_zip.items)
    assert from_folder.interactions.drop("file").equals(from_zip.interactions.drop("file"))


def test_the_files_are_named_with_their_hash_and_a_changed_byte_changes_it(tmp_path: Path) -> None:
    folder = written(tmp_path / "ml-100k")
    before = source_files(SOURCE, folder)
    assert [name for name, _ in before] == ["u.data", "u.item"]
    assert all(len(digest) == 64 for _, digest in before)
    written(folder, [*RATINGS[:-1], RATINGS[-1].replace("880", "881")])
    after = source_files(SOURCE, folder)
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, True]


@pytest.mark.parametrize(
    "make", [lambda folder: folder, lambda folder: folder.mkdir(), lambda folder: _only_ratings(folder)]
)
def test_a_missing_file_names_folder_file_and_official_page(tmp_path: Path, make: Callable[[Path], object]) -> None:
    folder = tmp_path / "ml-100k"
    make(folder)
    with pytest.raises(MissingRawFile) as caught:
        read(SOURCE, folder)
    message = str(caught.value)
    assert str(folder) in message
    assert "ml-100k.zip" in message
    assert "https://grouplens.org/datasets/movielens/100k/" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("7\t1\t3", "must have 4 fields, got 3"),
        ("7\t1\t3\t880000000\textra", "must have 4 fields, got 5"),
        ("7 1 3 880000000", "must have 4 fields, got 1"),
        ("\t1\t3\t880000000", "user id must be 1 to 200 characters"),
        (f"{'7' * 201}\t1\t3\t880000000", "user id must be 1 to 200 characters"),
        ("7\t \t3\t880000000", "item id must be 1 to 200 characters"),
        ("7\t1\tfive\t880000000", "rating must be a number from 1 to 5"),
        ("7\t1\tnan\t880000000", "rating must be a number from 1 to 5"),
        ("7\t1\tinf\t880000000", "rating must be a number from 1 to 5"),
        ("7\t1\t1e400\t880000000", "rating must be a number from 1 to 5"),
        ("7\t1\t0\t880000000", "rating must be a number from 1 to 5"),
        ("7\t1\t6\t880000000", "rating must be a number from 1 to 5"),
        ("7\t1\t3\tyesterday", "time must be whole seconds since 1970, not in the future"),
        ("7\t1\t3\t880000000.5", "time must be whole seconds since 1970, not in the future"),
        ("7\t1\t3\t-1", "time must be whole seconds since 1970, not in the future"),
        ("7\t1\t3\t880000000000", "time must be whole seconds since 1970, not in the future"),  # milliseconds
        ("7\t1\t3\t99999999999", "time must be whole seconds since 1970, not in the future"),
        ("7\t1\t3\t880000\x00000", "holds a NUL byte"),
        ("7\t99\t3\t880000000", "item has no usable line in u.item"),
    ],
)
def test_an_unusable_rating_is_set_aside_with_its_line_and_reason(tmp_path: Path, line: str, reason: str) -> None:
    raw = read(SOURCE, written(tmp_path / "ml-100k", [*RATINGS[:10], line, *RATINGS[10:]]))
    assert raw.quarantine.rows() == [("u.data", 11, reason, line[:200])]
    assert raw.interactions.height == 300
    assert raw.interactions["line"].to_list() == [*range(1, 11), *range(12, 302)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("4|A Film (1990)||", "must have 24 fields, got 4"),
        (f"|A Film (1990)||||{COMEDY}", "item id must be 1 to 200 characters"),
        (f"4| ||||{COMEDY}", "title must be 1 to 100,000 characters"),
        (f"4|A Film (1990)||||{COMEDY[:-1]}7", "genre flags must be 0 or 1"),
        (f"3|Again (1990)||||{COMEDY}", "item is listed more than once; the first line counts"),
    ],
)
def test_an_unusable_film_is_set_aside_with_its_line_and_reason(tmp_path: Path, line: str, reason: str) -> None:
    films = FILMS + [f"{number}|Film {number} (1990)||||{COMEDY}" for number in range(100, 220)]
    raw = read(SOURCE, written(tmp_path / "ml-100k", RATINGS, [*films, line]))
    assert raw.quarantine.select("file", "line", "text").rows() == [("u.item", len(films) + 1, line)]
    assert raw.quarantine["reason"].to_list() == [reason]
    assert raw.items.height == len(films)


def test_ratings_of_a_film_without_a_usable_line_are_set_aside_too(tmp_path: Path) -> None:
    films = FILMS + [f"{number}|Film {number} (1990)||||{COMEDY}" for number in range(100, 220)]
    ratings = [*RATINGS, "7\t500\t3\t880000000"]
    raw = read(SOURCE, written(tmp_path / "ml-100k", ratings, [*films, f"500| ||||{COMEDY}"]))
    assert raw.quarantine["file"].to_list() == ["u.data", "u.item"]
    assert "500" not in raw.interactions["item"]


def test_line_numbers_are_the_files_own_across_blank_lines_and_windows_line_ends(tmp_path: Path) -> None:
    lines = ["", RATINGS[0], "", "", *RATINGS[1:], "broken", "", ""]
    for end in ("\n", "\r\n", "\r"):
        raw = read(SOURCE, written(tmp_path / "ml-100k", end.join(lines).encode()))
        assert raw.interactions["line"].to_list()[:3] == [2, 5, 6]
        assert raw.quarantine.rows() == [("u.data", 304, "must have 4 fields, got 1", "broken")]
        assert raw.interactions.select("user", "weight").row(-1) == ("150", 1.0)


def test_more_than_a_hundredth_of_bad_lines_refuses_the_file(tmp_path: Path) -> None:
    broken = ["7\t1\tfive\t880000000"] * 4
    message = (
        r"u\.data must have at most 1% unusable rows, got 4 of 304\. "
        r"First: line 301, rating must be a number"
    )
    with pytest.raises(UnusableSource, match=message):
        read(SOURCE, written(tmp_path / "ml-100k", RATINGS + broken))


def test_a_broken_film_list_is_named_and_not_the_ratings_of_its_films(tmp_path: Path) -> None:
    with pytest.raises(UnusableSource, match=r"u\.item must have at most 1% unusable rows, got 1 of 3"):
        read(SOURCE, written(tmp_path / "ml-100k", RATINGS, [FILMS[0], FILMS[1], "3|no flags"]))


@pytest.mark.parametrize("content", [b"", b"\n\n\n"])
def test_an_empty_file_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UnusableSource, match=r"u\.data must hold data, got an empty file"):
        read(SOURCE, written(tmp_path / "ml-100k", content))


def test_another_encoding_is_refused_near_its_line(tmp_path: Path) -> None:
    ratings = "\n".join(RATINGS).encode("utf-16")
    with pytest.raises(UnusableSource, match=r"u\.data, line 1: must be text in ascii, got the byte 0xff\. Bring"):
        read(SOURCE, written(tmp_path / "ml-100k", ratings))


def test_a_line_longer_than_a_page_is_set_aside_and_cut(tmp_path: Path) -> None:
    raw = read(SOURCE, written(tmp_path / "ml-100k", [*RATINGS, "x" * 3_000_000]))
    assert raw.quarantine["text"].str.len_chars().to_list() == [200]


def test_text_that_looks_like_sql_or_a_path_is_data(tmp_path: Path) -> None:
    title = "'); DROP TABLE items; -- ../../etc/passwd {x} %s"
    films = [f"1|{title}||||{COMEDY}", *FILMS[1:]]
    assert read(SOURCE, written(tmp_path / "ml-100k", RATINGS, films)).items["title"][0] == title


def test_a_folder_whose_name_looks_like_sql_or_a_pattern_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "a'; --[1]*"
    assert read(SOURCE, written(folder)).interactions.height == 300


def test_an_archive_with_a_member_outside_its_folder_is_refused(tmp_path: Path) -> None:
    folder = zipped(tmp_path / "ml-100k", written(tmp_path / "unpacked"))
    with zipfile.ZipFile(folder / "ml-100k.zip", "a") as archive:
        archive.writestr("../escaped.txt", "x")
    with pytest.raises(UnusableSource, match=r"inside its own folder, got the member '\.\./escaped\.txt'"):
        read(SOURCE, folder)


@pytest.mark.parametrize("member", ["/etc/u.data", "C:/u.data", "a\\..\\..\\u.data"])
def test_an_archive_with_an_absolute_or_windows_path_is_refused(tmp_path: Path, member: str) -> None:
    with zipfile.ZipFile(tmp_path / "ml-100k.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo(member), "x")
    with pytest.raises(UnusableSource, match="inside its own folder"):
        read(SOURCE, tmp_path)


def test_an_archive_that_expands_absurdly_is_refused_while_it_is_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "ml-100k.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ml-100k/u.data", "\n".join(RATINGS))
        archive.writestr("ml-100k/u.item", b"0" * 21_000_000)
    with pytest.raises(UnusableSource, match=r"u\.item must hold at most 20,000,000 bytes, got more"):
        read(SOURCE, tmp_path)


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    folder = zipped(tmp_path / "ml-100k", written(tmp_path / "unpacked"))
    path = folder / "ml-100k.zip"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UnusableSource, match=r"must be a zip archive, got: .*\. Download it again"):
        read(SOURCE, folder)


def test_a_damaged_member_is_refused(tmp_path: Path) -> None:
    folder = zipped(tmp_path / "ml-100k", written(tmp_path / "unpacked"))
    path = folder / "ml-100k.zip"
    content = bytearray(path.read_bytes())
    content[200] ^= 0xFF  # inside the compressed ratings
    path.write_bytes(content)
    with pytest.raises(UnusableSource, match=r"u\.data must be readable"):
        read(SOURCE, folder)


def test_an_encrypted_archive_is_refused(tmp_path: Path) -> None:
    folder = zipped(tmp_path / "ml-100k", written(tmp_path / "unpacked"))
    path = folder / "ml-100k.zip"
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the flag in the central directory
    path.write_bytes(content)
    with pytest.raises(UnusableSource, match=r"must not be encrypted, got an encrypted ml-100k/u\.data"):
        read(SOURCE, folder)


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "ml-100k.zip", "w") as archive:
        archive.writestr("ml-1m/ratings.dat", "1::1::5::1")
    with pytest.raises(UnusableSource, match=r"got an archive without u\.data, u\.item"):
        read(SOURCE, tmp_path)


def test_every_source_has_a_card() -> None:
    demo, movielens = source_card(DemoSource.model_validate({"kind": "demo"})), source_card(SOURCE)
    assert (demo.files, demo.page, demo.published) == ((), None, None)
    assert movielens.published is not None
    assert movielens.published.interactions == 100_000
    assert "redistribution" in movielens.terms


def test_the_demo_needs_no_folder(tmp_path: Path) -> None:
    config = DemoSource.model_validate({"kind": "demo", "users": 50, "items": 50})
    raw = read(config, tmp_path / "not there")
    assert raw.quarantine.is_empty()
    assert source_files(config, tmp_path / "not there") == ()


def test_the_comparison_with_the_publisher_counts_what_was_interacted_with(tmp_path: Path) -> None:
    raw = read(SOURCE, written(tmp_path / "ml-100k"))
    published = source_card(SOURCE).published
    assert published is not None
    table = compared_with_published(raw.tables, published)
    assert table.rows() == [
        ("interactions", 100_000, 300),
        ("users", 943, 150),
        ("items", 1_682, 3),
        ("catalogue", 1_682, 3),
        ("quarantine", None, 0),
    ]


@pytest.mark.skipif(
    not Path(os.environ.get("BORDERLINE_RAW", "data/raw"), "ml-100k").is_dir(),
    reason="the publisher's files are not here; BORDERLINE_RAW names the folder they are in",
)
def test_the_published_files_hold_what_the_publisher_states() -> None:
    raw = read(SOURCE, Path(os.environ.get("BORDERLINE_RAW", "data/raw"), "ml-100k"))
    published = source_card(SOURCE).published
    assert published is not None
    table = compared_with_published(raw.tables, published)
    assert table.rows()[:4] == [(name, count, count) for name, count, _ in table.rows()[:4]]
    assert raw.quarantine.is_empty()
    assert raw.items.height == 1_682
    assert raw.items.filter(pl.col("item") == "543")["title"].to_list() == ["Misérables, Les (1995)"]


def _only_ratings(folder: Path) -> None:
    written(folder)
    (folder / "u.item").unlink()
