"""Floors on candidate lists: chance where lists are fair, the answer where they are not."""

import numpy as np
import polars as pl
import pytest

from evaluation.baselines import ListRule, list_floor_predictions
from evaluation.metrics.ranking import check_predictions, metrics_of

N_ITEMS, ROWS, N = 200, 1_000, 10


def histories(targets: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame(
        {"row_id": range(ROWS), "user_id": range(ROWS), "split": ["test"] * ROWS, "target": targets},
        schema_overrides={"row_id": pl.Int32, "user_id": pl.Int32, "target": pl.Int32},
    )


def hit_ratio(rule: ListRule, rows: pl.DataFrame, lists: list[list[int]]) -> float:
    candidate_sets = pl.DataFrame({"row_id": range(ROWS), "candidates": lists}, schema_overrides={"row_id": pl.Int32})
    table = list_floor_predictions(rows, candidate_sets, rule=rule, n_items=N_ITEMS, seed=0)
    check_predictions(table, rows, n_items=N_ITEMS, protocols=[f"of_{N}"])
    shuffled = candidate_sets.sample(fraction=1.0, shuffle=True, seed=2)
    assert list_floor_predictions(rows.reverse(), shuffled, rule=rule, n_items=N_ITEMS, seed=0).equals(table)
    found = metrics_of(table, rows).filter(pl.col("metric") == f"hit_ratio_at_1_of_{N}")["value"].mean()
    assert isinstance(found, float)
    return found


@pytest.fixture
def fair() -> tuple[np.ndarray, list[list[int]]]:
    random = np.random.default_rng(0)
    targets = random.integers(N_ITEMS, size=ROWS)
    others = [random.choice(np.delete(np.arange(N_ITEMS), target), N - 1, replace=False) for target in targets]
    return targets, [
        random.permutation([target, *other]).tolist() for target, other in zip(targets, others, strict=True)
    ]


@pytest.mark.parametrize("rule", ["slot", "shared_list"])
def test_fair_lists_leave_a_floor_at_chance(rule: ListRule, fair: tuple[np.ndarray, list[list[int]]]) -> None:
    targets, lists = fair
    assert hit_ratio(rule, histories(targets), lists) < 1 / N + 3 * np.sqrt(0.1 * 0.9 / ROWS)


def test_a_slot_that_follows_from_nothing_but_habit_is_found(fair: tuple[np.ndarray, list[list[int]]]) -> None:
    targets, lists = fair
    first = [
        [target, *(item for item in items if item != target)]
        for target, items in zip(targets.tolist(), lists, strict=True)
    ]
    assert hit_ratio("slot", histories(targets), first) == 1.0


def test_negatives_seeded_by_their_target_are_found(fair: tuple[np.ndarray, list[list[int]]]) -> None:
    targets, _ = fair
    lists = []
    for target in targets.tolist():
        random = np.random.default_rng(target)
        lists.append([target, *random.choice(np.delete(np.arange(N_ITEMS), target), N - 1, replace=False).tolist()])
    assert hit_ratio("shared_list", histories(targets), lists) > 0.8, (
        "a target that is in one half alone cannot be found"
    )
