"""Which interactions train, which select, which report. Each split states what it guarantees, and what it does not."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from assets.transforms.chunks import ROWS, Table, parts_of_whole_users
from assets.transforms.text_keys import text_keys
from contracts.config.dataset import GlobalTimeSplit, RandomHoldout, Split, UserSplit
from contracts.draws import Bits, hashes, uniforms
from contracts.words import SPLITS

TRAIN, VALIDATION, TEST = range(3)
"""Codes of the splits: their places in SPLITS."""

Codes = NDArray[np.uint8]
Order = Literal["time", "position", "none"]
"""What puts a user's interactions in order: their times, the publisher's positions, or nothing."""


@dataclass(frozen=True)
class Guarantee:
    """What a kind of split promises, in plain words."""

    given: str
    not_given: str


GUARANTEES = {
    "leave_one_out": Guarantee(
        "No train interaction of a user comes after the user's validation interaction, which does not come after the "
        "test interaction.",
        "Train may hold what other users did later than a test interaction: what a model learns from later users can "
        "tell about an earlier one's future. Only a split at one global time excludes that.",
    ),
    "global_time": Guarantee(
        "Every train interaction, of any user, happened before every validation interaction, and these before every "
        "test interaction: a model knows nothing that was not known when the first judged choice was made.",
        "A user's history may hold the user's own validation and test interactions before the target. Users and items "
        "that first appear after train are judged without anything learned about them.",
    ),
    "user": Guarantee(
        "Nothing of a held-out user is trained on: how well a model serves people it has never seen.",
        "Train may hold what other users did later than a held-out interaction. Nothing is said about how well the "
        "users in train are served.",
    ),
    "random_holdout": Guarantee(
        "A user's test and validation interactions are drawn by hash and not trained on.",
        "There is no order: the log has none. 'Before' and 'next' mean nothing here, a history may hold what happened "
        "after its target, and numbers do not compare with those of a chronological split.",
    ),
    "published": Guarantee(
        "Every validation and test row is the publisher's own, and no target of one stands in a split before it.",
        "Whatever the publisher did not take care of: the leak probes say what they find.",
    ),
}
"""By kind of split."""
NO_TIMES = (
    "The log has no times: within a user the publisher's positions say what came first, or, where there are none "
    "either, nothing does: the rows stand in an order drawn by hash, and 'last' and 'before' mean nothing."
)


def order_of(raw_interactions: Table) -> Order:
    """What orders the interactions of a log.

    Raises:
        ValueError: there are no times, and only some interactions have a position.
    """
    counted = raw_interactions.lazy().select(
        rows=pl.len(), times=pl.col("at").count(), positions=pl.col("position").count()
    )
    rows, times, positions = counted.collect(engine="streaming").row(0)
    if times:
        return "time"
    if 0 < positions < rows:
        raise ValueError(
            f"Either all raw interactions or none must have a position, got {rows - positions:,} of {rows:,} without. "
            "Quarantine those, or leave all positions out."
        )
    return "position" if positions else "none"


def split_parts(
    interactions: Table,
    split: Split,
    *,
    order: Order,
    users: pl.DataFrame | None,
    items: pl.DataFrame | None,
    seed: int,
    rows: int = ROWS,
) -> Iterator[pl.DataFrame]:
    """`interactions` with the column `split`, in parts of whole users.

    leave_one_out: a user's last interaction is test, the one before it validation, all earlier ones train; a user with
    fewer than three is train only. global_time: by the time of the interaction. user: all interactions of a user are in
    one split, by a hash of (seed, raw user id). random_holdout: as leave_one_out, in an order drawn by hash.

    Rows and their order are unchanged, but for a log without any order: there a user's rows are put into the order of a
    hash of (seed, raw user id, raw item id), because the order they are in may be a hidden clock, or a sort by item.

    >>> from datetime import UTC, datetime
    >>> from contracts.config.dataset import LeaveOneOut
    >>> at = [datetime(2024, 1, day, tzinfo=UTC) for day in (1, 2, 3, 4, 1, 2)]
    >>> log = pl.DataFrame({"user_id": [0, 0, 0, 0, 1, 1], "item_id": [7, 3, 5, 1, 7, 3], "at": at})
    >>> parts = split_parts(log, LeaveOneOut(), order="time", users=None, items=None, seed=0)
    >>> pl.concat(parts).select("user_id", "item_id", "split").rows()
    [(0, 7, 'train'), (0, 3, 'train'), (0, 5, 'validation'), (0, 1, 'test'), (1, 7, 'train'), (1, 3, 'train')]

    Args:
        interactions: user_id, item_id, at, weight; by user, in the order that `order` names.
        split: the rule.
        order: what orders a user's rows.
        users: user_id, user; for a split by user, and for a log without order.
        items: item_id, item; for a log without order.
        seed: of the hashes.
        rows: about how many rows a part holds; changes nothing else.

    Raises:
        ValueError: the log lacks the order that the split needs, or a split would be empty or give no row to judge.
    """
    refuse_without_order(interactions, split, order)
    boundaries = time_boundaries(interactions, split) if isinstance(split, GlobalTimeSplit) else None
    of_user = _split_of_user(users, split, seed) if isinstance(split, UserSplit) else None
    keys = (_raw_keys(users, "user"), _raw_keys(items, "item")) if order == "none" else None
    held = np.zeros(3, dtype=np.int64)  # interactions in each split, and those of them with something before them
    judged = np.zeros(3, dtype=np.int64)
    for part in parts_of_whole_users(interactions, rows):
        if keys is not None:
            part = _shuffled(part, *keys, seed)
        user = part["user_id"].to_numpy()
        if boundaries is not None:
            codes = _by_time(part["at"], boundaries)
        elif of_user is not None:
            codes = of_user[user]
        else:
            codes = _last_two(user)
        held += np.bincount(codes, minlength=3)
        judged += np.bincount(codes[1:][user[1:] == user[:-1]], minlength=3)
        yield part.with_columns(split=pl.Series(SPLITS).gather(codes))
    _refuse_empty(interactions, split, held, judged)


def refuse_without_order(interactions: Table, split: Split, order: Order) -> None:
    """Raises unless the log has the order that the split needs.

    Raises:
        ValueError: which says why the split needs one, and what is possible instead.
    """
    kind = split.kind
    if isinstance(split, RandomHoldout):
        if order != "none":
            raise ValueError(
                f"Split {kind} must be given a log without order, got one ordered by {order}: drawing at random there "
                "would show a model its users' futures. Use leave_one_out."
            )
        return
    if isinstance(split, UserSplit):
        return
    if order == "none":
        raise ValueError(
            f"Split {kind} must have a log with an order, got one without times and without positions: 'last' has no "
            "meaning there, and file order is not one. Possible instead: split {kind: random_holdout}, which holds out "
            "one interaction of each user at random and says so, or {kind: user}; or bring a log with times."
        )
    if order == "position" and isinstance(split, GlobalTimeSplit):
        raise ValueError(
            f"Split {kind} must have a log with times, got one with positions alone: a position orders one user's "
            "interactions, and says nothing about which of two users was earlier. Possible instead: leave_one_out, or "
            "user; or bring a log with times."
        )
    if order == "time":
        rows, missing = interactions.lazy().select(pl.len(), pl.col("at").null_count()).collect().row(0)
        if missing:
            raise ValueError(
                f"Every interaction must have a time for split {kind}, got {missing:,} of {rows:,} without: "
                "'last' has no meaning without time, and file order is not one. Bring a log with times, or a "
                "published split of this one."
            )


def time_boundaries(interactions: Table, split: GlobalTimeSplit) -> tuple[datetime, datetime]:
    """When validation and test begin. Shares become the times of the interactions that are there in order of time."""
    if split.validation_from is not None and split.test_from is not None:
        return split.validation_from, split.test_from
    assert split.validation_share is not None  # the configuration has one pair or the other
    assert split.test_share is not None
    at = interactions.lazy().select(pl.col("at").to_physical()).collect()["at"].to_numpy(writable=True)
    last = len(at) - 1
    places = [
        min(last, round(len(at) * (1 - share)))
        for share in (split.validation_share + split.test_share, split.test_share)
    ]
    at.partition(places)
    first, second = pl.Series(at[places]).cast(pl.Datetime("us", "UTC")).to_list()
    return first, second


def describe_log(interactions: Table) -> dict[str, float | str]:
    """Interactions of a user, and how far time orders them; of a log by user, in its order.

    >>> from datetime import UTC, datetime
    >>> at = [datetime(2024, 1, day, tzinfo=UTC) for day in (1, 1, 2, 5)]
    >>> describe_log(pl.DataFrame({"user_id": [0, 0, 0, 1], "at": at}))["tied_in_time"]
    0.5
    """
    per_user = interactions.lazy().group_by("user_id").len("length").select("length").collect(engine="streaming")
    lengths = per_user["length"].to_numpy()
    described: dict[str, float | str] = {
        "interactions_per_user_median": float(np.median(lengths)),
        "interactions_per_user_min": int(lengths.min()),
        "interactions_per_user_max": int(lengths.max()),
    }
    table = interactions.lazy().select("user_id", "at").collect(engine="streaming")
    if table["at"].null_count() == table.height:
        return described
    user, at = table["user_id"].to_numpy(), table["at"].to_physical().to_numpy()
    is_tie = (user[1:] == user[:-1]) & (at[1:] == at[:-1])
    is_tied = np.concatenate([is_tie, [False]]) | np.concatenate([[False], is_tie])
    return described | {
        "first_at": str(table["at"].min()),
        "last_at": str(table["at"].max()),
        "tied_in_time": float(is_tied.mean()),  # share that has the time of another one of the user
    }


def summarise_splits(interactions: Table) -> pl.DataFrame:
    """What each split holds: interactions, users, items, first and last time; one row each, also for an empty split."""
    found = (
        interactions.lazy()
        .group_by("split")
        .agg(
            interactions=pl.len().cast(pl.Int64),
            users=pl.col("user_id").n_unique().cast(pl.Int64),
            items=pl.col("item_id").n_unique().cast(pl.Int64),
            first_at=pl.col("at").min(),
            last_at=pl.col("at").max(),
        )
    )
    return (
        pl.LazyFrame({"split": SPLITS})
        .join(found, on="split", how="left", maintain_order="left")
        .with_columns(pl.col("interactions", "users", "items").fill_null(0))
        .collect(engine="streaming")
    )


def _last_two(user: NDArray[np.int32]) -> Codes:
    """Leave-one-out of whole users."""
    starts = np.flatnonzero(np.concatenate([[True], user[1:] != user[:-1]]))
    lengths = np.diff(starts, append=len(user))
    ends = (starts + lengths)[lengths >= 3]
    codes = np.full(len(user), TRAIN, dtype=np.uint8)
    codes[ends - 1], codes[ends - 2] = TEST, VALIDATION
    return codes


def _by_time(at: pl.Series, boundaries: tuple[datetime, datetime]) -> Codes:
    first, second = boundaries
    return ((at >= first).cast(pl.UInt8) + (at >= second).cast(pl.UInt8)).to_numpy()


def _split_of_user(users: pl.DataFrame | None, split: UserSplit, seed: int) -> Codes:
    """By user_id; a user's split depends on no other user."""
    chance = uniforms(seed, "split/user", _raw_keys(users, "user"))
    codes = np.full(len(chance), TRAIN, dtype=np.uint8)
    codes[chance < split.validation_share + split.test_share] = VALIDATION
    codes[chance < split.test_share] = TEST
    return codes


def _shuffled(part: pl.DataFrame, user_keys: Bits, item_keys: Bits, seed: int) -> pl.DataFrame:
    """Each user's rows by a hash of user and item; by falling weight where a user has several with one item."""
    user, item = part["user_id"].to_numpy(), part["item_id"].to_numpy()
    drawn = hashes(seed, "no order", user_keys[user], item_keys[item])
    return part[np.lexsort((-part["weight"].to_numpy(), drawn, user))]


def _raw_keys(table: pl.DataFrame | None, name: str) -> Bits:
    """64 bits of the raw id, by dense id."""
    assert table is not None  # an error of the caller: the rule hashes raw ids
    return text_keys(table.sort(f"{name}_id")[name])


def _refuse_empty(interactions: Table, split: Split, held: NDArray[np.int64], judged: NDArray[np.int64]) -> None:
    if held[TRAIN] and judged[VALIDATION] and judged[TEST]:
        return
    counts = ", ".join(f"{name} {count:,}" for name, count in zip(SPLITS, held, strict=True))
    lengths = interactions.lazy().group_by("user_id").len("length").select(pl.len(), pl.col("length").max())
    n_users, longest = lengths.collect(engine="streaming").row(0)
    if isinstance(split, GlobalTimeSplit):
        first, last = interactions.lazy().select(pl.col("at").min(), last=pl.col("at").max()).collect().row(0)
        remedy = f"The log runs from {first} to {last}: move the times, or the shares, so that each holds some."
    elif isinstance(split, UserSplit):
        remedy = "Raise split.validation_share and split.test_share, lower cleaning.k_core, or bring more users."
    else:
        remedy = (
            "A user needs three interactions to have one in each. Lower cleaning.min_weight or cleaning.k_core, or "
            "bring more interactions."
        )
    raise ValueError(
        f"Split {split.kind} must leave interactions in train, and in validation and test some with another one of the "
        f"user before them, got {counts} ({judged[VALIDATION]:,} and {judged[TEST]:,} with one before them) of "
        f"{n_users:,} users with at most {longest:,} interactions each. {remedy}"
    )
