"""steam-200k in both layouts it is published in. The files are made here."""

import zipfile
from pathlib import Path

import polars as pl
import pytest

from assets.sources import MissingRawFile, UnusableSource, source_card
from assets.transforms.splits import refuse_without_order
from contracts.config.dataset import LeaveOneOut
from contracts.config.sources import SteamSource
from contracts.files.load import load_dataset
from tests.assets.sources.test_movielens import read

SOURCE = SteamSource.model_validate({"kind": "steam"})
CSV = (
    '151603712,"The Elder Scrolls V Skyrim",purchase,1.0,0\n'
    '151603712,"The Elder Scrolls V Skyrim",play,273.0,0\n'
    '59945701,"Warhammer 40,000 Dawn of War II",purchase,1.0,0\n'
    "59945701,Spore,play,0.1,0\n"
)
NUMBERED = {
    "steam/game_purchase.dat": "User_ID\tGame_ID\tPurchase\n1\t1\t1.0\n2\t2\t1.0\n",
    "steam/game_play.dat": "User_ID\tGame_ID\tHours\n1\t1\t273.0\n",
    "steam/item_info.dat": "Game_ID\tGame Name\n1\tThe Elder Scrolls V Skyrim\n2\tSpore\n3\tNobody's Game\n",
    "steam/user_info.dat": "New_ID\tReal_ID\n1\t151603712\n",
}


def packed(folder: Path, members: dict[str, str] = NUMBERED) -> Path:
    with zipfile.ZipFile(folder / "steam-200k-caserec.zip", "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return folder


def test_the_original_file_calls_games_by_name(tmp_path: Path) -> None:
    (tmp_path / "steam-200k.csv").write_text(CSV)
    raw = read(SOURCE, tmp_path)
    assert raw.interactions.select("user", "item", "at", "position", "weight", "event", "line").rows() == [
        ("151603712", "The Elder Scrolls V Skyrim", None, None, 1.0, "purchase", 1),
        ("151603712", "The Elder Scrolls V Skyrim", None, None, 273.0, "play", 2),
        ("59945701", "Warhammer 40,000 Dawn of War II", None, None, 1.0, "purchase", 3),
        ("59945701", "Spore", None, None, pytest.approx(0.1), "play", 4),
    ]
    titles = ["Spore", "The Elder Scrolls V Skyrim", "Warhammer 40,000 Dawn of War II"]
    assert raw.items.rows() == [(title, title, None, None) for title in titles]


def test_the_numbered_files_are_two_logs_of_one_catalogue(tmp_path: Path) -> None:
    raw = read(SOURCE, packed(tmp_path))
    assert raw.interactions.select("user", "item", "weight", "event", "file", "line").rows() == [
        ("1", "1", 1.0, "purchase", "steam-200k-caserec.zip/steam/game_purchase.dat", 2),
        ("2", "2", 1.0, "purchase", "steam-200k-caserec.zip/steam/game_purchase.dat", 3),
        ("1", "1", 273.0, "play", "steam-200k-caserec.zip/steam/game_play.dat", 2),
    ]
    assert raw.items["title"].to_list() == ["The Elder Scrolls V Skyrim", "Spore", "Nobody's Game"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("7,Spore,gift,1.0,0", "event must be purchase or play"),
        ("7,Spore,play,0,0", "value must be a number above 0"),
        ("7,Spore,play,nan,0", "value must be a number above 0"),
        (",Spore,play,1.0,0", "user id must be 1 to 200 characters"),
        ("7,Spore,play,1.0", "must have 5 fields, got 4"),
    ],
)
def test_an_unusable_line_is_set_aside(tmp_path: Path, line: str, reason: str) -> None:
    (tmp_path / "steam-200k.csv").write_text(CSV * 50 + line)
    assert read(SOURCE, tmp_path).quarantine.rows() == [("steam-200k.csv", 201, reason, line)]


def test_plays_in_the_place_of_purchases_are_refused(tmp_path: Path) -> None:
    swapped = {**NUMBERED, "steam/game_purchase.dat": NUMBERED["steam/game_play.dat"]}
    with pytest.raises(UnusableSource, match=r"game_purchase\.dat must start with the line 'User_ID"):
        read(SOURCE, packed(tmp_path, swapped))


def test_missing_files_name_both_layouts(tmp_path: Path) -> None:
    with pytest.raises(MissingRawFile, match=r"must have steam-200k\.csv or steam-200k-caserec\.zip or"):
        read(SOURCE, tmp_path)
    published = source_card(SOURCE).published
    assert published is not None
    assert (published.interactions, published.users, published.items) == (200_000, 12_393, 5_155)


def test_a_chronological_split_is_refused_with_what_is_possible_instead(tmp_path: Path) -> None:
    raw = read(SOURCE, packed(tmp_path))
    assert raw.interactions.select(pl.col("at", "position").is_null().all()).row(0) == (True, True)
    with pytest.raises(ValueError, match=r"without times and without positions.*Possible instead.*random_holdout"):
        refuse_without_order(raw.interactions, LeaveOneOut(), "none")
    refuse_without_order(raw.interactions, load_dataset("steam-200k").split, "none")
