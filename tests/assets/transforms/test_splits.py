"""Splits: who is held out, what is refused, and that each kind keeps what it promises."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from pydantic import TypeAdapter, ValidationError

from assets.lake.validate import validate
from assets.transforms.guarantees.splits import split_keeps_its_guarantee
from assets.transforms.splits import GUARANTEES, Order, order_of, split_parts, summarise_splits, time_boundaries
from contracts.config.dataset import GlobalTimeSplit, LeaveOneOut, RandomHoldout, Split, UserSplit
from contracts.tables import TABLES
from evaluation.schemas import schema_of
from tests.assets.transforms.whole import assign_split

START = datetime(2024, 1, 1, tzinfo=UTC)
COLUMNS = ("user_id", "item_id", "at", "weight")


def log(*lengths: int, timed: bool = True) -> pl.DataFrame:
    """Users 0, 1, … with these many interactions, a day apart."""
    rows = [
        (user, item, START + timedelta(days=item) if timed else None, 1.0)
        for user, length in enumerate(lengths)
        for item in range(length)
    ]
    dtypes = {name: schema_of("interactions")[name] for name in COLUMNS}
    return pl.DataFrame(rows, schema=dtypes, orient="row")


def users(n: int) -> pl.DataFrame:
    return pl.DataFrame({"user_id": range(n), "user": [f"u{user}" for user in range(n)]})


def items(n: int) -> pl.DataFrame:
    return pl.DataFrame({"item_id": range(n), "item": [f"i{item}" for item in range(n)]})


def by_time(**given: object) -> GlobalTimeSplit:
    return GlobalTimeSplit.model_validate({"kind": "global_time"} | given)


def test_the_last_interaction_is_test_and_the_one_before_it_validation() -> None:
    split = assign_split(log(4, 3), LeaveOneOut())
    assert split["split"].to_list() == ["train", "train", "validation", "test", "train", "validation", "test"]
    validate(split, TABLES["interactions"])


def test_a_user_with_fewer_than_three_interactions_only_trains() -> None:
    split = assign_split(log(1, 2, 3), LeaveOneOut())
    assert split["split"].to_list() == ["train", "train", "train", "train", "validation", "test"]


@pytest.mark.parametrize("split", [LeaveOneOut(), by_time(validation_share=0.3, test_share=0.2)])
def test_rows_and_their_order_are_unchanged(split: Split) -> None:
    interactions = log(5, 2, 4)
    assert assign_split(interactions, split).drop("split").equals(interactions)


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 100])
@pytest.mark.parametrize(
    ("split", "order"),
    [
        (LeaveOneOut(), "time"),
        (by_time(validation_share=0.3, test_share=0.2), "time"),
        (UserSplit(kind="user", validation_share=0.4, test_share=0.3), "time"),
        (RandomHoldout(kind="random_holdout"), "none"),
    ],
)
def test_the_size_of_the_parts_changes_nothing(split: Split, order: Order, rows: int) -> None:
    interactions = log(5, 2, 4, 1, 7, 3, 3, timed=order == "time")
    ids = {"users": users(7), "items": items(7), "seed": 1}
    whole = assign_split(interactions, split, order=order, **ids)
    for table in (interactions, interactions.lazy()):
        assert pl.concat(split_parts(table, split, order=order, rows=rows, **ids)).equals(whole)


@pytest.mark.parametrize("n_missing", [1, 4])
def test_a_log_with_missing_times_is_refused_with_the_reason_and_what_is_possible(n_missing: int) -> None:
    missing = pl.int_range(pl.len()) < n_missing
    interactions = log(4).with_columns(at=pl.when(missing).then(None).otherwise("at"))
    with pytest.raises(ValueError, match=f"got {n_missing} of 4 without: 'last' has no meaning .* a published split"):
        assign_split(interactions, LeaveOneOut())


@pytest.mark.parametrize(
    ("split", "order", "said"),
    [
        (LeaveOneOut(), "none", r"without times and without positions: 'last' has no meaning.*random_holdout.*user"),
        (by_time(validation_share=0.1, test_share=0.1), "none", "split global_time must have a log with an order"),
        (by_time(validation_share=0.1, test_share=0.1), "position", "which of two users was earlier.*leave_one_out"),
        (RandomHoldout(kind="random_holdout"), "time", "one ordered by time: .*Use leave_one_out"),
        (RandomHoldout(kind="random_holdout"), "position", "one ordered by position"),
    ],
)
def test_a_log_without_the_order_a_split_needs_is_refused(split: Split, order: Order, said: str) -> None:
    with pytest.raises(ValueError, match=f"(?i){said}"):
        assign_split(log(4, timed=order == "time"), split, order=order, users=users(1), items=items(4))


def test_positions_are_enough_for_leave_one_out() -> None:
    split = assign_split(log(4, timed=False), LeaveOneOut(), order="position")
    assert split["split"].to_list() == ["train", "train", "validation", "test"]


def test_what_orders_a_log_is_read_from_its_columns() -> None:
    def raw(at: list[datetime | None], position: list[int | None]) -> pl.LazyFrame:
        return pl.LazyFrame({"at": at, "position": position}, schema={"at": pl.Datetime("us"), "position": pl.Int64})

    assert order_of(raw([START, START], [None, None])) == "time"
    assert order_of(raw([START, START], [1, 2])) == "time"
    assert order_of(raw([None, None], [1, 2])) == "position"
    assert order_of(raw([None, None], [None, None])) == "none"
    with pytest.raises(ValueError, match=r"none must have a position, got 1 of 2 without\. Quarantine"):
        order_of(raw([None, None], [1, None]))


def test_two_times_cut_every_users_log_at_the_same_moments() -> None:
    split = by_time(validation_from="2024-01-03", test_from=datetime(2024, 1, 5, tzinfo=UTC))
    assigned = assign_split(log(6, 3), split)["split"].to_list()
    assert assigned == ["train"] * 2 + ["validation"] * 2 + ["test"] * 2 + ["train"] * 2 + ["validation"]


def test_an_interaction_at_the_very_moment_belongs_to_the_later_split() -> None:
    split = by_time(validation_from=START + timedelta(days=1), test_from=START + timedelta(days=2))
    assert assign_split(log(3, 3), split)["split"].to_list() == ["train", "validation", "test"] * 2


def test_shares_become_times_and_never_tear_a_moment_apart() -> None:
    interactions = log(10, 10, 10)  # ten moments of three interactions
    split = by_time(validation_share=0.2, test_share=0.1)
    assert time_boundaries(interactions, split) == (START + timedelta(days=7), START + timedelta(days=9))
    assigned = assign_split(interactions, split)
    counts = dict(assigned.group_by("split").len().iter_rows())
    assert counts == {"train": 21, "validation": 6, "test": 3}
    uneven = assign_split(interactions, by_time(validation_share=0.2, test_share=0.05))
    assert uneven.filter(pl.col("split") == "test").height == 3  # 1.5 asked for, but they share their moment


def test_users_are_held_out_by_their_raw_id_alone() -> None:
    interactions = log(*[4] * 400)
    split = UserSplit(kind="user", validation_share=0.2, test_share=0.1)
    assigned = assign_split(interactions, split, users=users(400), seed=3)
    of_user = dict(assigned.select("user_id", "split").unique().iter_rows())
    assert len(of_user) == 400  # one split for each user
    counts = np.unique(list(of_user.values()), return_counts=True)
    held = dict(zip(*counts, strict=True))
    assert 20 <= held["test"] <= 60  # 40 expected; 20 is more than three standard deviations away
    assert 50 <= held["validation"] <= 110
    # Whoever leaves takes no other user's place: the dense ids shift by one, the splits do not.
    fewer = assign_split(
        interactions.filter(pl.col("user_id") > 0).with_columns(pl.col("user_id") - 1),
        split,
        users=users(400)[1:].with_columns(pl.col("user_id") - 1),
        seed=3,
    )
    assert dict(fewer.select(pl.col("user_id") + 1, "split").unique().iter_rows()) == {
        user: split for user, split in of_user.items() if user
    }
    other = assign_split(interactions, split, users=users(400), seed=4)
    assert not other["split"].equals(assigned["split"])


def test_a_random_holdout_shows_no_trace_of_the_order_of_the_file() -> None:
    interactions = log(*[6] * 2000, timed=False)
    holdout = RandomHoldout(kind="random_holdout")
    assigned = assign_split(interactions, holdout, order="none", users=users(2000), items=items(6))
    for split in ("validation", "test"):
        counts = np.bincount(assigned.filter(pl.col("split") == split)["item_id"].to_numpy(), minlength=6)
        assert ((counts - 2000 / 6) ** 2 / (2000 / 6)).sum() < 20.5  # 99.9 % point of chi-square with 5 degrees
    backwards = assign_split(
        interactions[::-1].sort("user_id", maintain_order=True),
        holdout,
        order="none",
        users=users(2000),
        items=items(6),
    )
    assert backwards.equals(assigned)


def test_the_order_of_a_log_without_order_is_drawn_for_held_out_users_too() -> None:
    split = UserSplit(kind="user", validation_share=0.4, test_share=0.4)
    assigned = assign_split(log(*[6] * 50, timed=False), split, order="none", users=users(50), items=items(6))
    last = assigned.group_by("user_id").last()["item_id"]
    assert last.n_unique() > 3


@pytest.mark.parametrize(
    ("interactions", "split", "said"),
    [
        (log(2, 1), LeaveOneOut(), r"got train 3, validation 0, test 0 .* 2 users with at most 2 .* Lower cleaning"),
        (log(5), by_time(validation_from="2025-01-01", test_from="2025-02-01"), r"runs from 2024-01-01 .* move"),
        (log(5), by_time(validation_from="2023-01-01", test_from="2024-01-04"), "got train 0, validation 3, test 2"),
        (log(1, 1, 4), by_time(validation_from="2024-01-03", test_from="2024-01-09"), "validation 2, test 0"),
        (log(4), UserSplit(kind="user", validation_share=0.1, test_share=0.1), r"of 1 users .* Raise split"),
    ],
)
def test_an_empty_split_is_refused_with_counts_and_what_to_do(
    interactions: pl.DataFrame, split: Split, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        assign_split(interactions, split, users=users(3))


def test_held_out_interactions_that_nobody_could_be_asked_about_are_no_test() -> None:
    later = pl.when(pl.col("user_id") == 1).then(9).otherwise(0)
    newcomers = log(4, 1).with_columns(at=pl.col("at") + pl.duration(days=later))
    split = by_time(validation_from=START + timedelta(days=2), test_from=START + timedelta(days=5))
    with pytest.raises(ValueError, match=r"test 1 \(2 and 0 with one before them\)"):
        assign_split(newcomers, split)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": "global_time"}, "must have either validation_from and test_from, or"),
        ({"kind": "global_time", "validation_from": "2024-01-01", "test_share": 0.1}, "must have either"),
        (
            {"kind": "global_time", "validation_from": "2024-01-02", "test_from": "2024-01-01"},
            "validation_from must be before test_from",
        ),
        ({"kind": "global_time", "validation_share": 0.5, "test_share": 0.5}, "must leave something to train"),
        ({"kind": "user", "validation_share": 0.9, "test_share": 0.2}, "must leave users to train"),
        ({"kind": "user", "test_share": 0}, "greater than 0"),
    ],
)
def test_a_split_that_cannot_be_is_refused_when_the_file_is_read(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TypeAdapter[Split](Split).validate_python(given)


def test_a_date_without_a_zone_is_utc() -> None:
    assert by_time(validation_from="2024-01-02", test_from="2024-01-03T01:00:00+01:00").test_from == datetime(
        2024, 1, 3, tzinfo=UTC
    )


def test_every_kind_of_split_says_what_it_does_and_does_not_guarantee() -> None:
    assert set(GUARANTEES) == {"leave_one_out", "global_time", "user", "random_holdout", "published"}


def test_the_summary_counts_each_split() -> None:
    summary = summarise_splits(assign_split(log(4, 3), LeaveOneOut()))
    validate(summary, TABLES["splits"])
    day = {number: datetime(2024, 1, number, tzinfo=UTC) for number in range(1, 5)}
    assert summary.rows() == [
        ("train", 3, 2, 2, day[1], day[2]),
        ("validation", 2, 2, 2, day[2], day[3]),
        ("test", 2, 2, 2, day[3], day[4]),
    ]


def test_the_summary_shows_an_empty_split_as_zero() -> None:
    summary = summarise_splits(log(2).with_columns(split=pl.lit("train")))
    validate(summary, TABLES["splits"])
    assert summary.row(2) == ("test", 0, 0, 0, None, None)


SPLITS: dict[str, tuple[pl.DataFrame, Split]] = {
    "leave_one_out": (assign_split(log(4, 3, 6), LeaveOneOut()), LeaveOneOut()),
    "times": (
        assign_split(log(6, 6), by_time(validation_from="2024-01-03", test_from="2024-01-05")),
        by_time(validation_from="2024-01-03", test_from="2024-01-05"),
    ),
    "shares": (
        assign_split(log(10, 10), by_time(validation_share=0.2, test_share=0.2)),
        by_time(validation_share=0.2, test_share=0.2),
    ),
    "user": (
        assign_split(log(*[3] * 9), UserSplit(kind="user", validation_share=0.3, test_share=0.3), users=users(9)),
        UserSplit(kind="user", validation_share=0.3, test_share=0.3),
    ),
    "random_holdout": (
        assign_split(
            log(4, 3, timed=False),
            RandomHoldout(kind="random_holdout"),
            order="none",
            users=users(2),
            items=items(4),
        ),
        RandomHoldout(kind="random_holdout"),
    ),
}


@pytest.mark.parametrize("name", SPLITS)
def test_a_sound_split_keeps_its_guarantee(name: str) -> None:
    interactions, split = SPLITS[name]
    finding = split_keeps_its_guarantee(interactions.lazy(), split)
    assert finding.passed, finding.message
    assert finding.checked == interactions.height


@pytest.mark.parametrize(
    ("name", "row", "planted", "violations", "shown"),
    [
        ("leave_one_out", 3, {"split": "train"}, 1, "row=3, user_id=0, split=train, wanted=test"),
        ("leave_one_out", 0, {"split": "validation"}, 1, "row=0, user_id=0, split=validation, wanted=train"),
        ("times", 2, {"split": "train"}, 1, "row=2, user_id=0, split=train, wanted=validation"),
        ("times", 0, {"at": datetime(2024, 1, 3, tzinfo=UTC)}, 1, "row=0, user_id=0, split=train, wanted=validation"),
        ("times", 5, {"split": "validation"}, 1, "row=5, user_id=0, split=validation, wanted=test"),
        ("shares", 0, {"at": datetime(2025, 1, 1, tzinfo=UTC)}, 1, "row=0, user_id=0, split=train, wanted=test"),
        ("shares", 0, {"split": "validation"}, 12, "each split must hold its share; got 12 violations"),
        ("user", 0, {"split": "test"}, 2, "row=1, user_id=0, split=validation, wanted=test"),
        ("random_holdout", 6, {"split": "train"}, 1, "row=6, user_id=1, split=train, wanted=test"),
        ("random_holdout", 2, {"at": START}, 1, "must be of a log without times; got 1"),
    ],
)
def test_a_planted_defect_breaks_the_guarantee_and_is_named(
    name: str, row: int, planted: dict[str, object], violations: int, shown: str
) -> None:
    interactions, split = SPLITS[name]
    rows = interactions.rows(named=True)
    assert {key: rows[row][key] for key in planted} != planted
    rows[row] |= planted
    finding = split_keeps_its_guarantee(pl.DataFrame(rows, schema=interactions.schema), split)
    assert not finding.passed
    assert finding.violations == violations, finding.message
    assert shown in finding.message


def test_shares_that_were_not_kept_break_the_guarantee() -> None:
    interactions, _ = SPLITS["shares"]
    finding = split_keeps_its_guarantee(interactions, by_time(validation_share=0.2, test_share=0.4))
    assert not finding.passed
    assert "each split must hold its share" in finding.message
