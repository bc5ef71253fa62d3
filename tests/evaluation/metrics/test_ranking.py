import math

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import ndcg_score

from evaluation.metrics.ranking import (
    METRICS_SCHEMA,
    PREDICTIONS_SCHEMA,
    InvalidPredictions,
    Measure,
    check_predictions,
    hit_ratio_at_k,
    metrics_of,
    mrr,
    ndcg_at_k,
    recall_at_k,
)

ROWS = pl.DataFrame(
    {"row_id": [5, 6], "user_id": [0, 1], "split": ["validation", "test"], "target": [2, 4]},
    schema={"row_id": pl.Int32, "user_id": pl.Int32, "split": pl.String, "target": pl.Int32},
)
ITEMS: list[object] = [[7, 2, 1], [0, 1, 4], [2, 7], [9, 8]]
SCORES: list[object] = [[3.0, 2.0, 1.0], [1.0, 1.0, 1.0], [0.5, -0.5], [0.0, -1.0]]


def predictions(**changes: list[object]) -> pl.DataFrame:
    """Two rows under both protocols: row 5 has its target at ranks 2 and 1, row 6 at ranks 3 and 40 (not listed)."""
    columns: dict[str, list[object]] = {
        "row_id": [5, 6, 5, 6],
        "protocol": ["of_3", "of_3", "full", "full"],
        "items": ITEMS,
        "scores": SCORES,
        "target_rank": [2, 3, 1, 40],
    }
    return pl.DataFrame(columns | changes, schema=PREDICTIONS_SCHEMA, strict=False)


def test_a_rank_becomes_each_metric_by_its_definition() -> None:
    rank = np.array([1, 2, 10, 11])
    assert hit_ratio_at_k(rank, 10).tolist() == [1.0, 1.0, 1.0, 0.0]
    assert recall_at_k(rank, 1).tolist() == [1.0, 0.0, 0.0, 0.0]
    assert ndcg_at_k(rank, 10).tolist() == [1.0, 1 / math.log2(3), 1 / math.log2(11), 0.0]
    assert mrr(rank).tolist() == [1.0, 1 / 2, 1 / 10, 1 / 11]


def test_ndcg_agrees_with_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    scores = generator.permuted(np.tile(np.arange(30.0), (200, 1)), axis=1)
    target = generator.integers(0, 30, size=200)
    rank = 1 + (scores > scores[np.arange(200), target][:, None]).sum(axis=1)
    relevance = np.eye(30)[target]
    for k in (1, 5, 10, 30):
        assert ndcg_at_k(rank, k).mean() == pytest.approx(ndcg_score(relevance, scores, k=k), abs=1e-12)


def test_metrics_carry_their_protocol_in_their_name() -> None:
    table = metrics_of(predictions(protocol=["of_20", "of_20", "full", "full"]), ROWS)
    assert dict(table.schema) == dict(METRICS_SCHEMA)
    values = {(row["row_id"], row["metric"]): row["value"] for row in table.to_dicts()}
    assert values == {
        (5, "hit_ratio_at_1_of_20"): 0.0,
        (5, "mrr_of_20"): 1 / 2,
        (5, "recall_at_10_full"): 1.0,
        (5, "ndcg_at_10_full"): 1.0,
        (6, "hit_ratio_at_1_of_20"): 0.0,
        (6, "mrr_of_20"): 1 / 3,
        (6, "recall_at_10_full"): 0.0,
        (6, "ndcg_at_10_full"): 0.0,
    }


def test_a_measure_is_a_function_of_the_rank_under_a_name_with_its_protocol() -> None:
    assert Measure("ndcg", 3).values(np.array([3, 4])).tolist() == [0.5, 0.0]
    assert Measure("mrr").values(np.array([4, 40])).tolist() == [1 / 4, 1 / 40]
    assert (Measure("ndcg", 3).metric("of_3"), Measure("mrr").metric("full")) == ("ndcg_at_3_of_3", "mrr_full")


@pytest.mark.parametrize(("kind", "k"), [("mrr", 10), ("ndcg", None), ("recall", 0)])
def test_a_measure_with_a_meaningless_cut_off_is_refused(kind: str, k: int | None) -> None:
    with pytest.raises(ValueError, match=f"k of {kind} must be"):
        Measure(kind, k)  # pyright: ignore[reportArgumentType]


def test_sound_predictions_pass() -> None:
    check_predictions(predictions(), ROWS, n_items=100, protocols=("of_3", "full"))


@pytest.mark.parametrize(
    ("defect", "table", "said"),
    [
        ("columns", predictions().drop("scores"), "scores must be List"),
        ("columns", predictions().cast({"target_rank": pl.Int64}), "target_rank must be Int32, got Int64"),
        ("columns", predictions(target_rank=[2, None, 1, 40]), "target_rank must hold no nulls, got 1"),
        ("columns", predictions(items=[[7, None, 2], *ITEMS[1:]]), "items must hold no nulls, got 1"),
        ("columns", predictions(scores=[None, *SCORES[1:]]), "scores must hold no nulls"),
        ("protocol", predictions(protocol=["of_3", "of_3", "Full", "full"]), "'full' or 'of_<n>'"),
        ("protocol", predictions(protocol=["of_0", "of_3", "full", "full"]), "first row_id 5 under 'of_0'"),
        ("protocol", predictions().filter(pl.col("protocol") == "of_3"), r"must hold protocol full, got \['of_3'\]"),
        ("protocol", predictions().clear(), r"must hold protocol full and of_3, got \[\]"),
        ("duplicate_row", pl.concat([predictions(), predictions()[:1]]), "got 2 rows .* row_id 5 under 'of_3'"),
        ("unknown_row", predictions(row_id=[5, 7, 5, 6]), "row_id 7 under 'of_3'"),
        ("missing_row", predictions()[:3], "got 1 rows .* row_id 6 under 'full'"),
        ("items", predictions(items=[[7, 2], *ITEMS[1:]]), "one length"),
        ("items", predictions(items=[[]] * 4, scores=[[]] * 4), "1 or more, got 4 rows"),
        ("items", predictions(items=[[7, 2, 7], *ITEMS[1:]]), "once in a list"),
        ("items", predictions(items=[[7, 2, 1, 0], *ITEMS[1:]], scores=[[3.0] * 4, *SCORES[1:]]), "no longer than"),
        ("scores", predictions(scores=[[math.nan, 2.0, 1.0], *SCORES[1:]]), "finite"),
        ("scores", predictions(scores=[[math.inf, 2.0, 1.0], *SCORES[1:]]), "finite"),
        ("scores", predictions(scores=[[3.0, 2.0, 2.5], *SCORES[1:]]), "best first"),
        ("unknown_item", predictions(items=[[7, 2, 100], *ITEMS[1:]]), "0 to 99"),
        ("unknown_item", predictions(items=[[7, 2, -1], *ITEMS[1:]]), "0 to 99"),
        ("target_rank", predictions(target_rank=[0, 3, 1, 40]), "1 or more"),
        ("target_rank", predictions(target_rank=[2, 4, 1, 40]), "within its protocol.* row_id 6 under 'of_3'"),
        ("target_rank", predictions(target_rank=[2, 3, 1, 101]), "within its protocol.* row_id 6 under 'full'"),
        ("target_rank", predictions(target_rank=[1, 3, 1, 40]), "hold its target at target_rank"),
        ("target_rank", predictions(items=[[7, 2, 1], [0, 1, 4], [2, 7], [9, 4]]), "nowhere else"),
    ],
)
def test_a_defect_is_refused_by_name(defect: str, table: pl.DataFrame, said: str) -> None:
    with pytest.raises(InvalidPredictions, match=said) as refusal:
        metrics_of(table, ROWS, n_items=100, protocols=("of_3", "full"))
    assert refusal.value.defect == defect


def test_rows_that_repeat_themselves_are_refused() -> None:
    with pytest.raises(ValueError, match="rows must hold each row_id once"):
        metrics_of(predictions(), pl.concat([ROWS, ROWS]))
