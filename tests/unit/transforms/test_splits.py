"""Leave-one-out: who is held out, and what is refused."""

from datetime import UTC, datetime

import polars as pl
import pytest

from assets.datasets import LeaveOneOut
from assets.schemas import SCHEMAS, validate
from assets.transforms.splits import assign_split, summarise_splits


def log(*lengths: int) -> pl.DataFrame:
    """Users 0, 1, … with these many interactions, a day apart."""
    rows = [
        (user, item, datetime(2024, 1, 1 + item, tzinfo=UTC), 1.0)
        for user, length in enumerate(lengths)
        for item in range(length)
    ]
    dtypes = {name: SCHEMAS["interactions"].dtypes[name] for name in ("user_id", "item_id", "at", "weight")}
    return pl.DataFrame(rows, schema=dtypes, orient="row")


def test_the_last_interaction_is_test_and_the_one_before_it_validation() -> None:
    split = assign_split(log(4, 3), LeaveOneOut())
    assert split["split"].to_list() == ["train", "train", "validation", "test", "train", "validation", "test"]
    validate(split, SCHEMAS["interactions"])


def test_a_user_with_fewer_than_three_interactions_only_trains() -> None:
    split = assign_split(log(1, 2, 3), LeaveOneOut())
    assert split["split"].to_list() == ["train", "train", "train", "train", "validation", "test"]


def test_rows_and_their_order_are_unchanged() -> None:
    interactions = log(5, 2, 4)
    assert assign_split(interactions, LeaveOneOut()).drop("split").equals(interactions)


@pytest.mark.parametrize("n_missing", [1, 4])
def test_a_log_without_time_is_refused_with_the_reason_and_what_is_possible(n_missing: int) -> None:
    missing = pl.int_range(pl.len()) < n_missing
    interactions = log(4).with_columns(at=pl.when(missing).then(None).otherwise("at"))
    with pytest.raises(ValueError, match=f"got {n_missing} of 4 without: 'last' has no meaning .* a published split"):
        assign_split(interactions, LeaveOneOut())


def test_the_summary_counts_each_split() -> None:
    summary = summarise_splits(assign_split(log(4, 3), LeaveOneOut()))
    validate(summary, SCHEMAS["splits"])
    day = {number: datetime(2024, 1, number, tzinfo=UTC) for number in range(1, 5)}
    assert summary.rows() == [
        ("train", 3, 2, 2, day[1], day[2]),
        ("validation", 2, 2, 2, day[2], day[3]),
        ("test", 2, 2, 2, day[3], day[4]),
    ]


def test_the_summary_shows_an_empty_split_as_zero() -> None:
    summary = summarise_splits(assign_split(log(2), LeaveOneOut()))
    validate(summary, SCHEMAS["splits"])
    assert summary.row(2) == ("test", 0, 0, 0, None, None)
