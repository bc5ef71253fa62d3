"""The future probe, on tables written by hand."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from evaluation.leakage import future_leakage

START = datetime(2024, 1, 1, tzinfo=UTC)
Row = tuple[int, int, int | None, str]


def log(rows: Sequence[Row]) -> pl.DataFrame:
    """(user, item, day, split) in chronological order."""
    return pl.DataFrame(
        {
            "user_id": [row[0] for row in rows],
            "item_id": [row[1] for row in rows],
            "at": [None if row[2] is None else START + timedelta(days=row[2]) for row in rows],
            "split": [row[3] for row in rows],
        },
        schema={"user_id": pl.Int32, "item_id": pl.Int32, "at": pl.Datetime("us", "UTC"), "split": pl.String},
    )


def rows(*told: tuple[int, str, list[int], int]) -> pl.DataFrame:
    """(user, split, history, target)."""
    return pl.DataFrame(
        {
            "row_id": range(len(told)),
            "user_id": [row[0] for row in told],
            "split": [row[1] for row in told],
            "history": [row[2] for row in told],
            "target": [row[3] for row in told],
        },
        schema={
            "row_id": pl.Int32,
            "user_id": pl.Int32,
            "split": pl.String,
            "history": pl.List(pl.Int32),
            "target": pl.Int32,
        },
    )


USER = [(0, 10, 0, "train"), (0, 11, 1, "train"), (0, 12, 2, "validation"), (0, 13, 3, "test")]


def test_histories_before_their_targets_pass() -> None:
    honest = rows((0, "train", [10], 11), (0, "validation", [10, 11], 12), (0, "test", [10, 11, 12], 13))
    leakage = future_leakage(honest, log(USER), at_one_time=True)
    assert leakage.passed, leakage.reasons
    assert leakage.rows == 3


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ((0, "train", [10, 13], 11), "first touched at or after the target"),
        ((0, "validation", [10, 12], 12), "first touched at or after the target"),
        ((0, "test", [10, 99], 13), "never touched"),
        ((0, "validation", [10], 13), "never touched"),
    ],
)
def test_a_row_that_shows_what_it_must_not_is_found(row: tuple[int, str, list[int], int], said: str) -> None:
    leakage = future_leakage(rows((0, "train", [10], 11), row), log(USER), at_one_time=False)
    assert not leakage.passed
    assert said in leakage.reasons[0]
    assert "row_id 1" in leakage.reasons[0]


def test_times_are_read_even_where_rows_stand_in_another_order() -> None:
    """Positions say that item 11 came first; its time says that it came last."""
    swapped = log([(0, 11, 9, "train"), (0, 10, 0, "train"), (0, 12, 2, "test")])
    assert not future_leakage(rows((0, "test", [11, 10], 12)), swapped, at_one_time=False).passed


def test_two_interactions_at_one_time_are_told_apart_by_their_order() -> None:
    tied = log([(0, 10, 0, "train"), (0, 11, 0, "train"), (0, 12, 0, "test")])
    assert future_leakage(rows((0, "train", [10], 11), (0, "test", [10, 11], 12)), tied, at_one_time=False).passed
    assert not future_leakage(rows((0, "train", [11], 10)), tied, at_one_time=False).passed


def test_a_repeated_item_gets_the_benefit_of_the_doubt() -> None:
    again = log([(0, 10, 0, "train"), (0, 11, 1, "train"), (0, 10, 2, "train"), (0, 12, 3, "test")])
    honest = rows((0, "train", [10, 11], 10), (0, "test", [10, 11, 10], 12))
    assert future_leakage(honest, again, at_one_time=False).passed


def test_a_log_without_time_is_judged_by_its_order() -> None:
    timeless = log([(user, item, None, split) for user, item, _, split in USER])
    assert future_leakage(rows((0, "test", [10, 11, 12], 13)), timeless, at_one_time=False).passed
    assert not future_leakage(rows((0, "validation", [13], 12)), timeless, at_one_time=False).passed


def test_train_after_the_split_time_is_found_where_the_split_is_at_one_time() -> None:
    late = [*USER, (1, 10, 0, "train"), (1, 11, 5, "train")]
    honest = rows((0, "test", [10], 13))
    assert future_leakage(honest, log(late), at_one_time=False).passed, "leave-one-out promises nothing else"
    leakage = future_leakage(honest, log(late), at_one_time=True)
    assert "1 of 6 interactions lie at or after the time" in leakage.reasons[0]


def test_validation_after_the_first_test_target_is_found_too() -> None:
    late = [*USER, (1, 10, 0, "train"), (1, 11, 3, "validation")]
    assert not future_leakage(rows((0, "test", [10], 13)), log(late), at_one_time=True).passed


def test_many_rows_are_probed_on_a_sample_of_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluation.leakage.future._MOST", 100)
    users = range(400)
    whole = log([(user, item, day, split) for user in users for _, item, day, split in USER])
    leaky = rows(*((user, "validation", [10, 13], 12) for user in users))
    leakage = future_leakage(leaky, whole, at_one_time=False)
    assert 50 < leakage.late_rows == leakage.rows < 200
    assert leakage.sample == pytest.approx(1 / 4)
