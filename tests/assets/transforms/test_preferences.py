"""Preference rows: which of the mined negatives an experiment trains on."""

import numpy as np
import polars as pl
import pytest

from assets.lake.validate import validate
from assets.transforms.preferences import Shortfall, choose_negatives, negatives_missing
from contracts.config import Negatives
from contracts.tables import TABLES
from evaluation.schemas import schema_of

ROWS = 400


def histories(n_rows: int = ROWS) -> pl.DataFrame:
    """Train rows, and a test row that must not appear."""
    return pl.DataFrame(
        {
            "row_id": range(n_rows + 1),
            "user_id": range(n_rows + 1),
            "split": ["train"] * n_rows + ["test"],
            "history": [[0]] * (n_rows + 1),
            "target": [1] * (n_rows + 1),
        },
        schema=schema_of("histories"),
    )


def pool(hard: list[int], uniform: list[int], n_rows: int = ROWS) -> pl.DataFrame:
    """The same pool for every row: hard items by rank, uniform items."""
    miners = ["hardest"] * len(hard) + ["uniform"] * len(uniform)
    one = pl.DataFrame(
        {"item_id": hard + uniform, "rank": [*range(1, len(hard) + 1), *range(50, 50 + len(uniform))], "miner": miners}
    )
    return (
        pl.DataFrame({"row_id": range(n_rows)}).join(one, how="cross").cast({"row_id": pl.Int32, "item_id": pl.Int32})
    )


HARD, UNIFORM = list(range(100, 120)), list(range(200, 220))


def chosen(mined: pl.DataFrame, n_rows: int = ROWS, seed: int = 0, **negatives: object) -> list[list[int]]:
    table = choose_negatives(histories(n_rows), mined, Negatives.model_validate(negatives), seed)
    validate(table, TABLES["preference_rows"])
    assert table["row_id"].to_list() == list(range(n_rows))
    assert table["chosen"].to_list() == [1] * n_rows
    return table["rejected"].to_list()


def test_hardest_takes_the_top_ranks_in_order_whatever_the_order_of_the_pool() -> None:
    shuffled = pool(HARD, UNIFORM).sample(fraction=1, shuffle=True, seed=0)
    assert chosen(shuffled, miner="hardest", n=15) == [HARD[:15]] * ROWS


def test_uniform_takes_uniform_items_and_prefers_none() -> None:
    rejected = chosen(pool(HARD, UNIFORM), miner="uniform", n=5)
    counts = np.bincount(np.array(rejected).ravel() - 200, minlength=20)
    assert set(np.ravel(rejected)) == set(UNIFORM)
    chi_square = ((counts - 100) ** 2 / 100).sum()
    assert chi_square < 43.8  # 99.9 % point of chi-square with 19 degrees of freedom


@pytest.mark.parametrize(("share", "n"), [(0.5, 15), (0.3, 10), (0.8, 3), (0.25, 1)])
def test_mixed_holds_its_share_of_hard_negatives_in_every_row(share: float, n: int) -> None:
    rejected = chosen(pool(HARD, UNIFORM), miner="mixed", hard_share=share, n=n)
    hard = np.array([sum(item in HARD for item in row) for row in rejected])
    assert all(len(row) == n for row in rejected)
    assert set(hard) <= {int(np.floor(share * n)), int(np.ceil(share * n))}
    assert abs(hard.mean() - share * n) < 4 * 0.5 / np.sqrt(ROWS)


@pytest.mark.parametrize("miner", ["hardest", "uniform", "mixed"])
def test_the_choice_of_fewer_negatives_is_the_start_of_the_choice_of_more(miner: str) -> None:
    most = chosen(pool(HARD, UNIFORM), miner=miner, n=15)
    for n in (1, 2, 7):
        assert chosen(pool(HARD, UNIFORM), miner=miner, n=n) == [row[:n] for row in most]


def test_a_single_mixed_negative_is_hard_as_often_as_the_share_says() -> None:
    rejected = np.ravel(chosen(pool(HARD, UNIFORM), miner="mixed", hard_share=0.3, n=1))
    assert abs(np.isin(rejected, HARD).mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / ROWS)


def test_a_share_of_one_is_hardest_and_of_none_is_uniform() -> None:
    mined = pool(HARD, UNIFORM)
    assert chosen(mined, miner="mixed", hard_share=1, n=9) == chosen(mined, miner="hardest", n=9)
    assert chosen(mined, miner="mixed", hard_share=0, n=9) == chosen(mined, miner="uniform", n=9)


def test_an_item_that_is_hard_and_drawn_uniformly_appears_once() -> None:
    rejected = chosen(pool([5, 6, 7], [6, 7, 8]), miner="mixed", hard_share=0.5, n=6)
    assert all(len(row) == len(set(row)) == 4 for row in rejected)  # three hard places, one uniform item left


def test_a_repeated_item_in_one_pool_appears_once() -> None:
    assert chosen(pool([5, 5, 6], []), miner="hardest", n=3) == [[5, 6]] * ROWS


def test_an_exhausted_kind_is_not_filled_with_the_other_kind() -> None:
    rejected = chosen(pool([5], UNIFORM), miner="mixed", hard_share=0.5, n=4)
    assert all(sorted(item in UNIFORM for item in row) == [False, True, True] for row in rejected)


def test_the_shortfall_is_counted() -> None:
    mined = pool([5, 6], []).filter(~((pl.col("row_id") == 3) | ((pl.col("row_id") == 4) & (pl.col("rank") == 2))))
    table = choose_negatives(histories(), mined, Negatives(miner="hardest", n=2), 0)
    assert table["rejected"].to_list()[2:6] == [[5, 6], [], [5], [5, 6]]
    assert negatives_missing(table, 2) == Shortfall(asked=2 * ROWS, missing=3, short_rows=2, empty_rows=1)


def test_another_seed_draws_other_uniform_negatives_and_the_same_hard_ones() -> None:
    mined = pool(HARD, UNIFORM)
    assert chosen(mined, miner="uniform", n=5) != chosen(mined, miner="uniform", n=5, seed=1)
    assert chosen(mined, miner="hardest", n=5) == chosen(mined, miner="hardest", n=5, seed=1)


def four_miners(n_rows: int = ROWS) -> pl.DataFrame:
    """One pool for every row: some items were found by several miners, and lie on the boundary or do not."""
    found = {
        "hardest": [(1, 1, True), (2, 2, True), (3, 3, False)],
        "in_batch": [(7, 30, False), (2, 2, True), (8, 9, True)],
        "popularity": [(9, 12, False), (8, 9, True), (1, 1, True)],
        "uniform": [(5, 40, False), (6, 4, True)],
    }
    one = pl.DataFrame(
        [(item, rank, on, miner, k) for miner, of in found.items() for k, (item, rank, on) in enumerate(of, start=1)],
        schema={
            "item_id": pl.Int32,
            "rank": pl.Int32,
            "on_boundary": pl.Boolean,
            "miner": pl.String,
            "place": pl.Int32,
        },
        orient="row",
    )
    return pl.DataFrame({"row_id": range(n_rows)}).cast({"row_id": pl.Int32}).join(one, how="cross")


@pytest.mark.parametrize(
    ("miner", "wanted"),
    [("hardest", [1, 2, 3]), ("in_batch", [7, 2, 8]), ("popularity", [9, 8, 1]), ("boundary", [1, 2, 6, 8])],
)
def test_each_miner_takes_its_own_in_its_order_and_leaves_the_rest_empty(miner: str, wanted: list[int]) -> None:
    assert chosen(four_miners(), miner=miner, n=6) == [wanted] * ROWS
    shuffled = four_miners().sample(fraction=1, shuffle=True, seed=0)
    assert chosen(shuffled, miner=miner, n=2) == [wanted[:2]] * ROWS


@pytest.mark.parametrize(
    ("miner", "wanted"),
    [("hardest", [3]), ("in_batch", [7, 8]), ("popularity", [9, 8]), ("boundary", [6, 8])],
)
def test_what_ranks_before_the_guard_is_passed_over_whoever_found_it(miner: str, wanted: list[int]) -> None:
    assert chosen(four_miners(), miner=miner, n=6, min_rank=3) == [wanted] * ROWS


def test_the_guard_holds_for_both_kinds_of_mixed() -> None:
    rejected = chosen(four_miners(), miner="mixed", n=4, min_rank=5)
    assert {item for row in rejected for item in row} == {5}
    kept = chosen(pool(HARD, UNIFORM), miner="mixed", n=10, min_rank=6)
    assert {item for row in kept for item in row if item in HARD} <= set(HARD[5:])
    assert all(len(row) == 10 for row in kept)
