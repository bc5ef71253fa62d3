"""An experiment that a pool has no negative for is refused before it is trained on nothing."""

import dagster as dg
import polars as pl
import pytest

from assets.partitions import Keys
from assets.preferences import refuse_empty
from assets.transforms.preferences import choose_negatives, negatives_missing
from training.config import Negatives

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
