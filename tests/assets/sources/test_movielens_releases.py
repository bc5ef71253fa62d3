"""Every release of MovieLens in the layout it is published in. The files are made here."""

import gzip
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from assets.sources import MissingRawFile, UnusableSource, source_card
from assets.sources.movielens import RELEASES
from contracts.config.sources import MovieLensSource
from tests.assets.sources.test_movielens import read

CSV_RATINGS = "userId,movieId,rating,timestamp\n1,2,3.5,1112486027\n1,29,0.5,1112484676\n2,3,5.0,1112484819\n"
CSV_FILMS = (
    "movieId,title,genres\n2,Jumanji (1995),Adventure|Children\n"
    '29,"Cité des enfants perdus, La (1995)",Drama\n'
    '3,"He said ""no"" (2001)",(no genres listed)\n'
)
DAT_FILMS = "2::Jumanji (1995)::Adventure\n29::Misérables, Les (1995)::Drama|War\n3::Seven: the sequel (1996)::Crime\n"


def source(release: str, **more: str) -> MovieLensSource:
    return MovieLensSource.model_validate({"kind": "movielens", "release": release, **more})


@pytest.mark.parametrize("release", ["20m", "25m", "32m", "latest-small", "latest"])
@pytest.mark.parametrize("is_packed", [True, False])
def test_csv_releases_with_quoted_titles(tmp_path: Path, release: str, is_packed: bool) -> None:
    if is_packed:
        with zipfile.ZipFile(tmp_path / f"ml-{release}.zip", "w") as archive:
            archive.writestr(f"ml-{release}/ratings.csv", CSV_RATINGS)
            archive.writestr(f"ml-{release}/movies.csv", CSV_FILMS)
            archive.writestr(f"ml-{release}/tags.csv", "not looked at")
    else:
        (tmp_path / "ratings.csv").write_text(CSV_RATINGS, encoding="utf-8")
        (tmp_path / "movies.csv").write_text(CSV_FILMS.replace("\n", "\r\n"), encoding="utf-8", newline="")
    raw = read(source(release), tmp_path)
    assert raw.quarantine.is_empty()
    assert raw.items.drop("text").rows() == [
        ("2", "Jumanji (1995)", "Adventure|Children"),
        ("29", "Cité des enfants perdus, La (1995)", "Drama"),
        ("3", 'He said "no" (2001)', None),
    ]
    assert raw.interactions.select("user", "item", "weight", "line").rows() == [
        ("1", "2", 3.5, 2),
        ("1", "29", 0.5, 3),
        ("2", "3", 5.0, 4),
    ]
    assert raw.interactions["at"][0] == datetime.fromtimestamp(1112486027, UTC)


@pytest.mark.parametrize(("release", "encoding", "rating"), [("1m", "iso-8859-1", "5"), ("10m", "utf-8", "0.5")])
def test_releases_with_two_colons_between_fields(tmp_path: Path, release: str, encoding: str, rating: str) -> None:
    (tmp_path / "movies.dat").write_bytes(DAT_FILMS.encode(encoding))
    (tmp_path / "ratings.dat").write_text(f"1::29::{rating}::978300760\n1::3::4::978302109\n")
    raw = read(source(release), tmp_path)
    assert raw.items["title"].to_list() == ["Jumanji (1995)", "Misérables, Les (1995)", "Seven: the sequel (1996)"]
    assert raw.interactions.select("user", "item", "weight").rows() == [("1", "29", float(rating)), ("1", "3", 4.0)]


def test_half_a_star_is_no_rating_of_1m(tmp_path: Path) -> None:
    (tmp_path / "movies.dat").write_bytes(DAT_FILMS.encode("iso-8859-1"))
    lines = ["1::29::0.5::978300760", *["1::2::4::978300760"] * 100]
    (tmp_path / "ratings.dat").write_text("\n".join(lines))
    raw = read(source("1m"), tmp_path)
    assert raw.quarantine.rows() == [("ratings.dat", 1, "rating must be a number from 1 to 5", lines[0])]


def test_films_of_10m_in_the_encoding_of_1m_are_refused(tmp_path: Path) -> None:
    (tmp_path / "movies.dat").write_bytes(DAT_FILMS.encode("iso-8859-1"))
    (tmp_path / "ratings.dat").write_text("1::29::4::978300760\n")
    with pytest.raises(UnusableSource, match=r"movies\.dat, line 2: must be text in utf-8, got the byte 0xe9"):
        read(source("10m"), tmp_path)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('4,"Unclosed (1995),Drama', "quotes must enclose whole fields and close on their line"),
        ('4,12" vinyl (1995),Drama', "quotes must enclose whole fields and close on their line"),
        ('4,"Half" quoted (1995),Drama', "quotes must enclose whole fields and close on their line"),
        ("4,One, two (1995),Drama", "must have 3 fields, got 4"),
        ('4,"",Drama', "title must be 1 to 100,000 characters"),
    ],
)
def test_a_broken_csv_line_is_set_aside_alone(tmp_path: Path, line: str, reason: str) -> None:
    films = [f"{number},Film {number},Drama" for number in range(100, 300)]
    films.insert(50, line)
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n" + "\n".join(films), encoding="utf-8")
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,100,3.5,1112486027\n")
    raw = read(source("25m"), tmp_path)
    assert raw.quarantine.rows() == [("movies.csv", 52, reason, line)]
    assert raw.items.height == 200


@pytest.mark.parametrize("header", ["userId,movieId,timestamp,rating", "1,2,3.5,1112486027", "userid,movieid"])
def test_another_header_is_refused(tmp_path: Path, header: str) -> None:
    (tmp_path / "movies.csv").write_text(CSV_FILMS, encoding="utf-8")
    (tmp_path / "ratings.csv").write_text(f"{header}\n1,2,3.5,1112486027\n")
    with pytest.raises(
        UnusableSource, match=r"ratings\.csv must start with the line 'userId,movieId,rating,timestamp'"
    ):
        read(source("25m"), tmp_path)


def test_another_file_of_ratings_is_read_gzipped_and_is_not_called_the_release(tmp_path: Path) -> None:
    (tmp_path / "movies.dat").write_bytes(DAT_FILMS.encode("iso-8859-1"))
    (tmp_path / "liked.dat.gz").write_bytes(gzip.compress(b"1::29::5::978300760\n"))
    liked = source("1m", ratings="liked.dat")
    raw = read(liked, tmp_path)
    assert raw.interactions.select("item", "file").rows() == [("29", "liked.dat.gz")]
    card = source_card(liked)
    assert card.published is None
    assert "liked.dat" in card.title
    assert card.note is not None
    assert "Not the release" in card.note


def test_the_other_ratings_may_lie_beside_the_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "ml-1m.zip", "w") as archive:
        archive.writestr("ml-1m/ratings.dat", "1::2::1::978300760\n")
        archive.writestr("ml-1m/movies.dat", DAT_FILMS.encode("iso-8859-1"))
    (tmp_path / "liked.dat").write_text("1::29::5::978300760\n")
    assert read(source("1m", ratings="liked.dat"), tmp_path).interactions["item"].to_list() == ["29"]
    assert read(source("1m"), tmp_path).interactions["item"].to_list() == ["2"]


def test_missing_other_ratings_are_named(tmp_path: Path) -> None:
    (tmp_path / "movies.dat").write_bytes(DAT_FILMS.encode("iso-8859-1"))
    with pytest.raises(MissingRawFile, match=r"must have liked\.dat \(or \.gz\), beside ml-1m\.zip or movies\.dat in"):
        read(source("1m", ratings="liked.dat"), tmp_path)


@pytest.mark.parametrize("name", ["../ratings.dat", "/etc/passwd", "..", "", "a/b", ".hidden", "a\0b", "x" * 200])
def test_the_other_ratings_cannot_leave_the_folder(name: str) -> None:
    with pytest.raises(ValidationError, match="must be one plain name"):
        source("1m", ratings=name)


def test_a_log_of_several_blocks_stays_in_the_order_of_its_lines(tmp_path: Path) -> None:
    """The reader takes it in several chunks."""
    (tmp_path / "movies.csv").write_text(CSV_FILMS, encoding="utf-8")
    lines = "".join(f"{number},29,4.0,1112486027\n" for number in range(400_000))
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n" + lines)
    interactions = read(source("25m"), tmp_path).interactions
    assert interactions["line"].to_list() == list(range(2, 400_002))


@pytest.mark.parametrize("release", RELEASES)
def test_every_release_says_where_it_is_from_and_on_what_terms(release: str) -> None:
    card = source_card(source(release))
    assert card.page is not None
    assert card.page.startswith("https://grouplens.org/datasets/movielens/")
    assert card.files[0] == f"ml-{release}.zip"
    assert "commercial" in card.terms
    assert all(len(digest) == 64 and int(digest, 16) for digest in card.sha256.values())
    assert (RELEASES[release].archive in card.sha256) != release.startswith("latest")
