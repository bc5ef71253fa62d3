"""Histories: windows of train rows, and what held-out rows may look back on."""

import polars as pl
import pytest

from assets.datasets import Histories
from assets.schemas import SCHEMAS, validate
from assets.transforms.histories import build_histories


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
    validate(histories, SCHEMAS["histories"])
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
    validate(histories, SCHEMAS["histories"])
