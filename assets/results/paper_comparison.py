"""Our results beside those of papers, over all data sets that a study names: one table for each, source by source."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import dagster as dg

from assets.lake.asset import Request, Step, asset
from assets.lake.checks import Check
from assets.lake.leaks import accepted_leaks, is_accepting
from assets.lake.partitions import ANY_EXPERIMENT_FILE, STUDIES
from assets.lake.ports import Tracker
from assets.lake.publish import Content
from assets.lake.reads import Read
from assets.lake.versions import Version
from assets.results.study_runs import StudyPage, track_study
from contracts.config.paper_study import Benchmark, PublishedStudy
from contracts.files.load import load_published
from contracts.words import REPORTED
from evaluation.reports.papers import Claim, PaperTable, as_html, as_json, as_markdown, paper_table
from evaluation.statistics.significance import STANDARD

METRICS = Read(
    "metrics",
    (dg.AssetDep("metrics", partition_mapping=dg.AllPartitionMapping()),),
    lambda partition, of: [("metrics", (dataset, name)) for dataset, names in of.found.items() for name in names],
    is_many=True,
)


@asset(
    by=STUDIES,
    plan=lambda request: _results(request),
    file=ANY_EXPERIMENT_FILE,
    reads=[METRICS],
    config=lambda of: {
        "study": of.study.model_dump(mode="json"),
        "missing": of.missing,
        "resamples": STANDARD.times,
        "bootstrap_seed": STANDARD.seed,
    },
    group="evaluation",
    kinds={"polars", "mlflow"},
    owner="evaluation",
    checks=["every_experiment_is_measured"],
)
def paper_comparison(step: Step, of: "PaperResults", metrics: list[Version], tracker: Tracker) -> Content:
    """What we get on the splits of papers beside what others got; validation always, test where its rows are here."""
    (name,), study = step.partition, of.study
    by_partition = {version.partition: version for version in metrics}
    parts = [
        part
        for dataset, experiments in of.found.items()
        for part in _parts(dataset, study.benchmarks[dataset], experiments, by_partition)
    ]
    texts = {
        "report.md": as_markdown(study.question, parts, study.sources, of.missing),
        "report.html": as_html(study.question, parts, study.sources, of.missing),
        "report.json": json.dumps(as_json(parts, study.sources), indent=1),
    }
    files = [step.folder / file for file in texts]
    for file in files:
        file.write_text(texts[file.name], encoding="utf-8")
    links: list[str] = []
    for dataset, experiments in of.found.items():
        counts = {"experiments": float(len(experiments))}
        page = StudyPage(name, study.question, step.run_id, counts, {}, files)
        children = [by_partition[dataset, experiment] for experiment in experiments]
        links.append(f"- [{dataset}]({track_study(tracker, dataset, page, children).url})")
    metadata = {
        "report": dg.MetadataValue.md(texts["report.md"]),
        "mlflow_runs": dg.MetadataValue.md("\n".join(links)),
    }
    check = Check(
        "every_experiment_is_measured", not of.missing, {"missing": "; ".join(of.missing) or "none"}, blocks=False
    )
    return Content(metadata=metadata, checks=[check])


@dataclass(frozen=True)
class PaperResults:
    """What is published of a study of papers."""

    study: PublishedStudy
    found: Mapping[str, tuple[str, ...]]
    """Data set → experiments whose metrics are those of the files and tables as they are."""
    missing: tuple[str, ...]
    """What was asked for and is not there, and why."""


def _results(request: Request) -> PaperResults:
    """Which experiments of the study can be shown; those that rest on accepted leaks only where these are accepted."""
    (name,), published = request.partition, request.published
    study = load_published(name)
    found: dict[str, tuple[str, ...]] = {}
    missing: list[str] = []
    for dataset, benchmark in study.benchmarks.items():
        there: list[str] = []
        for experiment in benchmark.experiments:
            version = published.current("metrics", (dataset, experiment))
            why = "not measured" if version is None else published.what_changed(version)
            if why is None and version is not None and accepted_leaks(version) and not is_accepting(request.tags):
                why = "it rests on accepted leaks; add --accept-leaks"
            if why is None:
                there.append(experiment)
            else:
                missing.append(f"{experiment} on {dataset}: {why}")
        if there:
            found[dataset] = tuple(there)
    if not found:
        raise dg.Failure(
            f"paper_comparison of {name} must have at least one measured experiment, got none. "
            f"Run: borderline study {name}",
            allow_retries=False,
        )
    return PaperResults(study, found, tuple(missing))


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
