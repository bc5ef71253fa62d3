"""Histories: windows of train rows, and what held-out rows may look back on."""

import polars as pl
import pytest

from assets.lake.validate import validate
from assets.transforms.histories import history_parts
from contracts.config.dataset import Histories, LeaveOneOut, UserSplit
from contracts.tables import TABLES
from tests.assets.transforms.whole import build_histories


def split_log(*trains: list[int], held_out: tuple[int, int] | None = (90, 91)) -> pl.DataFrame:
    """Users 0, 1, … with these train items, then a validation and a test item each."""
    rows = []
    for user, train in enumerate(trains):
        rows += [(user, item, "train") for item in train]
        if held_out:
            rows += [(user, held_out[0], "validation"), (user, held_out[1], "test")]
    schema = {"user_id": pl.Int32, "item_id": pl.Int32, "split": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def rows(histories: pl.DataFrame, split: str) -> list[tuple[list[int], int]]:
    return histories.filter(pl.col("split") == split).select("history", "target").rows()


def test_within_one_window_each_history_is_the_one_before_and_its_target() -> None:
    histories = build_histories(split_log([1, 2, 3, 4]), Histories(max_length=4))
    validate(histories, TABLES["histories"])
    assert rows(histories, "train") == [([1], 2), ([1, 2], 3), ([1, 2, 3], 4)]


def test_a_long_log_is_cut_into_windows_half_a_window_apart_and_loses_no_target() -> None:
    histories = build_histories(split_log(list(range(10))), Histories(max_length=4))
    assert rows(histories, "train") == [
        ([0], 1),
        ([0, 1], 2),
        ([0, 1, 2], 3),
        ([0, 1, 2, 3], 4),  # the first window is full: 4 items and a target
        ([2, 3, 4], 5),
        ([2, 3, 4, 5], 6),
        ([4, 5, 6], 7),
        ([4, 5, 6, 7], 8),
        ([6, 7, 8], 9),
    ]


def test_an_odd_length_rounds_the_step_down() -> None:
    histories = build_histories(split_log(list(range(7))), Histories(max_length=3))
    assert rows(histories, "train")[2:] == [([0, 1, 2], 3), ([1, 2, 3], 4), ([2, 3, 4], 5), ([3, 4, 5], 6)]


def test_held_out_rows_look_back_on_the_last_items_and_test_sees_the_validation_item() -> None:
    histories = build_histories(split_log([1, 2, 3]), Histories(max_length=2))
    assert rows(histories, "validation") == [([2, 3], 90)]
    assert rows(histories, "test") == [([3, 90], 91)]


def test_rows_are_numbered_by_split_then_user() -> None:
    histories = build_histories(split_log([1, 2], [3, 4]), Histories())
    assert histories.select("row_id", "split", "user_id").rows() == [
        (0, "train", 0),
        (1, "train", 1),
        (2, "validation", 0),
        (3, "validation", 1),
        (4, "test", 0),
        (5, "test", 1),
    ]


def test_a_user_with_one_train_item_is_evaluated_but_trains_no_row() -> None:
    histories = build_histories(split_log([1]), Histories())
    assert histories.select("split", "history", "target").rows() == [("validation", [1], 90), ("test", [1, 90], 91)]


def test_a_user_without_held_out_items_only_trains() -> None:
    histories = build_histories(split_log([1, 2], held_out=None), Histories())
    assert histories.select("split", "history", "target").rows() == [("train", [1], 2)]


@pytest.mark.parametrize("log", [split_log(), split_log([1], held_out=None)])
def test_a_log_without_any_row_gives_an_empty_table(log: pl.DataFrame) -> None:
    histories = build_histories(log, Histories())
    assert histories.is_empty()
    validate(histories, TABLES["histories"])


def test_one_row_per_user_keeps_the_last_train_target_after_the_last_items() -> None:
    log = split_log([1, 2, 3, 4, 5], [6], [7, 8])
    histories = build_histories(log, Histories(kind="one_per_user", max_length=3))
    validate(histories, TABLES["histories"])
    assert rows(histories, "train") == [([2, 3, 4], 5), ([7], 8)]
    sliding = build_histories(log, Histories(max_length=3))
    for split in ("validation", "test"):
        assert rows(histories, split) == rows(sliding, split)


def test_of_a_user_held_out_whole_only_the_last_interaction_is_asked_about() -> None:
    log = split_log([1, 2, 3], [4, 5, 6, 7], [8, 9], held_out=None)
    log = log.with_columns(split=pl.col("user_id").replace_strict({0: "train", 1: "test", 2: "validation"}))
    histories = build_histories(log, Histories(max_length=2), UserSplit(kind="user"))
    assert rows(histories, "train") == [([1], 2), ([1, 2], 3)]
    assert rows(histories, "validation") == [([8], 9)]
    assert rows(histories, "test") == [([5, 6], 7)]


def test_every_held_out_interaction_of_a_split_by_time_is_asked_about_after_all_before_it() -> None:
    log = pl.DataFrame(
        {
            "user_id": [0, 0, 0, 0, 1, 1],
            "item_id": [1, 2, 3, 4, 5, 6],
            "split": ["train", "validation", "validation", "test", "validation", "test"],
        },
        schema_overrides={"user_id": pl.Int32, "item_id": pl.Int32},
    )
    histories = build_histories(log, Histories())
    assert rows(histories, "validation") == [([1], 2), ([1, 2], 3)]  # user 1 has nothing before the first
    assert rows(histories, "test") == [([1, 2, 3], 4), ([5], 6)]


@pytest.mark.parametrize("kind", ["sliding", "one_per_user"])
@pytest.mark.parametrize("elements", [1, 3, 7, 20, 1000])
def test_the_size_of_the_parts_changes_nothing(elements: int, kind: str) -> None:
    log = split_log(list(range(10)), [1], [1, 2], list(range(20, 37)))
    how = Histories.model_validate({"max_length": 3, "kind": kind})
    for split in (LeaveOneOut(), UserSplit(kind="user")):
        whole = pl.concat(history_parts(log, how, split))
        assert whole["row_id"].to_list() == list(range(whole.height))
        assert pl.concat(history_parts(log.lazy(), how, split, elements=elements)).equals(whole)
