"""Preference rows: the target as chosen, against negatives taken from the pool that the starting policy mined.

Dimension key: `b` train rows, `n` negatives.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from assets.transforms.lists import rows_of
from assets.transforms.randomness import hashes, uniforms
from training.config import Negatives

Ints = NDArray[np.int64]


def choose_negatives(
    histories: pl.DataFrame, mined_negatives: pl.DataFrame, negatives: Negatives, seed: int
) -> pl.DataFrame:
    """The table `preference_rows`: every train row with up to n negatives of its pool, none twice.

    `hardest` takes the pool's hard negatives by rank, `uniform` its uniform ones in an order that a hash of (seed, row,
    item) decides. `mixed` interleaves both by systematic sampling: place k is hard when floor(k · hard_share + phase)
    rises there, with a random phase of the row. So each place is hard with probability hard_share, and n places hold
    n · hard_share hard ones, rounded up or down.

    Nested: the choice of n = 1 is the start of the choice of n = 15, so experiments that differ in n alone differ in
    nothing else. A place whose kind has run out stays empty and is never filled with the other kind, which would change
    the share; `negatives_missing` counts those.

    Args:
        histories: at least row_id, split, target; rows of other splits than train are left out.
        mined_negatives: row_id, item_id, rank, miner, of one round.
        negatives: n, miner, hard_share.
        seed: the experiment's.
    """
    rows = histories.filter(pl.col("split") == "train").select("row_id", "target").sort("row_id")
    row_ids = rows["row_id"].to_numpy()
    hard = _ordered(mined_negatives.filter(pl.col("miner") == "hardest"), pl.col("rank"))
    drawn = mined_negatives.filter(pl.col("miner") == "uniform")
    if negatives.miner == "mixed":  # a uniform draw that is also among the hard ones counts as hard, once
        drawn = drawn.join(hard, on=["row_id", "item_id"], how="anti")
    bits = hashes(seed, "uniform negatives", drawn["row_id"].to_numpy(), drawn["item_id"].to_numpy())
    uniform = _ordered(drawn.with_columns(pl.Series("bits", bits)), pl.col("bits"))

    is_hard = _hard_places(row_ids, negatives, seed)
    hard_items, has_hard = _places(hard, row_ids, is_hard)
    uniform_items, has_uniform = _places(uniform, row_ids, ~is_hard)
    return pl.DataFrame(
        {
            "row_id": row_ids,
            "chosen": rows["target"],
            "rejected": rows_of(np.where(is_hard, hard_items, uniform_items), has_hard | has_uniform),
        },
        schema_overrides={"row_id": pl.Int32, "chosen": pl.Int32, "rejected": pl.List(pl.Int32)},
    )


@dataclass(frozen=True)
class Shortfall:
    """How far the pools fell short of what an experiment asked."""

    asked: int
    """Negatives asked for, over all rows."""
    missing: int
    short_rows: int
    """Rows with fewer than n."""
    empty_rows: int
    """Rows with none: their loss and gradient are 0."""


def negatives_missing(preference_rows: pl.DataFrame, n: int) -> Shortfall:
    """What `preference_rows` lacks of n negatives for each row."""
    found = preference_rows["rejected"].list.len().cast(pl.Int64)
    return Shortfall(
        asked=n * preference_rows.height,
        missing=int((n - found).sum()),
        short_rows=int((found < n).sum()),
        empty_rows=int((found == 0).sum()),
    )


def _ordered(pool: pl.DataFrame, by: pl.Expr) -> pl.DataFrame:
    """row_id, item_id of a pool: each item once a row, best first."""
    return (
        pool.sort(pl.col("row_id"), by, pl.col("item_id"))
        .unique(["row_id", "item_id"], keep="first", maintain_order=True)
        .select("row_id", "item_id")
    )


def _hard_places(row_ids: NDArray[np.int32], negatives: Negatives, seed: int) -> NDArray[np.bool_]:
    """Which of the n places of each row hold a hard negative; shape [b, n]."""
    share = {"hardest": 1.0, "uniform": 0.0, "mixed": negatives.hard_share}[negatives.miner]
    phase = uniforms(seed, "hard places", row_ids)[:, None]
    counts = np.floor(np.arange(negatives.n + 1) * share + phase).astype(np.int64)
    return np.diff(counts, axis=1) > 0


def _places(
    pool: pl.DataFrame, row_ids: NDArray[np.int32], is_mine: NDArray[np.bool_]
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """The pool's items in the places that are its own, in order, and whether there was one; shapes [b, n]."""
    pool_rows = pool["row_id"].to_numpy()
    items = np.append(pool["item_id"].to_numpy(), np.int32(-1))  # so that an exhausted pool has something to read
    starts = np.searchsorted(pool_rows, row_ids, side="left")
    ends = np.searchsorted(pool_rows, row_ids, side="right")
    nth = np.cumsum(is_mine, axis=1) - 1
    wanted: Ints = starts[:, None] + nth
    has_item = is_mine & (wanted < ends[:, None])
    return items[np.where(has_item, wanted, len(items) - 1)], has_item
