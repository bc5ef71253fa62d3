"""Steam purchases and hours of play: steam-200k (https://www.kaggle.com/datasets/tamber/steam-video-games).

Two layouts of the same log: the original `steam-200k.csv` (user, game, purchase or play, value, 0; no header, the game
by its name), and the zip of CaseRecommender, which numbers users and games and has a file for each event. A purchase
weighs 1, a play its hours. There is no time in either.
"""

from dataclasses import replace
from pathlib import Path

import polars as pl

from assets.sources.catalogue import WHOLE_LINE, interactions, is_not_listed, read_items
from assets.sources.contract import MissingRawFile, PublishedStatistics, RawTables, SourceCard
from assets.sources.files import RawFile, find
from assets.sources.lines import Delimited, QuotedCsv, is_no_id, is_no_number
from assets.sources.text import Layout, read_lines
from contracts.config.dataset import SteamSource

_ARCHIVE, _CSV = "steam-200k-caserec.zip", "steam-200k.csv"
_LOGS = {"purchase": "game_purchase.dat", "play": "game_play.dat"}
_GAMES = "item_info.dat"
_CARD = SourceCard(
    title="Steam-200k",
    files=(_CSV, _ARCHIVE, f"{', '.join(_LOGS.values())} and {_GAMES} (unpacked)"),
    page="https://www.kaggle.com/datasets/tamber/steam-video-games",
    terms="Made from public Steam data by tamber on Kaggle; no licence is stated beyond that page.",
    published=PublishedStatistics(
        interactions=200_000,
        users=12_393,
        items=5_155,
        note="CaseRecommender's README counts the two header lines as rows: 129,512 and 70,490 of 129,511 and 70,489.",
    ),
)

_RULES = {
    "user id must be 1 to 200 characters": is_no_id("user_field"),
    "item id must be 1 to 200 characters": is_no_id("item_field"),
    "value must be a number above 0": is_no_number("value_field", 1e-6, 1e6),
}
_SELECT = {
    "user": "trim(user_field)",
    "item": "trim(item_field)",
    "weight": "try_cast(value_field AS FLOAT)",
}
_CSV_LAYOUT = Layout(
    lines=QuotedCsv(),
    fields=("user_field", "item_field", "event_field", "value_field", "zero"),
    encoding="utf-8-sig",
    rules={**_RULES, "event must be purchase or play": "event_field NOT IN ('purchase', 'play')"},
    select={**_SELECT, "event": "event_field"},
    max_bytes=200_000_000,
)
_NUMBERED_LAYOUT = Layout(
    lines=Delimited("\t"),
    fields=("user_field", "item_field", "value_field"),
    encoding="ascii",
    header="User_ID\tGame_ID\tPurchase",
    rules={**_RULES, **is_not_listed("trim(item_field)", _GAMES)},
    select={**_SELECT, "event": "'purchase'"},
    max_bytes=200_000_000,
)
_NUMBERED = {
    "purchase": _NUMBERED_LAYOUT,
    "play": replace(_NUMBERED_LAYOUT, header="User_ID\tGame_ID\tHours", select={**_SELECT, "event": "'play'"}),
}
_GAMES_LAYOUT = Layout(
    lines=Delimited("\t"),
    fields=("item_field", "title_field"),
    encoding="utf-8-sig",
    header="Game_ID\tGame Name",
    rules={
        "item id must be 1 to 200 characters": is_no_id("item_field"),
        "title must not be empty": "trim(title_field) = ''",
    },
    select={"item": "trim(item_field)", "title": "trim(title_field)", "whole_line": WHOLE_LINE},
    max_bytes=20_000_000,
)


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
        lines, bad = read_lines(found[0], _CSV_LAYOUT, scratch, share)
        names = lines.select(item=pl.col("item").unique()).sort("item").collect()
        none = pl.lit(None, pl.String)
        items = names.with_columns(title=pl.col("item"), category=none, text=none)
    else:
        *logs, games = found
        items, bad = read_items(games, _GAMES_LAYOUT, scratch, share)
        known = items.select("item")
        read_logs = [
            read_lines(file, _NUMBERED[event], scratch, share, known) for event, file in zip(_LOGS, logs, strict=True)
        ]
        lines = pl.concat([log for log, _ in read_logs])
        bad = pl.concat([bad, *(unusable for _, unusable in read_logs)])
    return RawTables(
        interactions=interactions(lines, per_second=None),
        items=items,
        quarantine=bad.sort("file", "line"),
    )
