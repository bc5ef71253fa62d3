"""Metrics of each row, recomputed from the predictions table without any model, with intervals over users."""

import json
from collections.abc import Mapping

import dagster as dg
import polars as pl

from assets.lake.asset import Step, asset
from assets.lake.leaks import accepted_in, leak_tags
from assets.lake.partitions import BY_EXPERIMENT, Keys
from assets.lake.ports import TrackedRun, Tracker
from assets.lake.publish import Content
from assets.lake.reads import same_dataset, same_experiment
from assets.lake.versions import Version, partition_text
from assets.learning.experiments import OWN_POLICY, Planned, as_yaml, flatten, plan_experiment, study_tags
from assets.learning.tracked_training import training_run
from assets.results.costs import cost_of, has_cost, write_cost
from assets.results.measurement import BEYOND_FILE, MLFLOW_RUN_ID, run_is_kept, train_catalogue
from contracts.files.experiments import definition
from contracts.words import HELD_OUT
from evaluation.metrics.beyond_accuracy import Catalogue, beyond_accuracy
from evaluation.metrics.groups import group_metrics, row_groups
from evaluation.metrics.ranking import metrics_of
from evaluation.reports.document import Block, Heading, Paragraph, Table, as_markdown
from evaluation.statistics.significance import STANDARD, Interval, bootstrap_intervals, panel_of

REPORT_FILE = "report.md"
"""Beside the table of `metrics`, and with the tracked run: all of them as a page to read."""
GROUPS_FILE = "groups.parquet"
"""Beside the table of `metrics`: the same metrics for parts of the rows."""


@asset(
    by=BY_EXPERIMENT,
    plan=plan_experiment,
    reads=[
        OWN_POLICY,
        same_experiment("predictions"),
        same_dataset("histories"),
        same_dataset("interactions"),
        same_dataset("items"),
    ],
    config=lambda of: {
        "resamples": STANDARD.times,
        "bootstrap_seed": STANDARD.seed,
        "definition": definition(of.keys.experiment),
    },
    group="evaluation",
    kinds={"polars", "mlflow"},
    owner="evaluation",
    still_valid=lambda version, of, tracker: run_is_kept(version, of, tracker) and has_cost(version),
)
def metrics(
    step: Step,
    of: Planned,
    policy: Version | None,
    predictions: Version,
    histories: Version,
    interactions: Version,
    items: Version,
    tracker: Tracker,
) -> Content:
    """Every metric of every validation and test row; means and 95 % intervals go to the experiment's MLflow run."""
    rows = histories.table().filter(pl.col("split") != "train")
    predicted = predictions.table()
    catalogue = train_catalogue(interactions, items)
    table = metrics_of(predicted, rows, n_items=catalogue.item_counts.size)
    groups = group_metrics(table, row_groups(rows, catalogue.item_counts, catalogue.user_counts))
    groups.write_parquet(step.folder / GROUPS_FILE)
    beyond = _beyond(predicted, table, rows, catalogue)
    (step.folder / BEYOND_FILE).write_text(json.dumps(beyond, indent=1), encoding="utf-8")
    intervals: dict[str, dict[str, Interval]] = {split: {} for split in HELD_OUT}
    for split in rows["split"].unique():
        panel = panel_of({of.keys.experiment: table}, split=split)
        by_column = bootstrap_intervals(panel, STANDARD)
        intervals[split] = {metric: interval for (_, metric), interval in by_column.items()}
    report = step.folder / REPORT_FILE
    report.write_text(_report(of.keys, intervals, beyond, groups), encoding="utf-8")
    cost = cost_of(policy, predictions)
    write_cost(step.folder, of.keys.experiment, cost)
    run = _run(step, of, policy, tracker)
    tracker.summarise(
        run.run_id,
        metrics={**_prefixed(beyond), **tracker_metrics(intervals), **cost.measured},
        tags={"dagster.metrics_run_id": step.run_id, **leak_tags(accepted_in(step.inputs.versions))},
        artifacts=[report],
    )
    metadata = {
        **{name: interval.value for name, interval in intervals["test"].items()},
        **{f"validation_{name}": interval.value for name, interval in intervals["validation"].items()},
        "intervals": dg.MetadataValue.md(as_markdown([_intervals_table(intervals)])),
        "beyond_accuracy": dg.MetadataValue.md(as_markdown([_beyond_table(beyond)])),
        "groups": dg.MetadataValue.md(as_markdown([_groups_table(groups)])),
        "mlflow_run": dg.MetadataValue.url(run.url),
        MLFLOW_RUN_ID: run.run_id,
        "definition": definition(of.keys.experiment),
    }
    return Content(table, metadata)


def tracker_metrics(intervals: Mapping[str, Mapping[str, Interval]]) -> dict[str, float]:
    """As the tracker shows them: test under the plain name, as on the leaderboard; validation prefixed."""
    named: dict[str, float] = {}
    for split, prefix in (("test", ""), ("validation", "validation_")):
        for name, interval in intervals[split].items():
            named[f"{prefix}{name}"] = interval.value
            named[f"{prefix}{name}/low"] = interval.low
            named[f"{prefix}{name}/high"] = interval.high
    return named


def _run(step: Step, of: Planned, policy: Version | None, tracker: Tracker) -> TrackedRun:
    """The run that trained the policy; a baseline, or a policy whose run is gone, gets one here."""
    run = tracker.find(training_run(policy)["mlflow_run_id"]) if policy else None
    if run is not None:
        return run
    keys, experiment = of.keys, of.experiment
    tags = {
        "kind": experiment.kind,
        "seed": str(experiment.seed),
        "dagster.run_id": step.run_id,
        "dagster.partition": partition_text(keys),
        **study_tags(keys.experiment, step.tags),
    }
    with tracker.tracked(
        keys.dataset,
        keys.experiment,
        params=flatten({**experiment.model_dump(mode="json"), "dataset": keys.dataset}),
        tags=tags,
        config=as_yaml(experiment),
        inputs=step.inputs.versions,
    ) as live:
        return live.tracked


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
