"""What each kind of split promises, proven on the finished table by code that shares nothing with what made it."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from assets.transforms.guarantees.finding import Finding
from contracts.config.dataset import GlobalTimeSplit, Split

Table = pl.DataFrame | pl.LazyFrame
Flags = NDArray[np.bool_]

_RANK = {"train": 0, "validation": 1, "test": 2}


def split_keeps_its_guarantee(interactions: Table, split: Split) -> Finding:
    """The proof for the kind of the split.

    Args:
        interactions: user_id, at, split; by user, in the order of the log.
        split: the rule that was asked for.
    """
    match split.kind:
        case "leave_one_out":
            return split_is_leave_one_out(interactions)
        case "global_time":
            assert isinstance(split, GlobalTimeSplit)  # whose kind it is
            return split_is_at_one_time(interactions, split)
        case "user":
            return users_are_held_out_whole(interactions)
        case "random_holdout":
            return held_out_without_order(interactions)
        case "published":
            return splits_follow_each_other(interactions)


def split_is_leave_one_out(interactions: Table) -> Finding:
    """Per user in chronological order: train, …, train, validation, test; or train only."""
    return _one_held_out(
        interactions,
        "The last interaction of a user must be test, the one before it validation, all earlier ones train",
    )


def held_out_without_order(interactions: Table) -> Finding:
    """As leave-one-out, in an order that claims no times."""
    dated = interactions.lazy().filter(pl.col("at").is_not_null()).head(5).collect()
    if dated.height:
        n_dated, n = interactions.lazy().select(pl.col("at").count(), pl.len()).collect().row(0)
        return Finding(
            "A random holdout must be of a log without times", n, n_dated, dated, "Split it by leave_one_out instead."
        )
    return _one_held_out(
        interactions, "One interaction of a user must be test, one validation, all others train, in the order drawn"
    )


def splits_follow_each_other(interactions: Table) -> Finding:
    """Per user in the order of the log: train, …, train, validation, …, test, …; any of them may be missing."""
    user, rank = _columns(interactions)
    falls = np.flatnonzero((user[1:] == user[:-1]) & (rank[1:] < rank[:-1])) + 1
    return Finding(
        "No interaction of a user may come after one of a later split",
        len(user),
        len(falls),
        interactions.lazy().select("user_id", "split").with_row_index("row").collect()[falls[:5]],
        "The publisher's rows of a user overlap in time; use another split of this log.",
    )


def _one_held_out(interactions: Table, guarantee: str) -> Finding:
    user, rank = _columns(interactions)
    n = len(user)
    is_last = np.ones(n, dtype=bool)
    is_last[:-1] = user[1:] != user[:-1]
    is_next_to_last = np.zeros(n, dtype=bool)
    is_next_to_last[:-1] = is_last[1:] & ~is_last[:-1]
    lengths = np.bincount(user)
    holds_out = np.bincount(user, weights=rank > 0, minlength=len(lengths)) > 0
    wanted = np.where(is_last, 2, np.where(is_next_to_last, 1, 0)).astype(np.uint8) * holds_out[user]
    is_wrong = (rank != wanted) | (holds_out & (lengths < 3))[user]
    return _found(
        interactions, guarantee, is_wrong, "Assign the split again from chronologically sorted interactions.", wanted
    )


def split_is_at_one_time(interactions: Table, split: GlobalTimeSplit) -> Finding:
    """No train interaction is at or after the start of validation, and no validation interaction at or after test's.

    The starts are the times that the split names; where it names shares, the first validation and the first test
    interaction, and then validation and test must also hold their shares, up to the interactions of a single moment.
    """
    _, rank = _columns(interactions)
    at = interactions.lazy().select(pl.col("at").to_physical().fill_null(np.iinfo(np.int64).min)).collect()
    at = at["at"].to_numpy()
    if split.validation_from is not None and split.test_from is not None:
        starts = pl.Series([split.validation_from, split.test_from]).cast(pl.Datetime("us", "UTC")).to_physical()
        first, second = starts.to_list()
    else:
        first, second = (int(at[rank >= later].min(initial=np.iinfo(np.int64).max)) for later in (1, 2))
    wanted = (at >= first).astype(np.uint8) + (at >= second)
    is_wrong = rank != wanted
    for later, asked in ((1, (split.validation_share or 0) + (split.test_share or 0)), (2, split.test_share)):
        if asked:
            start = (first, second)[later - 1]
            more = (at >= start).sum()
            fewer = (at > start).sum()  # the moment itself is never torn apart
            if not fewer - 1 <= asked * len(at) <= more + 1:
                is_wrong |= at == start
    return _found(
        interactions,
        "Every train interaction must be before the start of validation, every validation interaction before that of "
        "test, and each split must hold its share",
        is_wrong,
        "Assign the split again by time; no model trained on this one is valid.",
        wanted,
    )


def users_are_held_out_whole(interactions: Table) -> Finding:
    """All interactions of a user are in one split."""
    user, rank = _columns(interactions)
    highest = np.zeros(user.max(initial=-1) + 1, dtype=np.uint8)
    for code in (1, 2):
        highest[user[rank == code]] = code
    return _found(
        interactions,
        "All interactions of a user must be in one split",
        rank != highest[user],
        "Assign the split again by user; a held-out user must never be trained on.",
        highest[user],
    )


def _columns(interactions: Table) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """User and place of the split among train, validation, test: 5 bytes for each interaction."""
    split = pl.col("split").replace_strict(_RANK, return_dtype=pl.UInt8)
    table = interactions.lazy().select("user_id", split).collect(engine="streaming")
    return table["user_id"].to_numpy(), table["split"].to_numpy()


def _found(interactions: Table, guarantee: str, is_wrong: Flags, remedy: str, wanted: NDArray[np.uint8]) -> Finding:
    rows = np.flatnonzero(is_wrong)
    first = rows[:5].tolist()
    shown = pl.concat([interactions.lazy().slice(row, 1).collect() for row in first or [0]])[: len(first)]
    named = pl.Series("wanted", [list(_RANK)[code] for code in wanted[first]], dtype=pl.String)
    shown = shown.select(pl.Series("row", first, dtype=pl.Int64), "user_id", "split", named, "at")
    return Finding(guarantee, len(is_wrong), len(rows), shown, remedy)
