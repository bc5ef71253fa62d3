"""HetRec 2011 Last.fm, from the publisher's zip or unpacked (https://grouplens.org/datasets/hetrec-2011/).

Two logs of the same people: how often each listened to their top artists (`user_artists.dat`, without time), and when
they tagged artists (`user_taggedartists-timestamps.dat`, in thousandths of a second, but of the first of the month in
the publisher's time zone). Tags are not attached to artists: they were given over the whole period, so that an
artist's tags would tell a history about its future.
"""

from pathlib import Path

import polars as pl

from assets.sources.catalogue import WHOLE_LINE, interactions, is_not_listed, read_items
from assets.sources.contract import MissingRawFile, PublishedStatistics, RawTables, SourceCard
from assets.sources.files import RawFile, find
from assets.sources.lines import Delimited, is_no_id, is_no_number, is_no_time
from assets.sources.text import Layout, read_lines
from contracts.config.dataset import LastfmSource

_ARCHIVE, _ARTISTS = "hetrec2011-lastfm-2k.zip", "artists.dat"
_LOGS = {"listens": "user_artists.dat", "tags": "user_taggedartists-timestamps.dat"}
_PUBLISHED = {
    "listens": PublishedStatistics(interactions=92_834, users=1_892, items=17_632, catalogue=17_632),
    "tags": PublishedStatistics(
        interactions=186_479,
        users=1_892,
        catalogue=17_632,
        note="5 tag assignments are dated 1956 to 1979, before Last.fm, and others are of artists that artists.dat "
        "lacks: both are set aside.",
    ),
}
# Last.fm opened in 2002; its tags in August 2005.
_FIRST_DAY = "2002-01-01"

_ARTISTS_LAYOUT = Layout(
    lines=Delimited("\t"),
    fields=("item_field", "name", "url", "picture"),
    encoding="utf-8-sig",
    header="id\tname\turl\tpictureURL",
    rules={
        "item id must be 1 to 200 characters": is_no_id("item_field"),
        "title must not be empty": "trim(name) = ''",
    },
    select={"item": "trim(item_field)", "title": "trim(name)", "whole_line": WHOLE_LINE},
    max_bytes=20_000_000,
)
_LAYOUTS = {
    "listens": Layout(
        lines=Delimited("\t"),
        fields=("user_field", "item_field", "count_field"),
        encoding="ascii",
        header="userID\tartistID\tweight",
        rules={
            "user id must be 1 to 200 characters": is_no_id("user_field"),
            "item id must be 1 to 200 characters": is_no_id("item_field"),
            "listens must be a number from 1": is_no_number("count_field", 1, 1e9),
            **is_not_listed("trim(item_field)", _ARTISTS),
        },
        select={
            "user": "trim(user_field)",
            "item": "trim(item_field)",
            "weight": "try_cast(count_field AS FLOAT)",
        },
        max_bytes=20_000_000,
    ),
    "tags": Layout(
        lines=Delimited("\t"),
        fields=("user_field", "item_field", "tag_field", "time_field"),
        encoding="ascii",
        header="userID\tartistID\ttagID\ttimestamp",
        rules={
            "user id must be 1 to 200 characters": is_no_id("user_field"),
            "item id must be 1 to 200 characters": is_no_id("item_field"),
            f"time must be whole milliseconds since 1970, from {_FIRST_DAY}, not in the future": is_no_time(
                "time_field", per_second=1000, earliest=_FIRST_DAY
            ),
            **is_not_listed("trim(item_field)", _ARTISTS),
        },
        select={
            "user": "trim(user_field)",
            "item": "trim(item_field)",
            "epoch": "try_cast(time_field AS BIGINT)",
            "weight": "1::FLOAT",
        },
        max_bytes=100_000_000,
    ),
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
    items, bad_artists = read_items(artists_file, _ARTISTS_LAYOUT, scratch, share)
    layout = _LAYOUTS[config.interactions]
    lines, bad = read_lines(log_file, layout, scratch, share, items.select("item"))
    return RawTables(
        interactions=interactions(lines, per_second=1000 if config.interactions == "tags" else None),
        items=items,
        quarantine=pl.concat([bad_artists, bad]).sort("file", "line"),
    )
