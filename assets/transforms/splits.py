"""Which interactions train, which select, which report. Each split states and shows its guarantee."""

import polars as pl

from assets.datasets import Split

SPLITS = ("train", "validation", "test")


def assign_split(interactions: pl.DataFrame, split: Split) -> pl.DataFrame:
    """`interactions` (by user, in chronological order) with the column `split`; rows and their order are unchanged.

    Leave-one-out: a user's last interaction is test, the one before it validation, all earlier ones train. A user with
    fewer than three interactions is train only.

    Guarantees, for every user: no train interaction comes after the validation interaction, which does not come after
    the test interaction. It does **not** guarantee that train ends before another user's test begins: what a model
    learns from later users can tell about an earlier one's future. Only a split at one global time excludes that.

    >>> from datetime import UTC, datetime
    >>> from assets.datasets import LeaveOneOut
    >>> at = [datetime(2024, 1, day, tzinfo=UTC) for day in (1, 2, 3, 4, 1, 2)]
    >>> log = pl.DataFrame({"user_id": [0, 0, 0, 0, 1, 1], "item_id": [7, 3, 5, 1, 7, 3], "at": at})
    >>> assign_split(log, LeaveOneOut()).select("user_id", "item_id", "split").rows()
    [(0, 7, 'train'), (0, 3, 'train'), (0, 5, 'validation'), (0, 1, 'test'), (1, 7, 'train'), (1, 3, 'train')]

    Raises:
        ValueError: interactions without a time.
    """
    refuse_without_time(interactions, split.kind)
    from_last = pl.len().over("user_id") - 1 - pl.int_range(pl.len()).over("user_id")
    return interactions.with_columns(
        split=pl.when(pl.len().over("user_id") < 3)
        .then(pl.lit("train"))
        .when(from_last == 0)
        .then(pl.lit("test"))
        .when(from_last == 1)
        .then(pl.lit("validation"))
        .otherwise(pl.lit("train"))
    )


def refuse_without_time(interactions: pl.DataFrame, kind: str) -> None:
    """Raises unless every interaction has a time.

    Raises:
        ValueError: which says why a chronological split needs one, and what is possible instead.
    """
    missing = interactions["at"].null_count()
    if missing:
        raise ValueError(
            f"Every interaction must have a time for split {kind}, got {missing:,} of {interactions.height:,} without: "
            "'last' has no meaning in a log without time, and file order is not one. Bring a log with times, or a "
            "published split of this one."
        )


def summarise_splits(interactions: pl.DataFrame) -> pl.DataFrame:
    """What each split holds: interactions, users, items, first and last time; one row each, also for an empty split."""
    found = interactions.group_by("split").agg(
        interactions=pl.len().cast(pl.Int64),
        users=pl.col("user_id").n_unique().cast(pl.Int64),
        items=pl.col("item_id").n_unique().cast(pl.Int64),
        first_at=pl.col("at").min(),
        last_at=pl.col("at").max(),
    )
    return (
        pl.DataFrame({"split": SPLITS})
        .join(found, on="split", how="left", maintain_order="left")
        .with_columns(pl.col("interactions", "users", "items").fill_null(0))
    )
