"""The same metrics for parts of the rows: by activity, history length, popularity of the target, and cold starts.

A mean hides whom a recommender fails. Groups depend on train counts and histories, never on predictions, so every
experiment has the same ones. Intervals here are normal, from user-clustered standard errors: enough to read a
table of parts, while what is compared is compared by the bootstrap in `significance`.
Dimension key: r rows, i items.
"""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import polars as pl

from evaluation.arrays import Ids

ACTIVITY = (10, 20, 50)
HISTORY_LENGTH = (5, 10, 20)
POPULARITY = (10, 50, 200)
"""Lower bounds of the second and later groups, in interactions; the first group holds all that is below."""
COLD_BELOW = 10
"""A user or target with fewer train interactions is cold."""
LEVEL = 0.95
"""The level of the intervals."""

GROUPS_SCHEMA = pl.Schema(
    {
        "split": pl.String(),
        "by": pl.String(),
        "group": pl.String(),
        "metric": pl.String(),
        "rows": pl.Int64(),
        "users": pl.Int64(),
        "value": pl.Float64(),
        "low": pl.Float64(),
        "high": pl.Float64(),
    }
)


def row_groups(rows: pl.DataFrame, item_counts: Ids, user_counts: Ids) -> pl.DataFrame:
    """Which groups each row is in: row_id, then one column for each way to divide the rows.

    Args:
        rows: row_id, user_id, history, target.
        item_counts: train interactions of each item, shape [i]; a popularity.
        user_counts: train interactions of each user, by user_id; an activity.

    Returns:
        row_id, activity, history_length, target_popularity, user, item; the last two are `cold` or `warm`.
    """
    user_count = pl.Series(user_counts[rows["user_id"].to_numpy()])
    target_count = pl.Series(item_counts[rows["target"].to_numpy()])
    length = rows["history"].list.len().cast(pl.Int64)
    return rows.select("row_id").with_columns(
        _binned(user_count, ACTIVITY).alias("activity"),
        _binned(length, HISTORY_LENGTH).alias("history_length"),
        _binned(target_count, POPULARITY).alias("target_popularity"),
        _temperature(user_count).alias("user"),
        _temperature(target_count).alias("item"),
    )


def group_metrics(metrics: pl.DataFrame, groups: pl.DataFrame) -> pl.DataFrame:
    """The mean of every metric in every group, of `GROUPS_SCHEMA`, sorted; groups without rows do not occur.

    Args:
        metrics: the metrics table.
        groups: of `row_groups`, at least the rows of `metrics`.

    Raises:
        ValueError: rows of `metrics` that are in no group.
    """
    joined = metrics.join(groups, on="row_id", how="inner")
    if joined.height != metrics.height:
        raise ValueError(f"groups must hold every row, got {metrics.height - joined.height} metrics of rows without.")
    z = NormalDist().inv_cdf(0.5 + LEVEL / 2)
    tables: list[pl.DataFrame] = []
    for by in groups.columns[1:]:
        keys = ["split", pl.lit(by).alias("by"), pl.col(by).alias("group"), "metric"]
        # Users are the clusters; sorting them fixes the order of summation, hence the last digit.
        of_user = (
            joined.sort("row_id")
            .group_by(*keys, "user_id", maintain_order=True)
            .agg(pl.len().alias("n"), pl.col("value").sum())
        )
        names = ["split", "by", "group", "metric"]
        mean = of_user.group_by(names).agg(
            pl.col("n").sum().cast(pl.Int64).alias("rows"),
            pl.len().cast(pl.Int64).alias("users"),
            (pl.col("value").sum() / pl.col("n").sum()).alias("mean"),
        )
        residual = pl.col("value") - pl.col("mean") * pl.col("n")
        error = of_user.join(mean, on=names).group_by(names).agg(_cluster_error(residual).alias("error"))
        tables.append(
            mean.join(error, on=names).select(
                *names,
                "rows",
                "users",
                pl.col("mean").alias("value"),
                (pl.col("mean") - z * pl.col("error")).alias("low"),
                (pl.col("mean") + z * pl.col("error")).alias("high"),
            )
        )
    return pl.concat(tables).cast(GROUPS_SCHEMA).sort("split", "by", "metric", "group")


def _cluster_error(residual: pl.Expr) -> pl.Expr:
    """Standard error of a ratio of sums over users, linearised (Cochran, Sampling Techniques, 1977, §6.4)."""
    users = pl.len()
    correction = pl.when(users > 1).then(users / (users - 1)).otherwise(None)  # of one user, nothing is known
    return (residual.pow(2).sum() * correction).sqrt() / pl.col("rows").first()


def _binned(values: pl.Series, bounds: Sequence[int]) -> pl.Expr:
    """Labels that sort as they count: `000-004`, `005-009`, `010+`."""
    place = np.searchsorted(np.asarray(bounds), values.to_numpy(), side="right")
    width = len(str(bounds[-1]))
    starts = (0, *bounds)
    names = [f"{a:0{width}}-{b - 1:0{width}}" for a, b in zip(starts, bounds, strict=False)]
    names.append(f"{bounds[-1]:0{width}}+")
    return pl.lit(pl.Series([names[p] for p in place], dtype=pl.String))


def _temperature(counts: pl.Series) -> pl.Expr:
    return pl.lit((counts < COLD_BELOW).replace_strict([True, False], ["cold", "warm"], return_dtype=pl.String))
