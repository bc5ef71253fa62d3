"""MovieLens, every release, from the publisher's zip or unpacked (https://grouplens.org/datasets/movielens/).

Three layouts: `u.data` and `u.item` (100K), `ratings.dat` and `movies.dat` with `::` between fields (1M, 10M), and CSV
with quoted titles (20M and later).
"""

from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from assets.sources.contract import MissingRawFile, RawTables, SourceCard
from assets.sources.files import RawFile, find
from assets.sources.reader.columns import Row, identifier, item_row, log_row, number, rule, unix_time, unlisted, words
from assets.sources.reader.delimited import Dialect
from assets.sources.reader.tables import published_part, read_items, read_log
from assets.sources.reader.text import TextForm
from contracts.config.sources import MovieLensSource, StatedCounts

# In the order of u.item's last 19 fields (README and u.genre of the archive).
_GENRES_100K = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip

_FIELDS_100K = ("movieId", "title", "released", "released on video", "url", *_GENRES_100K)


@dataclass(frozen=True)
class Release:
    """One release: its archive, its files and how they are written."""

    card: SourceCard
    archive: str
    ratings: str
    items: str
    ratings_dialect: Dialect
    items_dialect: Dialect
    least: float
    """The lowest rating."""


_TERMS = (
    "Research use; no commercial use without permission; {redistribution}; cite Harper and Konstan 2015 "
    "(https://doi.org/10.1145/2827872)."
)
_NOT_REDISTRIBUTED = _TERMS.format(redistribution="no redistribution without permission")
_AS_README_SAYS = _TERMS.format(redistribution="redistribution only as the README allows")


def _dialect(delimiter: str, encoding: str, max_bytes: int) -> Dialect:
    return Dialect(delimiter, quote=delimiter == ",", one_line=True, form=TextForm(encoding, max_bytes))


def _csv_release(
    name: str, page: str, terms: str, published: StatedCounts, sha256: dict[str, str], max_bytes: int
) -> Release:
    archive = f"ml-{name}.zip"
    return Release(
        card=SourceCard(
            title=f"MovieLens {name.upper() if name[0].isdigit() else name}",
            files=(archive, "ratings.csv and movies.csv (unpacked)"),
            page=page,
            terms=terms,
            published=published,
            sha256=sha256,
        ),
        archive=archive,
        ratings="ratings.csv",
        items="movies.csv",
        ratings_dialect=_dialect(",", "utf-8", max_bytes),
        items_dialect=_dialect(",", "utf-8", 100_000_000),
        least=0.5,
    )


# Digests of the archives were computed from the publisher's files by several parties that agree; GroupLens publishes
# MD5 sums. `latest` and `latest-small` change without notice and have none.
RELEASES = {
    "100k": Release(
        card=SourceCard(
            title="MovieLens 100K",
            files=("ml-100k.zip", "u.data and u.item (unpacked)"),
            page="https://grouplens.org/datasets/movielens/100k/",
            terms=_NOT_REDISTRIBUTED,
            published=StatedCounts(interactions=100_000, users=943, items=1_682, catalogue=1_682),
            sha256={
                "ml-100k.zip": "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
                "u.data": "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490",
                "u.item": "553841ebc7de3a0fd0d6b62a204ea30c1e651aacfb2814c7a6584ac52f2c5701",
            },
        ),
        archive="ml-100k.zip",
        ratings="u.data",
        items="u.item",
        ratings_dialect=_dialect("\t", "ascii", 100_000_000),
        items_dialect=_dialect("|", "iso-8859-1", 20_000_000),
        least=1,
    ),
    "1m": Release(
        card=SourceCard(
            title="MovieLens 1M",
            files=("ml-1m.zip", "ratings.dat and movies.dat (unpacked)"),
            page="https://grouplens.org/datasets/movielens/1m/",
            terms=_NOT_REDISTRIBUTED,
            published=StatedCounts(
                interactions=1_000_209,
                users=6_040,
                note="The README says approximately 3,900 films; movies.dat lists 3,883, of which 3,706 are rated.",
            ),
            sha256={"ml-1m.zip": "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20"},
        ),
        archive="ml-1m.zip",
        ratings="ratings.dat",
        items="movies.dat",
        ratings_dialect=_dialect("::", "ascii", 500_000_000),
        items_dialect=_dialect("::", "iso-8859-1", 100_000_000),
        least=1,
    ),
    "10m": Release(
        card=SourceCard(
            title="MovieLens 10M",
            files=("ml-10m.zip", "ratings.dat and movies.dat (unpacked)"),
            page="https://grouplens.org/datasets/movielens/10m/",
            terms=_NOT_REDISTRIBUTED,
            published=StatedCounts(
                interactions=10_000_054,
                users=71_567,
                catalogue=10_681,
                note="The README counts users who rated or tagged; 69,878 of them rated, 10,677 of the films.",
            ),
            sha256={"ml-10m.zip": "813c411ccb6122564edfe752e7f80c4dcc5aa25fa94c93622f6877a7ba252862"},
        ),
        archive="ml-10m.zip",
        ratings="ratings.dat",
        items="movies.dat",
        ratings_dialect=_dialect("::", "ascii", 3_000_000_000),
        items_dialect=_dialect("::", "utf-8", 100_000_000),
        least=0.5,
    ),
    "20m": _csv_release(
        "20m",
        "https://grouplens.org/datasets/movielens/20m/",
        _AS_README_SAYS,
        StatedCounts(
            interactions=20_000_263,
            users=138_493,
            catalogue=27_278,
            note="The README counts the films of movies.csv; 26,744 of them are rated.",
        ),
        {"ml-20m.zip": "96f243c338a8665f6bcc89c53edf6ee39162a846940de6b7c8c48aeada765ff3"},
        5_000_000_000,
    ),
    "25m": _csv_release(
        "25m",
        "https://grouplens.org/datasets/movielens/25m/",
        _AS_README_SAYS,
        StatedCounts(
            interactions=25_000_095,
            users=162_541,
            catalogue=62_423,
            note="The README counts the films of movies.csv; 59,047 of them are rated.",
        ),
        {"ml-25m.zip": "8b21cfb7eb1706b4ec0aac894368d90acf26ebdfb6aced3ebd4ad5bd1eb9c6aa"},
        5_000_000_000,
    ),
    "32m": _csv_release(
        "32m",
        "https://grouplens.org/datasets/movielens/32m/",
        _AS_README_SAYS,
        StatedCounts(
            interactions=32_000_204,
            users=200_948,
            catalogue=87_585,
            note="The README counts the films of movies.csv; 84,432 of them are rated.",
        ),
        {"ml-32m.zip": "e4a68655d7386b8f95f2f2424b2ff975dfdd15ffd59e0d864a14dca43e99d6ee"},
        5_000_000_000,
    ),
    "latest-small": _csv_release(
        "latest-small",
        "https://grouplens.org/datasets/movielens/latest/",
        _AS_README_SAYS,
        StatedCounts(
            interactions=100_836,
            users=610,
            catalogue=9_742,
            note="As of the version of September 2018; the publisher may change this release at any time.",
        ),
        {},
        500_000_000,
    ),
    "latest": _csv_release(
        "latest",
        "https://grouplens.org/datasets/movielens/latest/",
        _AS_README_SAYS,
        StatedCounts(note="The publisher changes this release at any time: its README has the counts."),
        {},
        5_000_000_000,
    ),
}


def card(config: MovieLensSource) -> SourceCard:
    """Where the files of a release come from; what is said of the whole is not said of another file of ratings."""
    release = RELEASES[config.release]
    if config.ratings is None:
        return release.card
    return replace(
        release.card,
        title=f"{release.card.title}, {config.ratings}",
        files=(f"{config.ratings} (or .gz), beside {release.archive} or {release.items}",),
        published=None,
        sha256={name: digest for name, digest in release.card.sha256.items() if name == release.archive},
        note=f"Not the release: its ratings are those of {config.ratings}, which somebody made from it.",
    )


def locate(config: MovieLensSource, folder: Path) -> list[RawFile]:
    """The rating and the film file of a release.

    Raises:
        MissingRawFile: neither the archive nor the unpacked files are in `folder`.
        UnusableSource: the archive is broken, unsafe, or lacks a file.
    """
    release = RELEASES[config.release]
    found = find(folder, release.archive, (config.ratings or release.ratings, release.items))
    if found is None:
        raise MissingRawFile(card(config), folder)
    return found


def read(config: MovieLensSource, folder: Path, scratch: Path) -> RawTables:
    """The ratings and films of a release; ratings of films that the film list lacks go into quarantine.

    Raises:
        MissingRawFile: neither the archive nor the unpacked files are in `folder`.
        UnusableSource: a file is not what was published, or too many of its lines are unusable.
    """
    release, share = RELEASES[config.release], config.max_quarantined_share
    found = locate(config, folder)
    ratings_file, films_file = found
    is_csv = release.ratings.endswith(".csv")
    films = published_part(
        films_file,
        release.items_dialect,
        _FIELDS_100K if config.release == "100k" else ("movieId", "title", "genres"),
        _film_100k if config.release == "100k" else _film,
        header=is_csv,
    )
    # The films first: a broken film list would show as ratings of unknown films.
    items, bad_films = read_items([films], share)
    ratings = published_part(
        ratings_file,
        release.ratings_dialect,
        ("userId", "movieId", "rating", "timestamp"),
        lambda records: _rating(records, release, items["item"]),
        header=is_csv,
    )
    log = read_log([ratings], share, scratch)
    return RawTables(log.interactions, items, pl.concat([bad_films, log.quarantine]).sort("file", "line"))


def _rating(records: pl.DataFrame, release: Release, listed: pl.Series) -> Row:
    item = identifier(records["movieId"], "item id")
    given = {
        "user": identifier(records["userId"], "user id"),
        "item": item,
        "weight": number(records["rating"], "rating", release.least, 5),
        "at": unix_time(records["timestamp"]),
        "unlisted": unlisted(item, listed, f"item has no usable line in {release.items}"),
    }
    return log_row(records.height, given)


def _film(records: pl.DataFrame) -> Row:
    genres = words(records["genres"], "genres")
    none = (genres.values == "(no genres listed)").fill_null(False)
    given = {
        "item": identifier(records["movieId"], "item id"),
        "title": words(records["title"], "title", needed=True),
        "category": replace(genres, values=genres.values.set(none, None)),
    }
    return item_row(records.height, given)


def _film_100k(records: pl.DataFrame) -> Row:
    flags = records.select(_GENRES_100K)
    is_flag = flags.select(pl.all_horizontal(pl.all().is_in(["0", "1"]).fill_null(False))).to_series()
    named = [pl.when(pl.col(genre) == "1").then(pl.lit(genre)) for genre in _GENRES_100K if genre != "unknown"]
    genres = flags.select(pl.concat_str(named, separator="|", ignore_nulls=True)).to_series()
    given = {
        "item": identifier(records["movieId"], "item id"),
        "title": words(records["title"], "title", needed=True),
        "flags": rule(~is_flag, "genre flags must be 0 or 1"),
        "category": words(genres, "genres"),
    }
    return item_row(records.height, given)
