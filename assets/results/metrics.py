"""Metrics of each row, recomputed from the predictions table without any model, with intervals over users."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from assets.lake.checks import check_specs
from assets.lake.leaks import accepted_in, leak_tags
from assets.lake.partitions import BY_EXPERIMENT, Keys, keys_of
from assets.lake.ports import Tracker
from assets.lake.publish import Content, Inputs, publish
from assets.lake.versions import Lake, Version, partition_text
from assets.learning.policies import as_yaml, flatten, study_tags
from assets.results.costs import cost_of
from contracts.files.load import definition, load_experiment
from contracts.words import HELD_OUT, POLICY_ASSETS
from evaluation.metrics.beyond_accuracy import Catalogue, beyond_accuracy, catalogue_of
from evaluation.metrics.groups import group_metrics, row_groups
from evaluation.metrics.ranking import metrics_of
from evaluation.reports.document import Block, Heading, Paragraph, Table, as_markdown
from evaluation.statistics.significance import STANDARD, Interval, bootstrap_intervals, panel_of

"""A benchmark whose test part is not here has no test rows; then only validation is measured."""
BEYOND_FILE = "beyond_accuracy.json"
"""Beside the table of `metrics`: by split, every number that is not compared on the leaderboard."""
REPORT_FILE = "report.md"
"""Beside the table of `metrics`, and with the tracked run: all of them as a page to read."""
GROUPS_FILE = "groups.parquet"
"""Beside the table of `metrics`: the same metrics for parts of the rows."""


@dg.asset(
    deps=["predictions", "histories", "interactions", "items"],
    partitions_def=BY_EXPERIMENT,
    group_name="evaluation",
    kinds={"polars", "mlflow"},
    owners=["team:evaluation"],
    code_version="2",
    check_specs=check_specs("metrics"),
)
def metrics(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], tracker: dg.ResourceParam[Tracker]
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[Any]]:
    """Every metric of every validation and test row; means and 95 % intervals go to the experiment's MLflow run."""
    keys = keys_of(context)

    def measure(inputs: Inputs, staged: Mapping[str, Path]) -> dict[str, Content]:
        rows = inputs["histories"].table().filter(pl.col("split") != "train")
        predictions = inputs["predictions"].table()
        catalogue = train_catalogue(inputs)
        table = metrics_of(predictions, rows, n_items=catalogue.item_counts.size)
        groups = group_metrics(table, row_groups(rows, catalogue.item_counts, catalogue.user_counts))
        groups.write_parquet(staged["metrics"] / GROUPS_FILE)
        beyond = _beyond(predictions, table, rows, catalogue)
        (staged["metrics"] / BEYOND_FILE).write_text(json.dumps(beyond, indent=1), encoding="utf-8")
        intervals: dict[str, dict[str, Interval]] = {split: {} for split in HELD_OUT}
        for split in rows["split"].unique():
            panel = panel_of({keys.experiment: table}, split=split)
            by_column = bootstrap_intervals(panel, STANDARD)
            intervals[split] = {metric: interval for (_, metric), interval in by_column.items()}
        leaks = accepted_in(inputs.versions)
        report = staged["metrics"] / REPORT_FILE
        report.write_text(_report(keys, intervals, beyond, groups), encoding="utf-8")
        values = {**_prefixed(beyond), **tracker_metrics(intervals)}
        run_id, url = _summarise(context, lake, tracker, keys, inputs, values, leak_tags(leaks), report)
        metadata = {
            **{name: interval.value for name, interval in intervals["test"].items()},
            **{f"validation_{name}": interval.value for name, interval in intervals["validation"].items()},
            "intervals": dg.MetadataValue.md(as_markdown([_intervals_table(intervals)])),
            "beyond_accuracy": dg.MetadataValue.md(as_markdown([_beyond_table(beyond)])),
            "groups": dg.MetadataValue.md(as_markdown([_groups_table(groups)])),
            "mlflow_run": dg.MetadataValue.url(url),
            "mlflow_run_id": run_id,
            "definition": definition(keys.experiment),
        }
        return {"metrics": Content(table, metadata)}

    yield from publish(
        context,
        lake,
        measure,
        partition=keys,
        inputs=[("predictions", keys), *((name, (keys.dataset,)) for name in ("histories", "interactions", "items"))],
        config={
            "resamples": STANDARD.times,
            "bootstrap_seed": STANDARD.seed,
            "definition": definition(keys.experiment),
        },
        still_valid=lambda version: tracker.find(version.manifest["metadata"]["mlflow_run_id"]["value"]) is not None,
    )


def tracker_metrics(intervals: Mapping[str, Mapping[str, Interval]]) -> dict[str, float]:
    """As the tracker shows them: test under the plain name, as on the leaderboard; validation prefixed."""
    named: dict[str, float] = {}
    for split, prefix in (("test", ""), ("validation", "validation_")):
        for name, interval in intervals[split].items():
            named[f"{prefix}{name}"] = interval.value
            named[f"{prefix}{name}/low"] = interval.low
            named[f"{prefix}{name}/high"] = interval.high
    return named


def policy_run(lake: Lake, keys: Keys) -> tuple[Version, dict[str, Any]] | None:
    """The policy of an experiment and what its training run recorded; None for a baseline."""
    asset = POLICY_ASSETS.get(load_experiment(keys.experiment).kind)
    if asset is None:
        return None
    version = lake.require(asset, keys)
    return version, json.loads(version.path("run.json").read_text(encoding="utf-8"))


def _summarise(
    context: dg.AssetExecutionContext,
    lake: Lake,
    tracker: Tracker,
    keys: Keys,
    inputs: Inputs,
    values: Mapping[str, float],
    tags_of_leaks: Mapping[str, str],
    report: Path,
) -> tuple[str, str]:
    """Adds the metrics to the run that trained the policy; a baseline, or a policy whose run is gone, gets one here."""
    trained = policy_run(lake, keys)
    run = tracker.find(trained[1]["mlflow_run_id"]) if trained else None
    if run is None:
        experiment = load_experiment(keys.experiment)
        params = flatten({**experiment.model_dump(mode="json"), "dataset": keys.dataset})
        tags = {
            "kind": experiment.kind,
            "seed": str(experiment.seed),
            "dagster.run_id": context.run.run_id,
            "dagster.partition": partition_text(keys),
        }
        tags |= study_tags(keys.experiment, context.run.tags)
        config = as_yaml(experiment)
        with tracker.tracked(
            keys.dataset, keys.experiment, params=params, tags=tags, config=config, inputs=inputs.versions
        ) as live:
            run = live.tracked
    tracker.summarise(
        run.run_id,
        metrics={**values, **cost_of(lake, keys).measured},
        tags={"dagster.metrics_run_id": context.run.run_id, **tags_of_leaks},
        artifacts=[report],
    )
    return run.run_id, run.url


def beyond_accuracy_of(metrics: Version, split: str) -> dict[str, float]:
    """The numbers of one split that a version of `metrics` has beside its table."""
    return json.loads(metrics.path(BEYOND_FILE).read_text(encoding="utf-8"))[split]


def train_catalogue(inputs: Inputs) -> Catalogue:
    """What train says about items and users, from the tables interactions and items."""
    interactions = inputs["interactions"].table(["user_id", "item_id", "split"])
    n_users = int(interactions["user_id"].max()) + 1  # type: ignore[arg-type]: ids are numbers
    return catalogue_of(interactions, inputs["items"].table(["item_id", "category"]), n_users=n_users)


def _beyond(
    predictions: pl.DataFrame, table: pl.DataFrame, rows: pl.DataFrame, catalogue: Catalogue
) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for split in HELD_OUT:
        of_split = rows.filter(pl.col("split") == split)
        if of_split.is_empty():
            found[split] = {}
            continue
        theirs = predictions.join(of_split.select("row_id"), on="row_id", how="semi")
        found[split] = beyond_accuracy(theirs, table, of_split, catalogue)
    return found


def _prefixed(beyond: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """For the tracker; its names of test and validation are those of `tracker_metrics`."""
    of_test = dict(beyond["test"])
    return {**of_test, **{f"validation_{name}": value for name, value in beyond["validation"].items()}}


def _report(
    keys: Keys,
    intervals: Mapping[str, Mapping[str, Interval]],
    beyond: Mapping[str, Mapping[str, float]],
    groups: pl.DataFrame,
) -> str:
    blocks: list[Block] = [
        Paragraph(f"95 % intervals: users resampled {STANDARD.times:,} times, seed {STANDARD.seed}."),
        _intervals_table(intervals),
        Heading("Beyond accuracy"),
        _beyond_table(beyond),
        Heading("Parts of the rows"),
        _groups_table(groups),
    ]
    return as_markdown(blocks, title=f"{keys.experiment} on {keys.dataset}")


def _intervals_table(intervals: Mapping[str, Mapping[str, Interval]]) -> Table:
    rows = [
        [name, split, *(f"{number:.4f}" for number in (interval.value, interval.low, interval.high))]
        for split, by_metric in intervals.items()
        for name, interval in by_metric.items()
    ]
    return Table(["metric", "split", "value", "low", "high"], rows)


def _beyond_table(beyond: Mapping[str, Mapping[str, float]]) -> Table:
    names = sorted({name for values in beyond.values() for name in values})
    rows = [[name, *(_four_digits(values.get(name)) for values in beyond.values())] for name in names]
    return Table(["metric", *beyond], rows)


def _groups_table(groups: pl.DataFrame) -> Table:
    split = "test" if "test" in groups["split"] else "validation"
    shown = groups.filter(pl.col("split") == split).select("by", "group", "metric", "rows", "value", "low", "high")
    rows = [[*map(str, row[:4]), *map(_four_digits, row[4:])] for row in shown.iter_rows()]
    return Table(shown.columns, rows)


def _four_digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
