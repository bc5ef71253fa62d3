"""Ties of baselines that count: most scores are 0 on a sparse log, and the header's rules must score as the rows do."""

import numpy as np
import polars as pl
import pytest

from evaluation.baselines import by_popularity, fit_item_cooccurrence, popularity_predictions, row_predictions
from evaluation.leakage import shortcut_report

USERS, ITEMS, N = 1_500, 400, 20


@pytest.fixture(scope="module")
def sparse() -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Users with four items each, popular items more often: few pairs of items occur at all."""
    generator = np.random.default_rng(0)
    weights = 1.0 / np.arange(1, ITEMS + 1)
    names = generator.permutation(ITEMS)  # an id says nothing of an item's popularity
    logs, sets = [], []
    for _ in range(USERS):
        drawn = names[generator.choice(ITEMS, size=4 + N, replace=False, p=weights / weights.sum())]
        logs.append(drawn[:4].tolist())
        others = generator.choice(np.setdiff1d(np.arange(ITEMS), logs[-1]), size=N - 1, replace=False)
        sets.append(generator.permutation([logs[-1][-1], *others]).tolist())
    users = list(range(USERS))
    interactions = pl.DataFrame({"user_id": users, "item_id": logs, "split": [["train"] * 3 + ["test"]] * USERS})
    rows = pl.DataFrame({"row_id": users, "user_id": users, "split": ["test"] * USERS})
    rows = rows.with_columns(history=pl.Series([log[:3] for log in logs]), target=pl.Series([log[3] for log in logs]))
    ids = pl.col("row_id", "user_id", "target").cast(pl.Int32)
    rows = rows.with_columns(ids, pl.col("history").cast(pl.List(pl.Int32)))
    lists = pl.DataFrame({"row_id": users, "candidates": sets}).cast(
        {"row_id": pl.Int32, "candidates": pl.List(pl.Int32)}
    )
    return rows, lists, interactions.explode("item_id", "split")


def share(is_found: pl.Series) -> float:
    return int(is_found.sum()) / is_found.len()


def hit_ratio(table: pl.DataFrame) -> float:
    return share(table.filter(pl.col("protocol") == f"of_{N}")["target_rank"] == 1)


def recall(table: pl.DataFrame) -> float:
    return share(table.filter(pl.col("protocol") == "full")["target_rank"] <= 10)


def test_the_row_of_popularity_is_the_rule_in_the_header(sparse) -> None:
    rows, lists, interactions = sparse
    table = popularity_predictions(rows, lists, interactions, n_items=ITEMS)
    rules = {score.rule: score for score in shortcut_report(rows, lists, interactions, n_items=ITEMS).scores}
    assert rules["popularity"].hit_ratio_at_1 == pytest.approx(hit_ratio(table))
    assert rules["popularity"].recall_at_10 == pytest.approx(recall(table))


def test_co_occurrence_falls_back_to_popularity_as_the_rule_in_the_header_does(sparse) -> None:
    rows, lists, interactions = sparse
    score = fit_item_cooccurrence(interactions, n_items=ITEMS, reach=5, decay=0.0)
    ties = by_popularity(interactions, n_items=ITEMS)
    header = next(
        rule.hit_ratio_at_1
        for rule in shortcut_report(rows, lists, interactions, n_items=ITEMS).scores
        if rule.rule == "co_occurrence"
    )
    row = hit_ratio(row_predictions(score, rows, lists, n_items=ITEMS, ties=ties))
    by_id = hit_ratio(row_predictions(score, rows, lists, n_items=ITEMS))
    # The header's rule also counts pairs backwards; 0.03 is two standard errors of 1,500 rows.
    assert row == pytest.approx(header, abs=0.03)
    assert by_id < header - 0.05, "with the target after its equals the fallback is lost"
