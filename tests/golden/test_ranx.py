"""Our rank metrics against numbers that ranx (https://github.com/AmenRa/ranx) computed on random rankings, to 1e-9.

ranx compiles its metrics with numba for some fifty seconds, so its numbers are computed once and stored. To compute
them again, install the extra `golden` and run `python -m tests.golden.test_ranx`.
"""

import json
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from evaluation.metrics.ranking import CUT_OFFS, PREDICTIONS_SCHEMA, Measure, MeasureKind, mean_metrics

GOLDEN = Path(__file__).with_name("ranx.json")
ROWS, ITEMS = 60, 30
THEIRS: dict[MeasureKind, str] = {
    "hit_ratio": "hit_rate",
    "recall": "recall",
    "precision": "precision",
    "ndcg": "ndcg",
    "map": "map",
}


def compute() -> dict[str, Any]:
    """Random rankings, a target in each, and the value of each of ranx's measures on each row."""
    from ranx import Qrels, Run, evaluate  # pyright: ignore[reportMissingImports]  # of the extra `golden`

    random = np.random.default_rng(7)
    targets = random.integers(ITEMS, size=ROWS).tolist()
    rankings = [random.permutation(ITEMS).tolist() for _ in range(ROWS)]
    names = [f"{theirs}@{k}" for theirs in THEIRS.values() for k in CUT_OFFS] + ["mrr"]
    keys = [f"{row:03}" for row in range(ROWS)]  # ranx sorts its queries as text
    qrels = Qrels({key: {str(target): 1} for key, target in zip(keys, targets, strict=True)})
    run = Run(
        {
            key: {str(item): float(ITEMS - place) for place, item in enumerate(ranking)}
            for key, ranking in zip(keys, rankings, strict=True)
        }
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numba, about its own casts
        values: Any = evaluate(qrels, run, names, return_mean=False)
    return {
        "ranx": version("ranx"),
        "targets": targets,
        "rankings": rankings,
        "values": {name: [float(value) for value in values[name]] for name in names},
    }


def test_every_measure_is_what_ranx_computes_on_random_rankings() -> None:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    targets, rankings, found = golden["targets"], golden["rankings"], golden["values"]
    rank = np.array([1 + ranking.index(target) for ranking, target in zip(rankings, targets, strict=True)])
    assert set(rank) >= {1, ITEMS}, "the best and the worst place occur"
    assert len(found) == len(THEIRS) * len(CUT_OFFS) + 1
    for ours, theirs in THEIRS.items():
        for k in CUT_OFFS:
            expected = found[f"{theirs}@{k}"]
            np.testing.assert_allclose(Measure(ours, k).values(rank), expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(Measure("mrr").values(rank), found["mrr"], rtol=0, atol=1e-9)
    predictions = pl.DataFrame(
        {
            "row_id": range(ROWS),
            "protocol": ["full"] * ROWS,
            "items": rankings,
            "scores": [list(range(ITEMS, 0, -1))] * ROWS,
            "target_rank": rank,
        },
        schema=PREDICTIONS_SCHEMA,
    )
    for name, value in mean_metrics(predictions).items():
        theirs = name.removesuffix("_full").replace("_at_", "@")
        assert abs(value - float(np.mean(found[theirs]))) < 1e-9, name


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(compute(), separators=(",", ":")) + "\n", encoding="utf-8")
