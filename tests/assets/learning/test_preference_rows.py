"""A pool that has nothing for an experiment, or is not of the policy it starts from, is refused."""

from types import SimpleNamespace
from typing import Any

import dagster as dg
import polars as pl
import pytest

from assets.lake.partitions import Keys
from assets.learning.preference_rows import refuse_empty, refuse_pool_of_another_policy
from assets.transforms.preferences import choose_negatives, negatives_missing
from contracts.config import Negatives

HISTORIES = pl.DataFrame(
    {"row_id": [0, 1], "split": ["train"] * 2, "target": [3, 4]},
    schema_overrides={"row_id": pl.Int32, "target": pl.Int32},
)
POOL = pl.DataFrame(
    {
        "row_id": [0, 0, 1],
        "item_id": [5, 6, 5],
        "rank": [1, 2, 1],
        "miner": ["hardest"] * 3,
        "on_boundary": [False] * 3,
    },
    schema_overrides={"row_id": pl.Int32, "item_id": pl.Int32, "rank": pl.Int32},
)


def refuse(negatives: Negatives) -> None:
    rows = choose_negatives(HISTORIES, POOL, negatives, seed=0)
    short = negatives_missing(rows, negatives.n)
    refuse_empty(short, rows.height, negatives, keys=Keys("shop", "dmpo"), pool=("shop", "sft"))


@pytest.mark.parametrize(
    ("negatives", "said"),
    [
        (Negatives(n=2, miner="hardest", min_rank=9), "holds no hardest negatives that rank 9 or lower"),
        (Negatives(n=2, miner="uniform"), "holds no uniform negatives. Is the catalogue smaller than that?"),
    ],
)
def test_an_experiment_without_any_negative_is_refused(negatives: Negatives, said: str) -> None:
    with pytest.raises(dg.Failure) as refused:
        refuse(negatives)
    assert "preference_rows of shop|dmpo must hold negatives, got none for any of 2 rows" in str(
        refused.value.description
    )
    assert said in str(refused.value.description)


def test_rows_that_are_short_are_no_reason() -> None:
    refuse(Negatives(n=2, miner="hardest"))
    refuse(Negatives(n=2, miner="hardest", min_rank=2))  # row 1 has none, row 0 has one


@pytest.mark.parametrize(("mined_by", "is_refused"), [("new", False), ("old", True)])
def test_a_pool_that_an_earlier_version_of_the_policy_mined_is_refused(mined_by: str, is_refused: bool) -> None:
    inputs = [{"asset": "sft_policies", "data_version": mined_by}, {"asset": "histories", "data_version": "h"}]
    keys, sft = Keys("shop", "dmpo"), Keys("shop", "sft")
    start: Any = SimpleNamespace(asset="sft_policies", partition=sft, data_version="new")
    pool: Any = SimpleNamespace(partition=sft, manifest={"inputs": inputs})
    if not is_refused:
        refuse_pool_of_another_policy(start, pool, keys)
        return
    with pytest.raises(dg.Failure) as refused:
        refuse_pool_of_another_policy(start, pool, keys)
    said = str(refused.value.description)
    assert "got a pool of an earlier sft_policies of shop|sft. Launch the job `mine` for shop|sft, or run: " in said
