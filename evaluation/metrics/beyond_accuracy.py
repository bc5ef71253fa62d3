"""The numbers of one experiment that accuracy hides: coverage, evenness, diversity, novelty, lift, cold starts.

Everything here is about the full catalogue: candidate sets were drawn at random, so their evenness and novelty say
little about the model that ordered them. Dimension key: i items.
"""

import math
from dataclasses import dataclass

import numpy as np
import polars as pl

from contracts.words import FULL
from evaluation.arrays import Ids
from evaluation.metrics.cold_start import cold_start_recall
from evaluation.metrics.coverage import catalogue_coverage, entropy, gini
from evaluation.metrics.diversity import category_diversity, category_features
from evaluation.metrics.novelty import novelty
from evaluation.metrics.popularity import popularity_lift
from evaluation.metrics.ranking import mean_metrics
from evaluation.metrics.top_lists import padded, top_items

BEYOND_K = 10
"""Length of the lists that are looked at."""


@dataclass(frozen=True)
class Catalogue:
    """Counts of train, and the categories of items."""

    item_counts: Ids
    """Train interactions of each item, shape [i]."""
    user_counts: Ids
    """Train interactions of each user, by user_id."""
    category: pl.Series
    """The categories of each item, separated by '|'; null where unknown."""

    @property
    def n_train_users(self) -> int:
        """Users with a train interaction."""
        return int((self.user_counts > 0).sum())


def catalogue_of(interactions: pl.DataFrame, items: pl.DataFrame, *, n_users: int) -> Catalogue:
    """Counts the train interactions.

    Args:
        interactions: user_id, item_id, split; only train is counted.
        items: item_id, category; sorted and dense.
        n_users: the users of the data set; ids are below it.
    """
    # A user who took an item twice still is one user of it.
    train = interactions.filter(pl.col("split") == "train").select("user_id", "item_id").unique()
    return Catalogue(
        item_counts=np.bincount(train["item_id"].to_numpy(), minlength=items.height),
        user_counts=np.bincount(train["user_id"].to_numpy(), minlength=n_users),
        category=items["category"],
    )


def beyond_accuracy(
    predictions: pl.DataFrame, metrics: pl.DataFrame, rows: pl.DataFrame, catalogue: Catalogue
) -> dict[str, float]:
    """The numbers of one experiment on the rows of one split, by name, beside every rank measure at every cut-off.

    Args:
        predictions: of exactly these rows; without the protocol `full`, only rank measures are found.
        metrics: the metrics table of at least these rows.
        rows: row_id, user_id, history, target.
        catalogue: counts of train.

    Returns:
        Each name with its protocol; what is undefined (diversity without categories, say) is absent.
    """
    found = mean_metrics(predictions)
    if FULL not in predictions["protocol"]:
        return found
    rows = rows.sort("row_id")
    _, items = top_items(predictions, FULL, BEYOND_K)
    n_items = catalogue.item_counts.size
    histories = padded(rows["history"], int(rows["history"].list.len().max() or 1))  # pyright: ignore[reportArgumentType]: the length of a list is a number
    diversity = category_diversity(items, category_features(catalogue.category))
    lists = {
        "coverage": catalogue_coverage(items, n_items),
        "gini": gini(items, n_items),
        "entropy": entropy(items, n_items),
        "diversity": float(np.nanmean(diversity)) if np.isfinite(diversity).any() else math.nan,
        "novelty": float(np.nanmean(novelty(items, catalogue.item_counts, catalogue.n_train_users))),
        "popularity_lift": popularity_lift(items, histories, catalogue.item_counts),
    }
    found |= {f"{name}_at_{BEYOND_K}_full": value for name, value in lists.items()}
    of_rows = metrics.join(rows.select("row_id"), on="row_id", how="semi")
    found |= cold_start_recall(of_rows, rows, catalogue.item_counts, catalogue.user_counts)
    return {name: value for name, value in found.items() if math.isfinite(value)}
