"""Our results beside published ones, over all data sets that a study names: one table for each, source by source."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from assets.lake.checks import Check, check_specs
from assets.lake.freshness import what_changed
from assets.lake.leaks import accepted_leaks, is_accepting
from assets.lake.partitions import STUDIES
from assets.lake.ports import Tracker
from assets.lake.publish import Content, Inputs, publish
from assets.lake.versions import Lake, Version
from assets.results.study_runs import StudyPage, track_study
from contracts.config.paper_study import Benchmark
from contracts.files.load import load_published
from contracts.words import REPORTED
from evaluation.reports.papers import Claim, PaperTable, as_html, as_json, as_markdown, paper_table
from evaluation.statistics.significance import STANDARD


@dataclass(frozen=True)
class Measured:
    """What the lake holds of a study of published benchmarks."""

    found: Mapping[str, tuple[str, ...]]
    """Data set → experiments whose metrics are those of the files and tables as they are."""
    missing: tuple[str, ...]
    """What was asked for and is not there, and why."""


def measured(lake: Lake, name: str, *, accepts_leaks: bool) -> Measured:
    """Which experiments of the study can be shown; those that rest on accepted leaks only where these are accepted."""
    found: dict[str, tuple[str, ...]] = {}
    missing: list[str] = []
    for dataset, benchmark in load_published(name).benchmarks.items():
        there: list[str] = []
        for experiment in benchmark.experiments:
            version = lake.current("metrics", (dataset, experiment))
            why = "not measured" if version is None else what_changed(lake, version)
            if why is None and version is not None and accepted_leaks(version) and not accepts_leaks:
                why = "it rests on accepted leaks; add --accept-leaks"
            if why is None:
                there.append(experiment)
            else:
                missing.append(f"{experiment} on {dataset}: {why}")
        if there:
            found[dataset] = tuple(there)
    return Measured(found, tuple(missing))


@dg.asset(
    deps=[dg.AssetDep("metrics", partition_mapping=dg.AllPartitionMapping())],
    partitions_def=STUDIES,
    group_name="evaluation",
    kinds={"polars", "mlflow"},
    owners=["team:evaluation"],
    code_version="1",
    check_specs=check_specs("paper_comparison", "every_experiment_is_measured"),
)
def paper_comparison(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], tracker: dg.ResourceParam[Tracker]
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[Any]]:
    """What we get on published splits beside what others got; validation always, test where its rows are here."""
    name = context.partition_key
    study, now = load_published(name), measured(lake, name, accepts_leaks=is_accepting(context.run.tags))
    if not now.found:
        raise dg.Failure(
            f"paper_comparison of {name} must have at least one measured experiment, got none. "
            f"Run: borderline study {name}",
            allow_retries=False,
        )

    def compare(inputs: Inputs, staged: Mapping[str, Path]) -> dict[str, Content]:
        by_partition = {version.partition: version for version in inputs.all("metrics")}
        parts = [
            part
            for dataset, experiments in now.found.items()
            for part in _parts(dataset, study.benchmarks[dataset], experiments, by_partition)
        ]
        texts = {
            "report.md": as_markdown(study.question, parts, study.sources, now.missing),
            "report.html": as_html(study.question, parts, study.sources, now.missing),
            "report.json": json.dumps(as_json(parts, study.sources), indent=1),
        }
        files = [staged["paper_comparison"] / file for file in texts]
        for file in files:
            file.write_text(texts[file.name], encoding="utf-8")
        links: list[str] = []
        for dataset, experiments in now.found.items():
            counts = {"experiments": float(len(experiments))}
            page = StudyPage(name, study.question, context.run.run_id, counts, {}, files)
            children = [by_partition[dataset, experiment] for experiment in experiments]
            links.append(f"- [{dataset}]({track_study(tracker, dataset, page, children).url})")
        metadata = {
            "report": dg.MetadataValue.md(texts["report.md"]),
            "mlflow_runs": dg.MetadataValue.md("\n".join(links)),
        }
        detail = {"missing": "; ".join(now.missing) or "none"}
        check = Check("every_experiment_is_measured", not now.missing, detail, blocks=False)
        return {"paper_comparison": Content(metadata=metadata, checks=[check])}

    yield from publish(
        context,
        lake,
        compare,
        partition=(name,),
        inputs=[("metrics", (dataset, name)) for dataset, names in now.found.items() for name in names],
        config={
            "study": study.model_dump(mode="json"),
            "missing": now.missing,
            "resamples": STANDARD.times,
            "bootstrap_seed": STANDARD.seed,
        },
    )


def _parts(
    dataset: str, benchmark: Benchmark, experiments: tuple[str, ...], metrics: Mapping[tuple[str, ...], Version]
) -> Iterator[PaperTable]:
    """One for each split that the data set has rows of."""
    versions = {experiment: metrics[dataset, experiment] for experiment in experiments}
    tables = {experiment: version.table() for experiment, version in versions.items()}
    other = benchmark.same_rows_as
    elsewhere = {name: metrics[other, name].table() for name in experiments if other and (other, name) in metrics}
    claims = [
        Claim(each.model, each.source, {str(metric): value for metric, value in each.metrics.items()})
        for each in benchmark.published
    ]
    for split in REPORTED:
        if split in next(iter(tables.values()))["split"]:
            yield paper_table(
                tables,
                claims,
                dataset=dataset,
                split=split,
                leaks={name: [leak.name for leak in accepted_leaks(version)] for name, version in versions.items()},
                elsewhere=elsewhere,
                same_rows_as=other,
            )
