"""HetRec 2011 Last.fm, from the publisher's zip or unpacked (https://grouplens.org/datasets/hetrec-2011/).

Two logs of the same people: how often each listened to their top artists (`user_artists.dat`, without time), and when
they tagged artists (`user_taggedartists-timestamps.dat`, in thousandths of a second, but of the first of the month in
the publisher's time zone). Tags are not attached to artists: they were given over the whole period, so that an
artist's tags would tell a history about its future.
"""

from pathlib import Path

import polars as pl

from assets.sources.contract import MissingRawFile, RawTables, SourceCard
from assets.sources.files import RawFile, find
from assets.sources.reader.columns import (
    Mapped,
    Row,
    Rule,
    identifier,
    item_row,
    log_row,
    number,
    unix_time,
    unlisted,
    words,
)
from assets.sources.reader.delimited import Dialect
from assets.sources.reader.tables import published_part, read_items, read_log
from assets.sources.reader.text import TextForm
from contracts.config.sources import LastfmSource, StatedCounts

_ARCHIVE, _ARTISTS = "hetrec2011-lastfm-2k.zip", "artists.dat"
_LOGS = {"listens": "user_artists.dat", "tags": "user_taggedartists-timestamps.dat"}
_PUBLISHED = {
    "listens": StatedCounts(interactions=92_834, users=1_892, items=17_632, catalogue=17_632),
    "tags": StatedCounts(
        interactions=186_479,
        users=1_892,
        catalogue=17_632,
        note="5 tag assignments are dated 1956 to 1979, before Last.fm, and others are of artists that artists.dat "
        "lacks: both are set aside.",
    ),
}
# Last.fm opened in 2002; its tags in August 2005.
_FIRST_DAY = "2002-01-01"

_FIELDS = {
    "listens": ("userID", "artistID", "weight"),
    "tags": ("userID", "artistID", "tagID", "timestamp"),
}


def card(config: LastfmSource) -> SourceCard:
    """Where the files come from."""
    log = _LOGS[config.interactions]
    return SourceCard(
        title=f"HetRec 2011 Last.fm, {config.interactions}",
        files=(_ARCHIVE, f"{_ARTISTS} and {log} (unpacked)"),
        page="https://grouplens.org/datasets/hetrec-2011/",
        terms="Non-commercial use; cite http://www.lastfm.com and Cantador, Brusilovsky and Kuflik 2011 (HetRec 2011).",
        published=_PUBLISHED[config.interactions],
        sha256={_ARCHIVE: "6738f48195667ff03caaab4d32ca9a3133d8cc026b7c3cdaf6ce1010e913c59c"},
    )


def locate(config: LastfmSource, folder: Path) -> list[RawFile]:
    """The log and the list of artists; a log that the archive lacks may lie beside it.

    Raises:
        MissingRawFile: they are not in `folder`.
        UnusableSource: the archive is broken or unsafe.
    """
    found = find(folder, _ARCHIVE, (_LOGS[config.interactions], _ARTISTS))
    if found is None:
        raise MissingRawFile(card(config), folder)
    return found


def read(config: LastfmSource, folder: Path, scratch: Path) -> RawTables:
    """Listens or tag assignments as interactions, artists as items.

    Raises:
        MissingRawFile: the files are not in `folder`.
        UnusableSource: a file is not what was published, or too many of its lines are unusable.
    """
    share = config.max_quarantined_share
    found = locate(config, folder)
    log_file, artists_file = found
    artists = published_part(
        artists_file, _dialect("utf-8", 20_000_000), ("id", "name", "url", "pictureURL"), _artist, header=True
    )
    items, bad_artists = read_items([artists], share)
    part = published_part(
        log_file,
        _dialect("ascii", 100_000_000),
        _FIELDS[config.interactions],
        lambda records: _interaction(records, items["item"]),
        header=True,
    )
    log = read_log([part], share, scratch)
    return RawTables(log.interactions, items, pl.concat([bad_artists, log.quarantine]).sort("file", "line"))


def _dialect(encoding: str, max_bytes: int) -> Dialect:
    return Dialect("\t", quote=False, form=TextForm(encoding, max_bytes))


def _artist(records: pl.DataFrame) -> Row:
    given = {"item": identifier(records["id"], "item id"), "title": words(records["name"], "title", needed=True)}
    return item_row(records.height, given)


def _interaction(records: pl.DataFrame, listed: pl.Series) -> Row:
    item = identifier(records["artistID"], "item id")
    given: dict[str, Mapped | Rule] = {"user": identifier(records["userID"], "user id"), "item": item}
    if "timestamp" in records.columns:
        given["at"] = unix_time(records["timestamp"], per_second=1000, earliest=_FIRST_DAY)
    else:
        given["weight"] = number(records["weight"], "listens", 1, 1e9)
    given["unlisted"] = unlisted(item, listed, f"item has no usable line in {_ARTISTS}")
    return log_row(records.height, given)
