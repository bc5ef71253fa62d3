"""Preference rows: the target as chosen, against negatives taken from the pool that the starting policy mined.

Dimension key: `b` train rows, `n` negatives.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from assets.transforms.lists import rows_of
from contracts.config import Negatives
from contracts.draws import hashes, uniforms

Ints = NDArray[np.int64]


def choose_negatives(
    histories: pl.DataFrame, mined_negatives: pl.DataFrame, negatives: Negatives, seed: int
) -> pl.DataFrame:
    """The table `preference_rows`: every train row with up to n negatives of its pool, none twice.

    `hardest` takes the pool's hard negatives by rank; `popularity` and `in_batch` take theirs in the order they were
    drawn; `uniform` its uniform ones in an order that a hash of (seed, row, item) decides; `boundary` those on the
    mining policy's decision boundary, whichever miner found them, by rank. `mixed` interleaves hard and uniform ones by
    systematic sampling: place k is hard when floor(k · hard_share + phase) rises there, with a random phase of the row.
    So each place is hard with probability hard_share, and n places hold n · hard_share hard ones, rounded up or down.

    Before any of that, what ranks before `min_rank` is passed over.

    Nested: the choice of n = 1 is the start of the choice of n = 15, so experiments that differ only in n differ in
    nothing else. A place whose kind has run out stays empty and is never filled with another kind, which would change
    what is compared; `negatives_missing` counts those.

    Args:
        histories: at least row_id, split, target; rows of other splits than train are left out.
        mined_negatives: row_id, item_id, rank, miner, of one round; place for what was drawn in the batch or by
            popularity, on_boundary for `boundary`.
        negatives: n, miner, hard_share, min_rank.
        seed: the experiment's.
    """
    rows = histories.filter(pl.col("split") == "train").select("row_id", "target").sort("row_id")
    row_ids = rows["row_id"].to_numpy()
    pool = mined_negatives.filter(pl.col("rank") >= negatives.min_rank)
    if negatives.miner == "mixed":
        hard, is_hard = _queue(pool, "hardest", seed), _hard_places(row_ids, negatives, seed)
        # A uniform draw that is also among the hard ones counts as hard, once.
        uniform = _queue(pool.join(hard, on=["row_id", "item_id"], how="anti"), "uniform", seed)
        hard_items, has_hard = _places(hard, row_ids, is_hard)
        uniform_items, has_uniform = _places(uniform, row_ids, ~is_hard)
        items, has_item = np.where(is_hard, hard_items, uniform_items), has_hard | has_uniform
    else:
        every_place = np.ones((len(row_ids), negatives.n), dtype=np.bool_)
        items, has_item = _places(_queue(pool, negatives.miner, seed), row_ids, every_place)
    return pl.DataFrame(
        {"row_id": row_ids, "chosen": rows["target"], "rejected": rows_of(items, has_item)},
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


def _queue(pool: pl.DataFrame, miner: str, seed: int) -> pl.DataFrame:
    """row_id, item_id of what a miner of `Negatives` takes from a pool: each item once a row, first comes first."""
    found = pool.filter(pl.col("on_boundary") if miner == "boundary" else pl.col("miner") == miner)
    if miner == "uniform":
        bits = hashes(seed, "uniform negatives", found["row_id"].to_numpy(), found["item_id"].to_numpy())
        found, by = found.with_columns(pl.Series("bits", bits)), "bits"
    else:
        by = "rank" if miner in ("hardest", "boundary") else "place"
    return (
        found.sort("row_id", by, "item_id")
        .unique(["row_id", "item_id"], keep="first", maintain_order=True)
        .select("row_id", "item_id")
    )


def _hard_places(row_ids: NDArray[np.int32], negatives: Negatives, seed: int) -> NDArray[np.bool_]:
    """Which of the n places of each row hold a hard negative under `mixed`; shape [b, n]."""
    phase = uniforms(seed, "hard places", row_ids)[:, None]
    counts = np.floor(np.arange(negatives.n + 1) * negatives.hard_share + phase).astype(np.int64)
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
