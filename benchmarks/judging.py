"""What judging costs: full-catalogue metrics from stored ranks, and 10,000 bootstrap resamples of 100,000 users.

    python benchmarks/judging.py              prints a line of JSON per workload; under a minute on two CPU cores

`metrics` has the size of MovieLens-1M (6,040 rows, one for each user, 3,706 items, lists of 50); its opponent is a loop
over rows in plain Python that computes the same two metrics. `bootstrap` has as many columns as a leaderboard of three
experiments with two metrics, and their differences; its opponent draws each resample by indexing the rows, as one
writes it first, on a hundredth of the resamples, scaled. Times are the best of the repeats, in seconds of processor
time over all threads, which a busy machine stretches less than it does the clock on the wall.
"""

import argparse
import json
import math
import time
from collections.abc import Callable

import numpy as np
import polars as pl

from evaluation.metrics.beyond_accuracy import beyond_accuracy, catalogue_of
from evaluation.metrics.ranking import PREDICTIONS_SCHEMA, metrics_of
from evaluation.statistics.significance import Panel, Resampling, bootstrap

ROWS, ITEMS, TOP_K = 6_040, 3_706, 50
USERS, RESAMPLES = 100_000, 10_000
EXPERIMENTS, METRICS = ("sft", "dmpo", "sdpo"), ("recall_at_10_full", "ndcg_at_10_full")


def best(call: Callable[[], object], repeats: int, clock: Callable[[], float] = time.process_time) -> float:
    times: list[float] = []
    for _ in range(repeats):
        started = clock()
        call()
        times.append(clock() - started)
    return min(times)


def judged_tables() -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Predictions, rows, interactions and items; ranks and lists drawn at random, histories of 20."""
    random = np.random.default_rng(0)
    # A permutation of the catalogue for each row, without one sort for each: a random start and a random step.
    start, step = random.integers(ITEMS, size=(ROWS, 1)), random.choice([1, 3, 5, 9, 11], (ROWS, 1))
    order = (start + step * np.arange(TOP_K + 21)) % ITEMS
    rank = random.integers(1, ITEMS - 20, ROWS)
    target = np.where(rank <= TOP_K, order[np.arange(ROWS), np.minimum(rank, TOP_K) - 1], order[:, TOP_K])
    row_id = np.arange(ROWS)
    predictions = pl.DataFrame(
        {
            "row_id": row_id,
            "protocol": ["full"] * ROWS,
            "items": order[:, :TOP_K],
            "scores": np.tile(np.arange(TOP_K, 0, -1, dtype=np.float32), (ROWS, 1)),
            "target_rank": rank,
        }
    ).with_columns(pl.col("items", "scores").arr.to_list())
    rows = pl.DataFrame(
        {
            "row_id": row_id,
            "user_id": row_id,
            "split": ["test"] * ROWS,
            "history": order[:, TOP_K + 1 :],
            "target": target,
        }
    )
    rows = rows.with_columns(pl.col("history").arr.to_list()).cast(
        {"row_id": pl.Int32, "user_id": pl.Int32, "history": pl.List(pl.Int32), "target": pl.Int32}
    )
    interactions = rows.select("user_id", pl.col("history").alias("item_id"), pl.lit("train").alias("split")).explode(
        "item_id"
    )
    items = pl.DataFrame({"item_id": range(ITEMS), "category": [f"{i % 18}|{i % 7}" for i in range(ITEMS)]})
    return predictions.cast({**PREDICTIONS_SCHEMA}), rows, interactions, items


def by_loop(predictions: pl.DataFrame) -> tuple[float, float]:
    recall = ndcg = 0.0
    for row in predictions.iter_rows(named=True):
        if row["target_rank"] <= 10:
            recall += 1.0
            ndcg += 1.0 / math.log2(1 + row["target_rank"])
    return recall / predictions.height, ndcg / predictions.height


def metrics_workload(repeats: int) -> dict[str, float | str]:
    predictions, rows, interactions, items = judged_tables()
    catalogue = catalogue_of(interactions, items, n_users=ROWS)
    table = metrics_of(predictions, rows, n_items=ITEMS)
    means = table.group_by("metric").agg(pl.col("value").mean()).sort("metric")["value"]
    assert np.allclose(means, by_loop(predictions)[::-1], atol=1e-12)
    ours = best(lambda: metrics_of(predictions, rows, n_items=ITEMS), repeats)
    beyond = best(lambda: beyond_accuracy(predictions, table, rows, catalogue), repeats)
    loop = best(lambda: by_loop(predictions), repeats)
    return {
        "workload": "metrics",
        "rows": ROWS,
        "items": ITEMS,
        "checked_metrics_s": round(ours, 3),
        "beyond_accuracy_s": round(beyond, 3),
        "python_loop_without_checks_s": round(loop, 3),
        "ratio_to_loop": round(ours / loop, 2),
    }


def bootstrap_workload(repeats: int, users: int, resamples: int) -> dict[str, float | str]:
    random = np.random.default_rng(1)
    columns = tuple((experiment, metric) for experiment in EXPERIMENTS for metric in METRICS)
    sums = random.random((users, len(columns)))
    panel = Panel(np.arange(users), np.ones(users), columns, sums)
    pairs = [((experiment, metric), ("sft", metric)) for experiment in EXPERIMENTS[1:] for metric in METRICS]
    ours = best(lambda: bootstrap(panel, pairs, Resampling(resamples)), repeats)
    few = max(1, resamples // 100)

    def by_indexing() -> None:
        for _ in range(few):
            sums[random.integers(users, size=users)].mean(axis=0)

    indexing = best(by_indexing, repeats) * resamples / few
    return {
        "workload": "bootstrap",
        "users": users,
        "resamples": resamples,
        "columns": len(columns) + len(pairs),
        "bootstrap_s": round(ours, 2),
        "by_indexing_s": round(indexing, 2),
        "ratio_to_indexing": round(ours / indexing, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=USERS)
    parser.add_argument("--resamples", type=int, default=RESAMPLES)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    print(json.dumps(metrics_workload(options.repeats)))
    print(json.dumps(bootstrap_workload(options.repeats, options.users, options.resamples)))


if __name__ == "__main__":
    main()
