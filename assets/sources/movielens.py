"""MovieLens, from the publisher's zip or unpacked (https://grouplens.org/datasets/movielens/)."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from assets.datasets import MovieLensSource
from assets.sources.contract import MissingRawFile, PublishedStatistics, RawTables, SourceCard
from assets.sources.files import RawFile, find, hashed
from assets.sources.lines import Delimited, is_no_id, is_no_number, is_no_time, sql_text
from assets.sources.text import Layout, read_lines, refuse_bad_share

# In the order of u.item's last 19 fields (README and u.genre of the archive).
_GENRES_100K = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip

_FLAGS_100K = tuple(f"genre_{place}" for place in range(len(_GENRES_100K)))


@dataclass(frozen=True)
class Release:
    """One release: its archive, its files and how they are written."""

    card: SourceCard
    archive: str
    ratings: str
    items: str
    ratings_layout: Layout
    items_layout: Layout


_RATINGS_100K = Layout(
    lines=Delimited("\t"),
    fields=("user_field", "item_field", "rating_field", "time_field"),
    encoding="ascii",
    rules={
        "user id must be 1 to 200 characters": is_no_id("user_field"),
        "item id must be 1 to 200 characters": is_no_id("item_field"),
        "rating must be a number from 1 to 5": is_no_number("rating_field", 1, 5),
        "time must be whole seconds since 1970, not in the future": is_no_time("time_field"),
        "item has no usable line in u.item": "trim(item_field) NOT IN (SELECT item FROM known)",
    },
    select={
        "user": "trim(user_field)",
        "item": "trim(item_field)",
        "seconds": "try_cast(time_field AS BIGINT)",
        "weight": "try_cast(rating_field AS FLOAT)",
    },
    max_bytes=100_000_000,  # fifty times the published file
)

_NAMES_100K = [(flag, sql_text(genre)) for flag, genre in zip(_FLAGS_100K, _GENRES_100K, strict=True)]
_ITEMS_100K = Layout(
    lines=Delimited("|"),
    fields=("item_field", "title_field", "released", "video_released", "url", *_FLAGS_100K),
    encoding="iso-8859-1",
    rules={
        "item id must be 1 to 200 characters": is_no_id("item_field"),
        "title must not be empty": "trim(title_field) = ''",
        "genre flags must be 0 or 1": " OR ".join(f"{flag} NOT IN ('0', '1')" for flag in _FLAGS_100K),
    },
    select={
        "item": "trim(item_field)",
        "title": "trim(title_field)",
        "category": "nullif(concat_ws('|', "
        + ", ".join(f"CASE WHEN {flag} = '1' THEN {genre} END" for flag, genre in _NAMES_100K[1:])
        + "), '')",
        "text": "text",
    },
    max_bytes=20_000_000,
)

RELEASES = {
    "100k": Release(
        card=SourceCard(
            title="MovieLens 100K",
            files=("ml-100k.zip", "u.data and u.item (unpacked)"),
            page="https://grouplens.org/datasets/movielens/100k/",
            terms="Research use; no redistribution; cite Harper and Konstan 2015 (https://doi.org/10.1145/2827872).",
            published=PublishedStatistics(interactions=100_000, users=943, items=1_682),
        ),
        archive="ml-100k.zip",
        ratings="u.data",
        items="u.item",
        ratings_layout=_RATINGS_100K,
        items_layout=_ITEMS_100K,
    ),
}


def locate(release: str, folder: Path) -> list[RawFile]:
    """The rating and the film file of a release.

    Raises:
        MissingRawFile: neither the archive nor the unpacked files are in `folder`.
        UnusableSource: the archive is broken, unsafe, or lacks a file.
    """
    published = RELEASES[release]
    found = find(folder, published.archive, (published.ratings, published.items))
    if found is None:
        raise MissingRawFile(published.card, folder)
    return found


def read(config: MovieLensSource, folder: Path, scratch: Path) -> RawTables:
    """The ratings and films of a release; ratings of films that the film list lacks go into quarantine.

    Raises:
        MissingRawFile: neither the archive nor the unpacked files are in `folder`.
        UnusableSource: a file is not what was published, or too many of its lines are unusable.
    """
    published, share = RELEASES[config.release], config.max_quarantined_share
    found = locate(config.release, folder)
    ratings_file, items_file = found
    # The films first: a broken film list would show as ratings of unknown films.
    films, bad_films = read_lines(items_file, published.items_layout, scratch, share)
    items, bad_films = _once_each(films.collect(), bad_films, items_file, share)
    known = items.select("item")
    ratings, bad_ratings = read_lines(ratings_file, published.ratings_layout, scratch, share, known)
    at = pl.from_epoch("seconds", time_unit="s").dt.cast_time_unit("us").dt.replace_time_zone("UTC")
    return RawTables(
        interactions=ratings.select(
            "user",
            "item",
            at=at,
            position=pl.lit(None, pl.Int64),
            weight="weight",
            event=pl.lit(None, pl.String),
            file="file",
            line="line",
        ),
        items=items.select("item", "title", "category", text=pl.lit(None, pl.String)),
        quarantine=pl.concat([bad_films, bad_ratings]).sort("file", "line"),
        provenance=hashed(folder, found),
    )


def _once_each(
    films: pl.DataFrame, bad: pl.DataFrame, source: RawFile, max_bad_share: float
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The first line of each film, and the quarantine with the others."""
    is_first = pl.col("item").is_first_distinct()
    reason = pl.lit("item is listed more than once; the first line counts")
    bad = pl.concat([bad, films.filter(~is_first).select("file", "line", "text", reason=reason).select(bad.columns)])
    refuse_bad_share(bad, {source.name: films.height + bad.height}, max_bad_share)
    return films.filter(is_first), bad
