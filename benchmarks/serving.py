"""What using a policy costs: a full-catalogue evaluation with its scoring, and top-10 lists from the served model.

    python benchmarks/serving.py              prints a line of JSON per workload; about a minute on two CPU cores

The policy is that of experiments/sft.yaml (one token an item, hidden 64, two layers) with random weights, on the size
of MovieLens-1M: 6,040 rows, one for each user, 3,706 items, histories of 100. `evaluation` scores the whole catalogue
and a candidate set of 20 for every row, ranks, and computes the metrics; its opponent ranks the scores of one row at a
time with a full sort, on a hundredth of the rows, scaled. `pyfunc` asks the model that MLflow carries for the top 10 of
1,000 histories in one call, and one by one. Times are the best of the repeats: seconds on the clock, and of the
processor over all threads, which a busy machine stretches less.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pandas as pd
import polars as pl
import torch

from contracts.config import ScratchBackbone
from evaluation.metrics.ranking import metrics_of
from orchestration.serving.recommender import Recommender
from training.backbones.scratch import scratch_model
from training.engine.catalogue_scores import catalogue_scores
from training.engine.policy import Policy
from training.engine.rank_rows import rank_rows
from training.engine.rankings import joined_rankings
from training.engine.windows import find_windows
from training.io.ragged import Ragged
from training.io.rows import Rows
from training.representations.items import ItemVocabulary
from training.representations.prompted_rows import fit_context

USERS, ITEMS, HISTORY, ASKED, SINGLY = 6_040, 3_706, 100, 1_000, 50
BACKBONE = ScratchBackbone(hidden=64, layers=2, heads=2, context=100)


@dataclass(frozen=True)
class Seconds:
    """Of one call."""

    wall: float
    processor: float


def best(call: Callable[[], object], repeats: int) -> Seconds:
    walls: list[float] = []
    processors: list[float] = []
    for _ in range(repeats):
        started, at = time.perf_counter(), time.process_time()
        call()
        walls.append(time.perf_counter() - started)
        processors.append(time.process_time() - at)
    return Seconds(min(walls), min(processors))


def a_policy() -> Policy:
    vocabulary = ItemVocabulary(ITEMS)
    return Policy(scratch_model(BACKBONE, ITEMS + 2, seed=0), vocabulary, BACKBONE.context)


def some_rows(users: int) -> tuple[Rows, Ragged]:
    """Rows with histories of 100 distinct items and a target that is none of them; candidates hold the target once."""
    random = np.random.default_rng(0)
    drawn = np.argsort(random.random((users, ITEMS)), axis=1)[:, : HISTORY + 20]
    index, target = np.arange(users), drawn[:, HISTORY].astype(np.int32)
    rows = Rows(index, index, Ragged.of(drawn[:, :HISTORY].tolist()), target)
    return rows, Ragged.of(np.sort(drawn[:, HISTORY:], axis=1).tolist())


def evaluated(policy: Policy, rows: Rows, candidates: Ragged) -> pl.DataFrame:
    prompts, _ = fit_context(rows, policy.vocabulary, policy.context)
    order, of_catalogue = [], []
    for row, _, ranked in rank_rows(policy, prompts, rows.history, candidates, 50):
        order.append(row)
        of_catalogue.append(ranked)
    ranking = joined_rankings(of_catalogue).take(np.argsort(np.concatenate(order)))
    lists = np.split(ranking.items.values, ranking.items.offsets[1:-1])
    scores = np.split(ranking.scores, ranking.items.offsets[1:-1])
    predictions = pl.DataFrame(
        {
            "row_id": rows.row_id,
            "protocol": ["full"] * len(rows),
            "items": [part.tolist() for part in lists],
            "scores": [part.tolist() for part in scores],
            "target_rank": ranking.target_rank,
        },
        schema_overrides={
            "row_id": pl.Int32, "items": pl.List(pl.Int32), "scores": pl.List(pl.Float32), "target_rank": pl.Int32
        },
    )  # fmt: skip
    held_out = pl.DataFrame(
        {
            "row_id": rows.row_id,
            "user_id": rows.user_id,
            "split": ["test"] * len(rows),
            "history": [part.tolist() for part in np.split(rows.history.values, rows.history.offsets[1:-1])],
            "target": rows.target,
        },
        schema_overrides={
            "row_id": pl.Int32, "user_id": pl.Int32, "history": pl.List(pl.Int32), "target": pl.Int32
        },
    )  # fmt: skip
    return metrics_of(predictions, held_out, n_items=ITEMS)


def by_sorting(policy: Policy, rows: Rows) -> list[int]:
    ranks: list[int] = []
    for at in range(len(rows)):
        one = Rows(
            rows.row_id[at : at + 1],
            rows.user_id[at : at + 1],
            rows.history.take(np.array([at])),
            rows.target[at : at + 1],
        )
        prompt, _ = fit_context(one, policy.vocabulary, policy.context)
        for _, logps in catalogue_scores(policy, find_windows(prompt)):
            scores = logps.numpy()[0].copy()
            scores[one.history.values] = -np.inf
            ranks.append(int(np.flatnonzero(np.argsort(-scores) == one.target[0])[0]) + 1)
    return ranks


def evaluation_workload(repeats: int, users: int) -> dict[str, float | str]:
    policy, (rows, candidates) = a_policy(), some_rows(users)
    table = evaluated(policy, rows, candidates)
    part = rows.take(np.arange(users // 100))
    recall = np.array([rank <= 10 for rank in by_sorting(policy, part)], dtype=float)
    ours = table.filter((pl.col("metric") == "recall_at_10_full") & (pl.col("row_id") < users // 100)).sort("row_id")
    assert np.array_equal(ours["value"].to_numpy(), recall)
    seconds = best(lambda: evaluated(policy, rows, candidates), repeats)
    sorting = best(lambda: by_sorting(policy, part), 1).processor * users / len(part)
    return {
        "workload": "evaluation",
        "rows": users,
        "items": ITEMS,
        "with_scoring_s": round(seconds.wall, 2),
        "with_scoring_cpu_s": round(seconds.processor, 2),
        "row_by_row_cpu_s": round(sorting, 1),
        "ratio_to_row_by_row": round(seconds.processor / sorting, 3),
    }


def pyfunc_workload(repeats: int) -> dict[str, float | str]:
    model, random = Recommender(), np.random.default_rng(1)
    names = [f"item-{item}" for item in range(ITEMS)]
    model.policy, model.items, model.titles = a_policy(), names, names
    model.item_ids = {name: item for item, name in enumerate(names)}
    model.popularity = np.zeros(ITEMS, dtype=np.float32)
    histories = [[names[item] for item in random.choice(ITEMS, HISTORY, replace=False)] for _ in range(ASKED)]
    asked = pd.DataFrame({"history": histories})
    context = SimpleNamespace(artifacts={})
    together = model.predict(context, asked)
    alone = [model.predict(context, asked.iloc[[at]])["items"].iloc[0] for at in range(SINGLY)]
    assert together["items"][:SINGLY].tolist() == alone
    assert {len(items) for items in together["items"]} == {10}
    singly = best(lambda: [model.predict(context, asked.iloc[[at]]) for at in range(SINGLY)], repeats)
    at_once = best(lambda: model.predict(context, asked), repeats)
    return {
        "workload": "pyfunc",
        "users": ASKED,
        "items": ITEMS,
        "top_10_s": round(at_once.wall, 2),
        "top_10_cpu_s": round(at_once.processor, 2),
        "one_user_ms": round(1000 * singly.wall / SINGLY, 1),
        "one_user_cpu_ms": round(1000 * singly.processor / SINGLY, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=USERS)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(json.dumps(evaluation_workload(options.repeats, options.users)), flush=True)
    print(json.dumps(pyfunc_workload(options.repeats)))


if __name__ == "__main__":
    main()
