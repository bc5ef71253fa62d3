"""The champion on the rows of today: its policy was trained on other tables, perhaps with another catalogue."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import polars as pl

from assets.data.repeats import keeps_repeats
from assets.lake.ports import Launcher, Tracker
from assets.lake.versions import Version
from assets.learning.follower import Follower
from assets.results.measurement import TOP_K, train_catalogue
from contracts.config import ScoreSpec
from contracts.words import MAIN_METRIC
from evaluation.metrics.beyond_accuracy import beyond_accuracy
from evaluation.metrics.ranking import METRICS_SCHEMA, metrics_of
from evaluation.statistics.gates import Contender

SPLIT = "validation"


def reevaluated(
    say: Callable[[str], None],
    launcher: Launcher,
    tracker: Tracker,
    dataset: str,
    version: str,
    histories: Version,
    items: Version,
    interactions: Version,
) -> Contender:
    """Scores a registered version on the current validation rows.

    Items are matched by the publisher's id. A history leaves out the items that it does not know; a row whose target is
    such an item, or of whose history nothing is left, is a miss.

    Raises:
        VersionGone: the registry has no such version, or its files are gone.
    """
    columns = ["row_id", "user_id", "split", "history", "target"]
    rows = histories.scan().select(columns).filter(pl.col("split") == SPLIT).collect()
    catalogue_today = items.table(["item_id", "item"])
    with tempfile.TemporaryDirectory(prefix="borderline-champion-") as name:
        folder = Path(name)
        files = tracker.fetch(dataset, version, folder / "model")
        catalogue = pl.read_parquet(files / "catalogue.parquet")
        known = translated(rows, catalogue_today, catalogue)
        say(f"version {version}: {known.height:,} of {rows.height:,} validation rows are in its catalogue")
        frame = rows.select("row_id", "user_id", "split", protocol=pl.lit("full"), metric=pl.lit(MAIN_METRIC))
        if known.is_empty():
            return Contender(frame.with_columns(value=pl.lit(0.0)).cast(METRICS_SCHEMA), {})
        predictions = _scored(
            say, launcher, files / "policy", catalogue, known, folder, repeats=keeps_repeats(histories)
        )
    table = metrics_of(predictions, known.select("row_id", "user_id", "split"))
    values = table.filter(pl.col("metric") == MAIN_METRIC).select("row_id", "value")
    whole = frame.join(values, on="row_id", how="left", maintain_order="left").with_columns(
        pl.col("value").fill_null(0.0)
    )
    beyond = beyond_accuracy(
        _in_todays_ids(predictions, catalogue_today, catalogue),
        table,
        rows.join(known.select("row_id"), on="row_id", how="semi", maintain_order="left"),
        train_catalogue(interactions, items),
    )
    return Contender(whole.cast(METRICS_SCHEMA), beyond)


def translated(rows: pl.DataFrame, items: pl.DataFrame, catalogue: pl.DataFrame) -> pl.DataFrame:
    """The rows in the ids of another catalogue, as far as it has their items.

    Args:
        rows: row_id, user_id, split, history, target, in the ids of `items`.
        items: item_id, item: the catalogue of the rows.
        catalogue: item_id, item: the other one.
    """
    ids = _ids(items, catalogue)
    histories = _lists(rows, "history", ids)
    return (
        rows.drop("history")
        .join(histories, on="row_id", how="inner", maintain_order="left")
        .join(ids, left_on="target", right_on="item_id", how="inner", maintain_order="left")
        .select("row_id", "user_id", "split", "history", target="other_id")
    )


def _in_todays_ids(predictions: pl.DataFrame, items: pl.DataFrame, catalogue: pl.DataFrame) -> pl.DataFrame:
    """The lists without the items that are in the catalogue no longer; scores are left out."""
    lists = _lists(predictions, "items", _ids(catalogue, items))
    return predictions.drop("items").join(lists, on="row_id", how="inner", maintain_order="left")


def _ids(items: pl.DataFrame, others: pl.DataFrame) -> pl.DataFrame:
    """item_id, other_id: the items that two catalogues share, matched by the publisher's id."""
    return items.join(others.select("item", other_id="item_id"), on="item", how="inner").select("item_id", "other_id")


def _lists(rows: pl.DataFrame, column: str, ids: pl.DataFrame) -> pl.DataFrame:
    """row_id and the list in other ids, without the items that have none; rows of which nothing is left are dropped."""
    return (
        rows.select("row_id", column)
        .explode(column, empty_as_null=False)
        .with_columns(place=pl.int_range(pl.len()))
        .join(ids, left_on=column, right_on="item_id", how="inner")
        .sort("place")
        .group_by("row_id", maintain_order=True)
        .agg(pl.col("other_id").alias(column))
    )


def _scored(
    say: Callable[[str], None],
    launcher: Launcher,
    policy: Path,
    catalogue: pl.DataFrame,
    rows: pl.DataFrame,
    folder: Path,
    *,
    repeats: bool,
) -> pl.DataFrame:
    output = folder / "output"
    output.mkdir()
    rows.write_parquet(folder / "histories.parquet")
    catalogue.sort("item_id").write_parquet(folder / "items.parquet")
    # The command wants a candidate set for each row; the full catalogue is what is read of its answer.
    other = (pl.col("target") + 1) % catalogue.height
    rows.select("row_id", candidates=pl.concat_list("target", other.cast(pl.Int32))).write_parquet(
        folder / "candidate_sets.parquet"
    )
    spec = ScoreSpec(
        policy=policy,
        histories=folder / "histories.parquet",
        items=folder / "items.parquet",
        candidate_sets=folder / "candidate_sets.parquet",
        top_k=TOP_K,
        keeps_repeats=repeats,
        output=output,
        compute=launcher.compute,
    )
    launcher.run("score", spec, Follower(say, "the champion, re-evaluated"))
    return pl.read_parquet(output / "predictions.parquet").filter(pl.col("protocol") == "full")
