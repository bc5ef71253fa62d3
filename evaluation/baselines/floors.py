"""Blind floors: the same order of items for everyone, or none. What lies within their reach is not recommendation."""

import math

import numpy as np
import polars as pl

from contracts.draws import cell_uniforms
from evaluation.arrays import Ids
from evaluation.baselines.ranked import Scores, by_popularity, ranked_predictions


def popularity_predictions(
    histories: pl.DataFrame,
    candidate_sets: pl.DataFrame,
    interactions: pl.DataFrame,
    *,
    n_items: int,
    top_k: int = 50,
    keeps_repeats: bool = False,
) -> pl.DataFrame:
    """Every item scored by its number of train interactions, for everyone alike.

    Args:
        histories: row_id, split, history, target; train rows are passed over.
        candidate_sets: row_id, candidates.
        interactions: item_id, split; only train is counted.
        n_items: size of the catalogue.
        top_k: length of the full-catalogue lists.
        keeps_repeats: whether these hold the items of the row's history too.

    Returns:
        The predictions table, sorted by row_id and protocol.
    """
    in_train = interactions.filter(pl.col("split") == "train")
    ties = by_popularity(interactions, n_items=n_items)
    return _counted(in_train, histories, candidate_sets, n_items, top_k, ties, keeps_repeats)


def recent_popularity_predictions(
    histories: pl.DataFrame,
    candidate_sets: pl.DataFrame,
    interactions: pl.DataFrame,
    *,
    share: float,
    n_items: int,
    top_k: int = 50,
    keeps_repeats: bool = False,
) -> pl.DataFrame:
    """Every item scored by its number of interactions among the latest `share` of train, for everyone alike.

    `interactions` also has `at`; all interactions of the earliest moment that counts are counted, so that the share is
    met or exceeded and ties in time cannot depend on the order of rows. Other arguments as above.

    Raises:
        ValueError: train interactions without a time.
    """
    in_train = interactions.filter(pl.col("split") == "train").sort("at", descending=True, nulls_last=True)
    times = in_train["at"]
    if times.is_empty() or times.null_count():
        raise ValueError(
            f"recent popularity needs the time of every train interaction, got {times.null_count()} of "
            f"{times.len()} without. Use the baseline popularity."
        )
    since = times[math.ceil(share * times.len()) - 1]
    ties = by_popularity(interactions, n_items=n_items)
    counted = in_train.filter(pl.col("at") >= since)
    return _counted(counted, histories, candidate_sets, n_items, top_k, ties, keeps_repeats)


def random_predictions(
    histories: pl.DataFrame,
    candidate_sets: pl.DataFrame,
    *,
    n_items: int,
    seed: int,
    top_k: int = 50,
    keeps_repeats: bool = False,
) -> pl.DataFrame:
    """Chance: a uniform score drawn for each row and item, the same under every protocol. Arguments as above."""

    def score(row_id: Ids, item_id: Ids) -> Scores:
        return cell_uniforms(seed, "random baseline", row_id, item_id)

    return ranked_predictions(
        score, histories, candidate_sets, n_items=n_items, top_k=top_k, keeps_repeats=keeps_repeats
    )


def _counted(
    counted: pl.DataFrame,
    histories: pl.DataFrame,
    candidate_sets: pl.DataFrame,
    n_items: int,
    top_k: int,
    ties: Ids,
    keeps_repeats: bool,
) -> pl.DataFrame:
    count: Scores = np.bincount(counted["item_id"].to_numpy(), minlength=n_items).astype(np.float32)

    def score(row_id: Ids, item_id: Ids) -> Scores:
        return count[item_id]

    return ranked_predictions(
        score, histories, candidate_sets, n_items=n_items, top_k=top_k, ties=ties, keeps_repeats=keeps_repeats
    )
