"""Laws of the leak probes: silent on every honest log, loud on every log with the defect planted in it."""

from datetime import UTC, datetime, timedelta
from typing import Literal

import numpy as np
import polars as pl
from hypothesis import assume, given
from hypothesis import strategies as st

from contracts.config.dataset import Candidates, Histories
from evaluation.leakage import (
    candidate_leakage,
    future_leakage,
    order_leakage,
    overlap_leakage,
    shortcut_report,
)
from tests.assets.transforms.whole import build_histories, draw_candidates

START = datetime(2024, 1, 1, tzinfo=UTC)


@st.composite
def honest_logs(draw: st.DrawFn, *, least_users: int = 1) -> tuple[pl.DataFrame, int]:
    """A log in time with its catalogue's size: popularity as skewed as it likes, items that come out over time or not.

    Split leave-one-out, with ties in time that are in no order.
    """
    users = draw(st.integers(least_users, 250))
    n_items = draw(st.sampled_from([40, 300, 2000]))
    skew = draw(st.floats(0.0, 1.2))
    released = draw(st.sampled_from([0.0, 0.5]))  # the share of items that come out while users are already there
    grain = draw(st.sampled_from([1, 30, 400]))  # days that share one time
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    weight = 1.0 / np.arange(1, n_items + 1) ** skew
    weight = random.permutation(weight)
    out = np.where(random.random(n_items) < released, np.arange(n_items) * 300 // n_items, -1)
    rows: list[tuple[int, int, int, str]] = []
    for user in range(users):
        days = np.sort(random.integers(0, 365, random.integers(3, 20)))
        items: list[int] = []
        for day in days:
            chance = np.where(out <= day, weight, 0.0)
            chance[items] = 0.0
            items.append(int(random.choice(n_items, p=chance / chance.sum())))
        splits = ["train"] * (len(items) - 2) + ["validation", "test"]
        rows += [(user, item, int(day) // grain, split) for item, day, split in zip(items, days, splits, strict=True)]
    log = pl.DataFrame(rows, schema=["user_id", "item_id", "day", "split"], orient="row")
    at = pl.Series("at", [START + timedelta(days=day) for day in log["day"]], dtype=pl.Datetime("us", "UTC"))
    return log.with_columns(at).drop("day").cast({"user_id": pl.Int32, "item_id": pl.Int32}), n_items


def honest_lists(rows: pl.DataFrame, log: pl.DataFrame, n_items: int, candidates: Candidates) -> pl.DataFrame:
    """Draws by popularity hold no item that train lacks: where many targets are such, the lists are not honest."""
    unknown = log.filter(pl.col("split") != "train").join(
        log.filter(pl.col("split") == "train"), on="item_id", how="anti"
    )
    assume(candidates.draw == "uniform" or unknown.height < 0.02 * log["user_id"].n_unique())
    try:
        return draw_candidates(rows, log, n_items, candidates, seed=1)
    except ValueError as error:  # popularity draws from what train touched, which may be less than n
        assume("untouched" not in str(error))
        raise


@given(honest_logs(), st.sampled_from([2, 5, 20]), st.sampled_from(["uniform", "popularity"]))
def test_every_probe_is_silent_on_an_honest_log(
    world: tuple[pl.DataFrame, int], n: int, draw: Literal["uniform", "popularity"]
) -> None:
    log, n_items = world
    rows = build_histories(log, Histories(max_length=10))
    lists = honest_lists(rows, log, n_items, Candidates(n=n, draw=draw))
    for probe in (
        order_leakage(log),
        future_leakage(rows, log, at_one_time=False),
        overlap_leakage(rows),
        candidate_leakage(lists, rows, n_items=n_items),
        shortcut_report(rows, lists, log, n_items=n_items),
    ):
        assert probe.passed, probe.reasons


@given(honest_logs(least_users=150))
def test_the_order_probe_fires_on_any_log_that_is_sorted_by_item(world: tuple[pl.DataFrame, int]) -> None:
    log, _ = world
    timeless = log.with_columns(at=pl.lit(None, dtype=pl.Datetime("us", "UTC")))
    assert not order_leakage(timeless.sort("user_id", "item_id")).passed
    assert not order_leakage(timeless.sort("user_id", "item_id", descending=[False, True])).passed


@given(honest_logs(), st.randoms(use_true_random=False))
def test_the_future_probe_fires_on_any_one_item_from_the_future(
    world: tuple[pl.DataFrame, int], random: object
) -> None:
    """One history gets the target of its user's test row; every other row stays as it is."""
    log, _ = world
    rows = build_histories(log, Histories(max_length=10))
    tests = {row["user_id"]: row["target"] for row in rows.filter(pl.col("split") == "test").to_dicts()}
    victim = random.choice(rows.filter(pl.col("split") != "test")["row_id"].to_list())  # type: ignore[attr-defined]
    future = pl.col("user_id").replace_strict(tests, return_dtype=pl.Int32)
    leaky = rows.with_columns(
        history=pl.when(pl.col("row_id") == victim).then(pl.concat_list("history", future)).otherwise("history")
    )
    leakage = future_leakage(leaky, log, at_one_time=False)
    assert leakage.late_rows == 1
    assert f"row_id {victim}" in leakage.reasons[0]


@given(honest_logs(least_users=50), st.floats(0.3, 1.0))
def test_the_overlap_probe_fires_where_train_gets_held_out_rows(world: tuple[pl.DataFrame, int], share: float) -> None:
    log, _ = world
    rows = build_histories(log, Histories(max_length=10))
    held_out = rows.filter((pl.col("split") == "test") & (pl.col("history").list.len() >= 3))
    copied = held_out.head(int(np.ceil(share * held_out.height))).with_columns(split=pl.lit("train"))
    assert not overlap_leakage(pl.concat([rows, copied])).passed


@given(honest_logs(), st.randoms(use_true_random=False))
def test_no_probe_minds_the_order_of_rows(world: tuple[pl.DataFrame, int], random: object) -> None:
    log, n_items = world
    rows = build_histories(log, Histories(max_length=10))
    lists = draw_candidates(rows, log, n_items, Candidates(n=5), seed=1)
    shuffled = rows.sample(fraction=1.0, shuffle=True, seed=3)
    chunks = pl.concat([log[:7], log[7:20], log[20:]], rechunk=False)
    assert order_leakage(chunks) == order_leakage(log.lazy()) == order_leakage(log)
    assert shortcut_report(shuffled, lists, chunks, n_items=n_items) == shortcut_report(
        rows, lists, log, n_items=n_items
    )
    assert overlap_leakage(shuffled) == overlap_leakage(rows)
    assert future_leakage(shuffled, log, at_one_time=False) == future_leakage(
        rows.lazy(), log.lazy(), at_one_time=False
    )
    assert candidate_leakage(lists.reverse(), shuffled, n_items=n_items) == candidate_leakage(
        lists.lazy(), rows.lazy(), n_items=n_items
    )
