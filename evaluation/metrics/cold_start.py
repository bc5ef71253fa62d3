"""Recall where train has little to learn from: cold items and cold users. Dimension key: i items."""

import polars as pl

from evaluation.arrays import Ids
from evaluation.metrics.groups import row_groups

METRIC = "recall_at_10_full"


def cold_start_recall(
    metrics: pl.DataFrame, rows: pl.DataFrame, item_counts: Ids, user_counts: Ids
) -> dict[str, float]:
    """The mean of METRIC over the rows with a cold target, and over those of cold users, beside how many there are.

    Args:
        metrics: the metrics table.
        rows: row_id, user_id, history, target of at least its rows.
        item_counts: train interactions of each item, shape [i].
        user_counts: train interactions of each user, by user_id.

    Returns:
        `cold_item_rows`, `cold_user_rows`, and where these are not 0 `cold_item_<METRIC>`, `cold_user_<METRIC>`.
    """
    groups = row_groups(rows, item_counts, user_counts)
    values = metrics.filter(pl.col("metric") == METRIC).join(groups, on="row_id", how="inner").sort("row_id")
    found: dict[str, float] = {}
    for what in ("item", "user"):
        cold = values.filter(pl.col(what) == "cold")["value"]
        found[f"cold_{what}_rows"] = float(cold.len())
        if cold.len():
            found[f"cold_{what}_{METRIC}"] = float(cold.to_numpy().mean())
    return found
