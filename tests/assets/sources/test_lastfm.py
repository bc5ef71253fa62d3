"""HetRec 2011 Last.fm in the layout it is published in. The files are made here."""

import gzip
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from assets.sources import MissingRawFile, UnusableSource, source_card
from contracts.config.sources import LastfmSource
from tests.assets.sources.test_movielens import Raw
from tests.assets.sources.test_movielens import read as read_source

LISTENS, TAGS = (
    LastfmSource.model_validate({"kind": "lastfm", "interactions": kind, "max_quarantined_share": 0.7})
    for kind in ("listens", "tags")
)
ARTISTS = (
    "id\tname\turl\tpictureURL\n51\tDuran Duran\thttp://www.last.fm/music/Duran+Duran\thttp://x/51.jpg\n"
    "52\tBjörk\thttp://www.last.fm/music/Bj%C3%B6rk\t\n"
)
COUNTS = "userID\tartistID\tweight\r\n2\t51\t13883\r\n2\t52\t11690\r\n3\t52\t1\r\n"
ASSIGNMENTS = (
    "userID\tartistID\ttagID\ttimestamp\r\n2\t52\t13\t1238536800000\r\n2\t52\t15\t1238536800000\r\n"
    "43\t51\t39\t-428720400000\r\n1929\t51\t311\t294357600000\r\n3\t999\t4\t1238536800000\r\n"
)


def packed(folder: Path, **members: str) -> Path:
    with zipfile.ZipFile(folder / "hetrec2011-lastfm-2k.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in {"artists.dat": ARTISTS, **members}.items():
            archive.writestr(name, text)
    return folder


def read(source: LastfmSource, folder: Path) -> Raw:
    return read_source(source, folder)


def test_listens_have_a_weight_and_no_time(tmp_path: Path) -> None:
    raw = read(LISTENS, packed(tmp_path, **{"user_artists.dat": COUNTS}))
    assert raw.interactions.select("user", "item", "at", "position", "weight", "event").rows() == [
        ("2", "51", None, None, 13883.0, None),
        ("2", "52", None, None, 11690.0, None),
        ("3", "52", None, None, 1.0, None),
    ]
    assert raw.items.rows() == [("51", "Duran Duran", None, None), ("52", "Björk", None, None)]
    assert raw.quarantine.is_empty()


@pytest.mark.parametrize("place", ["archive", "gzip", "plain"])
def test_tags_have_their_time_wherever_the_file_lies(tmp_path: Path, place: str) -> None:
    name = "user_taggedartists-timestamps.dat"
    packed(tmp_path, **({name: ASSIGNMENTS} if place == "archive" else {}))
    if place == "gzip":
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(ASSIGNMENTS.encode()))
    if place == "plain":
        (tmp_path / name).write_bytes(ASSIGNMENTS.encode())
    raw = read(TAGS, tmp_path)
    at = datetime(2009, 3, 31, 22, tzinfo=UTC)
    assert raw.interactions.select("user", "item", "at", "weight", "line").rows() == [
        ("2", "52", at, 1.0, 2),
        ("2", "52", at, 1.0, 3),
    ]


def test_times_before_lastfm_and_unknown_artists_are_set_aside(tmp_path: Path) -> None:
    raw = read(TAGS, packed(tmp_path, **{"user_taggedartists-timestamps.dat": ASSIGNMENTS}))
    time = "time must be whole milliseconds since 1970, from 2002-01-01, not in the future"
    assert raw.quarantine.select("line", "reason").rows() == [
        (4, time),
        (5, time),
        (6, "item has no usable line in artists.dat"),
    ]


def test_seconds_instead_of_milliseconds_are_refused(tmp_path: Path) -> None:
    in_seconds = ASSIGNMENTS.replace("800000\r", "800\r")
    with pytest.raises(UnusableSource, match=r"must have at most 70% unusable rows"):
        read(TAGS, packed(tmp_path, **{"user_taggedartists-timestamps.dat": in_seconds}))


def test_an_archive_without_the_times_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnusableSource, match=r"got an archive without user_taggedartists-timestamps\.dat"):
        read(TAGS, packed(tmp_path))


def test_missing_files_name_the_archive_and_the_page(tmp_path: Path) -> None:
    with pytest.raises(
        MissingRawFile, match=r"hetrec2011-lastfm-2k\.zip .*https://grouplens\.org/datasets/hetrec-2011"
    ):
        read(LISTENS, tmp_path)


def test_the_two_logs_have_their_own_published_counts() -> None:
    counts = [source_card(source).published for source in (LISTENS, TAGS)]
    assert [published and published.interactions for published in counts] == [92_834, 186_479]
