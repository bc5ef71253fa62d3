"""Measure the predictions of a model from elsewhere on the tables of a data set, beside its leaderboard.

Publishes nothing and holds no asset: a foreign model leaves no trace in the lake.
"""

import polars as pl

from assets.data.repeats import keeps_repeats
from assets.lake.freshness import measured_experiments
from assets.lake.versions import Lake
from assets.results.comparison import Foreign, compared
from assets.results.measurement import train_catalogue
from evaluation.metrics.beyond_accuracy import beyond_accuracy
from evaluation.metrics.foreign.answers import answer_metrics
from evaluation.metrics.foreign.predictions import foreign_predictions
from evaluation.metrics.ranking import InvalidPredictions, metrics_of
from evaluation.reports.leaderboard import Leaderboard
from evaluation.statistics.significance import Interval, bootstrap_intervals, panel_of


def beside_leaderboard(
    lake: Lake, predictions: pl.DataFrame, dataset: str, split: str, *, name: str, or_else: str = ""
) -> tuple[Leaderboard, tuple[str, ...]]:
    """The leaderboard with a foreign model among the experiments, and notes on its predictions.

    Args:
        lake: with the tables of the data set.
        predictions: row_id, protocol, items; scores, target_rank, user_id, target where the model has them.
        dataset: its key.
        split: validation or test.
        name: of the model on the leaderboard.
        or_else: its name where an experiment has that one already.

    Raises:
        InvalidPredictions: they cannot be measured.
        NotMaterialised: the data set has no tables yet.
    """
    histories, candidate_sets, items, interactions = (
        lake.require(table, (dataset,)) for table in ("histories", "candidate_sets", "items", "interactions")
    )
    held_out = histories.table().filter(pl.col("split") != "train")
    catalogue = train_catalogue(interactions, items)
    n_items = catalogue.item_counts.size
    found = foreign_predictions(
        predictions,
        held_out,
        candidate_sets.table(),
        split=split,
        n_items=n_items,
        keeps_repeats=keeps_repeats(histories),
    )
    rows = held_out.filter(pl.col("split") == split)
    metrics = metrics_of(found.table, rows, n_items=n_items)
    beyond = beyond_accuracy(found.table, metrics, rows, catalogue)
    now = measured_experiments(lake, dataset)
    measured = {experiment: lake.require("metrics", (dataset, experiment)) for experiment in now.current}
    foreign = Foreign(name if name not in measured else or_else or f"{name} (foreign)", metrics, beyond)
    return compared(dataset, split, now, measured, candidate_sets, foreign), found.notes


def measured_answers(lake: Lake, answers: pl.DataFrame, dataset: str, split: str) -> dict[str, Interval]:
    """ValidRatio and HitRatio@1 of generated answers, each title judged against the row's candidate set.

    Args:
        lake: with the tables of the data set.
        answers: row_id, answer.
        dataset: its key.
        split: validation or test.

    Raises:
        InvalidPredictions: rows are missing, repeated or unknown.
        NotMaterialised: the data set has no tables yet.
    """
    if "row_id" not in answers.columns:
        raise InvalidPredictions("columns", "answers must have the columns row_id and answer, got no row_id.")
    rows = lake.require("histories", (dataset,)).table(["row_id", "user_id", "split", "target"])
    titles = lake.require("items", (dataset,)).table(["item_id", "title"]).sort("item_id")["title"].to_list()
    table = answer_metrics(
        answers,
        rows.filter(pl.col("split") != "train"),
        lake.require("candidate_sets", (dataset,)).table(["row_id", "candidates"]),
        titles,
        split=split,
    )
    panel = panel_of({"foreign": table}, split=split)
    found = bootstrap_intervals(panel)
    return {metric: interval for (_, metric), interval in sorted(found.items())}


def holds_answers(predictions: pl.DataFrame) -> bool:
    """Whether a table holds generated text instead of lists of items."""
    return "answer" in predictions.columns and "items" not in predictions.columns
