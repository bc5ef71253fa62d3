"""Steam purchases and hours of play: steam-200k (https://www.kaggle.com/datasets/tamber/steam-video-games).

Two layouts of the same log: the original `steam-200k.csv` (user, game, purchase or play, value, 0; no header, the game
by its name), and the zip of CaseRecommender, which numbers users and games and has a file for each event. A purchase
weighs 1, a play its hours. There is no time in either.
"""

from dataclasses import replace
from pathlib import Path

import polars as pl

from assets.sources.contract import MissingRawFile, RawTables, SourceCard
from assets.sources.files import RawFile, find
from assets.sources.reader.columns import (
    Mapped,
    Row,
    constant,
    fine,
    identifier,
    item_row,
    log_row,
    number,
    rule,
    unlisted,
    words,
)
from assets.sources.reader.delimited import Dialect
from assets.sources.reader.tables import published_part, read_items, read_log, with_unlisted
from assets.sources.reader.text import TextForm
from contracts.config.sources import StatedCounts, SteamSource

_ARCHIVE, _CSV = "steam-200k-caserec.zip", "steam-200k.csv"
_LOGS = {"purchase": "game_purchase.dat", "play": "game_play.dat"}
_GAMES = "item_info.dat"
_CARD = SourceCard(
    title="Steam-200k",
    files=(_CSV, _ARCHIVE, f"{', '.join(_LOGS.values())} and {_GAMES} (unpacked)"),
    page="https://www.kaggle.com/datasets/tamber/steam-video-games",
    terms="Made from public Steam data by tamber on Kaggle; no licence is stated beyond that page.",
    published=StatedCounts(
        interactions=200_000,
        users=12_393,
        items=5_155,
        note="CaseRecommender's README counts the two header lines as rows: 129,512 and 70,490 of 129,511 and 70,489.",
    ),
)

_DIALECTS = {
    "csv": Dialect(one_line=True, form=TextForm("utf-8", 200_000_000)),
    "log": Dialect("\t", quote=False, form=TextForm("ascii", 200_000_000)),
    "games": Dialect("\t", quote=False, form=TextForm("utf-8", 20_000_000)),
}
_FIELDS = {"purchase": ("User_ID", "Game_ID", "Purchase"), "play": ("User_ID", "Game_ID", "Hours")}


def card(config: SteamSource) -> SourceCard:
    """Where the files come from."""
    return _CARD


def locate(config: SteamSource, folder: Path) -> list[RawFile]:
    """The original file, or the three of CaseRecommender: purchases, plays, games.

    Raises:
        MissingRawFile: neither is in `folder`.
        UnusableSource: the archive is broken, unsafe, or lacks a file.
    """
    found = find(folder, None, (_CSV,)) or find(folder, _ARCHIVE, (*_LOGS.values(), _GAMES))
    if found is None:
        raise MissingRawFile(_CARD, folder)
    return found


def read(config: SteamSource, folder: Path, scratch: Path) -> RawTables:
    """Purchases and plays as interactions, games as items.

    Raises:
        MissingRawFile: the files are not in `folder`.
        UnusableSource: a file is not what was published, or too many of its lines are unusable.
    """
    found = locate(config, folder)
    share = config.max_quarantined_share
    if len(found) == 1:
        names = ("user", "item", "event", "value", "zero")
        log = read_log([published_part(found[0], _DIALECTS["csv"], names, _line)], share, scratch)
        return RawTables(log.interactions, with_unlisted(None, log.items), log.quarantine.sort("file", "line"))
    *logs, games = found
    part = published_part(games, _DIALECTS["games"], ("Game_ID", "Game Name"), _game, header=True)
    items, bad_games = read_items([part], share)
    parts = [
        published_part(
            file,
            _DIALECTS["log"],
            _FIELDS[event],
            lambda records, event=event: _numbered(records, event, items["item"]),
            header=True,
        )
        for event, file in zip(_LOGS, logs, strict=True)
    ]
    log = read_log(parts, share, scratch)
    return RawTables(log.interactions, items, pl.concat([bad_games, log.quarantine]).sort("file", "line"))


def _line(records: pl.DataFrame) -> Row:
    event = records["event"]
    given = {
        **_given(records, "user", "item", "value"),
        "no event": rule(~event.is_in(list(_LOGS)).fill_null(False), "event must be purchase or play"),
        "event": fine(event),
    }
    return log_row(records.height, given)


def _numbered(records: pl.DataFrame, event: str, listed: pl.Series) -> Row:
    given = _given(records, *_FIELDS[event])
    known = unlisted(given["item"], listed, f"item has no usable line in {_GAMES}")
    return log_row(records.height, {**given, "unlisted": known, "event": constant(records.height, event, pl.String())})


def _given(records: pl.DataFrame, user: str, item: str, value: str) -> dict[str, Mapped]:
    weight = number(records[value], "value", 1e-6, 1e6)
    return {
        "user": identifier(records[user], "user id"),
        "item": identifier(records[item], "item id"),
        "weight": replace(weight, reason="value must be a number above 0"),
    }


def _game(records: pl.DataFrame) -> Row:
    given = {
        "item": identifier(records["Game_ID"], "item id"),
        "title": words(records["Game Name"], "title", needed=True),
    }
    return item_row(records.height, given)
