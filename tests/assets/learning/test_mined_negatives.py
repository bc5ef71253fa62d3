"""What a pool is described by, on a table small enough to count by hand."""

from typing import Any

import polars as pl

from assets.learning.mined_negatives import described

SCHEMA = {"row_id": pl.Int32, "miner": pl.String, "margin": pl.Float32, "on_boundary": pl.Boolean}


def pool(*negatives: tuple[int, str, float, bool]) -> pl.LazyFrame:
    return pl.LazyFrame(negatives, schema=SCHEMA, orient="row")


def test_a_pool_is_described_by_sizes_shares_and_the_median_margin_of_each_miner() -> None:
    found: dict[str, Any] = described(
        pool(
            (0, "hardest", -1.0, True),
            (0, "hardest", 0.0, True),
            (0, "uniform", 8.0, False),
            (3, "hardest", 2.0, False),
            (3, "hardest", 5.0, False),
        )
    )
    assert found == {
        "rows": 2,
        "pool_per_row": 2.5,
        "boundary_share": 2 / 5,
        "violation_share": 2 / 5,  # a margin of 0 outranks the chosen item too
        "margin_median_hardest": 1.0,
        "margin_median_uniform": 8.0,
    }


def test_an_empty_pool_has_no_shares() -> None:
    assert described(pool()) == {"rows": 0, "pool_per_row": 0.0, "boundary_share": 0.0, "violation_share": 0.0}
