"""The predictions of a floor or baseline, from the experiment's file and the tables of its data set."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from assets.data.repeats import keeps_repeats
from assets.lake.versions import Version
from contracts.config import (
    Als,
    BaselineExperiment,
    Bpr,
    Chance,
    ItemCooccurrence,
    ItemKnn,
    ListFloor,
    Popularity,
    RecentPopularity,
    RepeatHistory,
)
from evaluation.baselines import (
    ScoreRows,
    by_popularity,
    fit_als,
    fit_bpr,
    fit_item_cooccurrence,
    fit_item_knn,
    fit_repeats,
    list_floor_predictions,
    popularity_predictions,
    random_predictions,
    recent_popularity_predictions,
    row_predictions,
)

Say = Callable[[str], object]


@dataclass(frozen=True)
class Predicted:
    """Predictions, and the seconds that went into fitting and into ranking; a floor has nothing to fit."""

    table: pl.DataFrame
    fit_seconds: float
    rank_seconds: float


_REPORTS = 10
"""Progress lines of one training."""


def baseline_predictions(
    experiment: BaselineExperiment,
    histories: Version,
    candidate_sets: Version,
    items: Version,
    interactions: Version,
    *,
    top_k: int,
    say: Say,
) -> Predicted:
    """Fits a baseline on train and ranks every validation and test row, on both protocols.

    Args:
        experiment: which one.
        histories: of the data set, as all tables.
        candidate_sets: for the protocol that ranks these.
        items: the catalogue.
        interactions: what is fitted on.
        top_k: length of the full-catalogue lists.
        say: for progress.
    """
    rows, lists, repeats = histories.table(), candidate_sets.table(), keeps_repeats(histories)
    log = interactions.table(["user_id", "item_id", "at", "split"])
    n_items = items.table(["item_id"]).height
    started = fitted_at = time.monotonic()
    match experiment:
        case Popularity():
            table = popularity_predictions(rows, lists, log, n_items=n_items, top_k=top_k, keeps_repeats=repeats)
        case RecentPopularity():
            share = experiment.share
            table = recent_popularity_predictions(
                rows, lists, log, share=share, n_items=n_items, top_k=top_k, keeps_repeats=repeats
            )
        case Chance():
            table = random_predictions(
                rows, lists, n_items=n_items, seed=experiment.seed, top_k=top_k, keeps_repeats=repeats
            )
        case ListFloor():
            rule, seed = experiment.baseline, experiment.seed
            table = list_floor_predictions(rows, lists, rule=rule, n_items=n_items, seed=seed)
        case _:
            score_rows = _fitted(experiment, log, n_items, say)
            fitted_at = time.monotonic()
            say(f"{experiment.baseline}: fitted; ranking the rows")
            # Most items have no co-occurrence on a sparse log; factors seldom tie.
            is_counting = isinstance(experiment, ItemCooccurrence | ItemKnn | RepeatHistory)
            ties = by_popularity(log, n_items=n_items) if is_counting else None
            table = row_predictions(
                score_rows, rows, lists, n_items=n_items, top_k=top_k, keeps_repeats=repeats, ties=ties
            )
    return Predicted(table, fitted_at - started, time.monotonic() - fitted_at)


def _fitted(experiment: BaselineExperiment, interactions: pl.DataFrame, n_items: int, say: Say) -> ScoreRows:
    settings = experiment.model_dump(exclude={"kind", "baseline", "seed"})
    match experiment:
        case ItemCooccurrence():
            return fit_item_cooccurrence(interactions, n_items=n_items, **settings)
        case ItemKnn():
            return fit_item_knn(interactions, n_items=n_items, **settings)
        case RepeatHistory():
            return fit_repeats(experiment.baseline, n_items=n_items)
        case Als():
            progress = _progress(experiment.baseline, experiment.iterations, say)
            return fit_als(interactions, n_items=n_items, seed=experiment.seed, on_iteration=progress, **settings)
        case Bpr():
            progress = _progress(experiment.baseline, experiment.iterations, say)
            return fit_bpr(interactions, n_items=n_items, seed=experiment.seed, on_iteration=progress, **settings)
        case _:
            raise TypeError(f"{type(experiment).__name__} has no scorer of rows.")


def _progress(name: str, iterations: int, say: Say) -> Callable[[int], None]:
    every = -(-iterations // _REPORTS)

    def report(done: int) -> None:
        if done % every == 0 or done == iterations:
            say(f"{name}: {done} of {iterations} iterations")

    return report
