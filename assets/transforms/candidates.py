"""Candidate sets: the target among items the user never touched, for a choice that a blind reader cannot make.

Dimension key: `b` rows, `n` candidates. Nothing is drawn from the target. Seeding by it is a trap: the target would
show at a place, and among neighbours, that depend on it alone, and rows with the same target would tell on each other.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from assets.datasets import Candidates
from assets.transforms.lists import rows_of
from assets.transforms.randomness import below, hashes

Ints = NDArray[np.int64]


def draw_candidates(
    histories: pl.DataFrame, interactions: pl.DataFrame, n_items: int, candidates: Candidates, seed: int
) -> pl.DataFrame:
    """The table `candidate_sets`: for each validation and test row its target and n - 1 items, shuffled.

    The items are drawn uniformly, without replacement, from those that the user touched in no split. What a row draws
    depends on (seed, split, user, which of the user's rows of that split it is) and on what the user touched; never on
    the order of rows, on other users, or on which of the touched items is the target.

    Raises:
        ValueError: a user touched so many items that fewer than n - 1 are left.
    """
    rows = histories.select(
        "row_id",
        "user_id",
        "split",
        "target",
        position=pl.int_range(pl.len()).over("user_id", "split", order_by="row_id"),
    ).filter(pl.col("split") != "train")
    touched = interactions.select("user_id", "item_id").unique().sort("user_id", "item_id")
    users = rows["user_id"].to_numpy().astype(np.int64)
    n_touched = rows.join(touched.group_by("user_id").len("touched"), on="user_id", how="left", maintain_order="left")
    n_untouched = n_items - n_touched["touched"].fill_null(0).to_numpy().astype(np.int64)
    _refuse_short_catalogue(rows, n_untouched, n_items, candidates.n)

    drawn = np.empty((rows.height, candidates.n), dtype=np.int64)
    for split in rows["split"].unique():
        of_split = (rows["split"] == split).to_numpy()
        keys = users[of_split, None], rows["position"].to_numpy()[of_split, None]
        ranks = _distinct_ranks(n_untouched[of_split], candidates.n - 1, seed, f"candidates/{split}", *keys)
        untouched = _untouched_items(touched, users[of_split], ranks, n_items)
        with_target = np.column_stack([rows["target"].to_numpy()[of_split], untouched])
        order = np.argsort(hashes(seed, f"candidate order/{split}", *keys, np.arange(candidates.n)), axis=1)
        drawn[of_split] = np.take_along_axis(with_target, order, axis=1)
    drawn = drawn.astype(np.int32)
    return pl.DataFrame(
        {"row_id": rows["row_id"], "candidates": rows_of(drawn, np.ones(drawn.shape, dtype=bool))},
        schema_overrides={"candidates": pl.List(pl.Int32)},
    ).sort("row_id")


def _refuse_short_catalogue(rows: pl.DataFrame, n_untouched: Ints, n_items: int, n: int) -> None:
    short = np.flatnonzero(n_untouched < n - 1)
    if len(short):
        row = rows.row(int(short[np.argmin(n_untouched[short])]), named=True)
        fewest = int(n_untouched.min())
        raise ValueError(
            f"candidates.n must leave every user n - 1 = {n - 1} untouched items, got {fewest} for user "
            f"{row['user_id']}, who touched {n_items - fewest} of {n_items:,} items "
            f"({rows[short]['user_id'].n_unique():,} users are short). Lower candidates.n to at most {fewest + 1}, or "
            "bring a larger catalogue."
        )


def _distinct_ranks(limits: Ints, n: int, seed: int, stream: str, *keys: Ints) -> Ints:
    """For each row, `n` distinct integers in [0, limit), every such set equally likely; shape [b, n].

    Floyd's algorithm (Bentley and Floyd 1987, https://doi.org/10.1145/30401.315746): n draws, none rejected.
    """
    ranks = np.empty((len(limits), n), dtype=np.int64)
    for draw in range(n):
        last = limits - n + draw
        rank = below(last + 1, hashes(seed, stream, *(key[:, 0] for key in keys), draw))
        is_taken = (ranks[:, :draw] == rank[:, None]).any(axis=1)
        ranks[:, draw] = np.where(is_taken, last, rank)
    return ranks


def _untouched_items(touched: pl.DataFrame, users: Ints, ranks: Ints, n_items: int) -> Ints:
    """The untouched items of these ranks: rank 0 is the user's smallest untouched item. Shapes [b], [b, n] → [b, n].

    Of a user's sorted touched items t_0 < t_1 < …, t_i has t_i - i untouched items before it, so the item of rank r is
    r plus the number of i with t_i - i ≤ r. One sorted array of (user, t_i - i) answers all rows at once.
    """
    touched_users = touched["user_id"].to_numpy().astype(np.int64)
    nth = touched.select(pl.int_range(pl.len()).over("user_id")).to_series().to_numpy()
    base = n_items + 1
    gaps = touched_users * base + touched["item_id"].to_numpy() - nth
    first = np.searchsorted(touched_users, users, side="left")
    return ranks + np.searchsorted(gaps, users[:, None] * base + ranks, side="right") - first[:, None]
