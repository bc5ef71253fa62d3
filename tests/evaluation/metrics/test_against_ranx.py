"""Our rank metrics against ranx (https://github.com/AmenRa/ranx), on random rankings, to 1e-9."""

import warnings

import numpy as np
import polars as pl
import pytest

from evaluation.metrics.ranking import CUT_OFFS, PREDICTIONS_SCHEMA, Measure, mean_metrics

ROWS, ITEMS = 200, 60
THEIRS = {"hit_ratio": "hit_rate", "recall": "recall", "precision": "precision", "ndcg": "ndcg", "map": "map"}


@pytest.mark.slow
def test_every_measure_is_what_ranx_computes_on_random_rankings() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numba, about its own casts
        from ranx import Qrels, Run, evaluate

        random = np.random.default_rng(7)
        targets = random.integers(ITEMS, size=ROWS)
        orders = [random.permutation(ITEMS) for _ in range(ROWS)]
        qrels = Qrels({str(row): {str(target): 1} for row, target in enumerate(targets)})
        scores = np.sort(random.normal(size=ITEMS))[::-1]
        run = Run(
            {str(row): dict(zip(map(str, order), map(float, scores), strict=True)) for row, order in enumerate(orders)}
        )
        names = [f"{theirs}@{k}" for theirs in THEIRS.values() for k in CUT_OFFS] + ["mrr"]
        found = evaluate(qrels, run, names, return_mean=False)
    rank = np.array(
        [1 + int(np.flatnonzero(order == target)[0]) for order, target in zip(orders, targets, strict=True)]
    )
    in_order = np.argsort(np.array([str(row) for row in range(ROWS)]))  # ranx sorts its queries as text
    for ours, theirs in THEIRS.items():
        for k in CUT_OFFS:
            expected = found[f"{theirs}@{k}"]
            np.testing.assert_allclose(Measure(ours, k).values(rank)[in_order], expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(Measure("mrr").values(rank)[in_order], found["mrr"], rtol=0, atol=1e-9)
    predictions = pl.DataFrame(
        {
            "row_id": range(ROWS),
            "protocol": ["full"] * ROWS,
            "items": [order.tolist() for order in orders],
            "scores": [scores.tolist()] * ROWS,
            "target_rank": rank,
        },
        schema=PREDICTIONS_SCHEMA,
    )
    for name, value in mean_metrics(predictions).items():
        theirs = name.removesuffix("_full").replace("_at_", "@")
        assert abs(value - float(np.mean(found[theirs]))) < 1e-9, name
