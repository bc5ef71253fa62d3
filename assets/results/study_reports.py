"""The report of a study: every experiment of its grid that is measured, side by side, and what sharing saved."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import dagster as dg
import polars as pl

from assets.lake.asset import Request, Step, asset
from assets.lake.checks import Check
from assets.lake.leaks import accepted_in
from assets.lake.manifest import ancestry
from assets.lake.partitions import ANY_EXPERIMENT_FILE, BY_STUDY, Keys, of_any_experiment
from assets.lake.plots import image
from assets.lake.ports import Tracker
from assets.lake.publish import Content
from assets.lake.reads import Read
from assets.lake.versions import Version, partition_text
from assets.learning.curves import read_curves
from assets.learning.tracked_training import training_run
from assets.results.measurement import MLFLOW_RUN_ID, run_is_kept
from assets.results.study_progress import SELECTED_ON, Progress, progress
from assets.results.study_runs import StudyPage, track_study
from contracts.config import PreferenceExperiment
from contracts.config.study import Grid
from contracts.files.load import load_experiment, load_study
from contracts.words import FLOORS, POLICY_ASSETS, TELEMETRY
from evaluation.reports.study import MeasuredRuns, Shared, StudyReport, StudyRun, Topic, study_report
from evaluation.statistics.significance import STANDARD

SHARED = ("preference_rows", "reference_logps")
"""Assets that experiments with the same negatives take over from one another."""
METRICS = Read(
    "metrics",
    (of_any_experiment("metrics", of="study"),),
    lambda partition, of: [("metrics", Keys(of.dataset, name)) for name in of.measured],
    is_many=True,
)
POLICIES = Read(
    "policies",
    tuple(of_any_experiment(asset, of="study") for asset in POLICY_ASSETS.values()),
    lambda partition, of: [
        (POLICY_ASSETS[load_experiment(name).kind], Keys(of.dataset, name)) for name in of.with_policy
    ],
    is_many=True,
)


@asset(
    by=BY_STUDY,
    plan=lambda request: _subject(request),
    file=ANY_EXPERIMENT_FILE,
    reads=[METRICS, POLICIES],
    config=lambda of: {
        "study": of.grid.study.model_dump(mode="json"),
        "missing": of.missing,
        "resamples": STANDARD.times,
        "bootstrap_seed": STANDARD.seed,
    },
    group="evaluation",
    kinds={"polars", "mlflow"},
    owner="evaluation",
    checks=["every_experiment_is_measured"],
    still_valid=run_is_kept,
)
def study_reports(
    step: Step, of: "Subject", metrics: list[Version], policies: list[Version], tracker: Tracker
) -> Content:
    """One question, one page: figures with intervals, paired tests, what was selected, and what sharing saved.

    Of the experiments of `studies/<study>.yaml` those that are measured are shown, the others are named.
    """
    measured = {version.partition[1]: version for version in metrics}
    leaks = ", ".join(leak.name for leak in accepted_in(step.inputs.versions))
    made = _report(of, measured, {version.partition[1]: version for version in policies}, leaks)
    page = StudyPage(
        of.name,
        of.grid.study.question,
        step.run_id,
        {"experiments": float(len(of.now.measured)), "experiments_missing": float(len(of.missing))},
        {"findings": "\n".join(made.findings)},
        _written(made, step.folder),
    )
    parent = track_study(tracker, of.dataset, page, [measured[point.key] for point in of.now.measured])
    metadata = {
        "findings": dg.MetadataValue.md("\n".join(f"- {finding}" for finding in made.findings)),
        **{name: dg.MetadataValue.md(image(png)) for name, png in made.figures.items()},
        "experiments": len(of.now.measured),
        "mlflow_run": dg.MetadataValue.url(parent.url),
        MLFLOW_RUN_ID: parent.run_id,
    }
    named = {"missing": ", ".join(of.missing) or "none"}
    check = Check("every_experiment_is_measured", not of.missing, named, blocks=False)
    return Content(metadata=metadata, checks=[check])


@dataclass(frozen=True)
class Subject:
    """The plan of a report: its experiments, as far as they are measured."""

    name: str
    dataset: str
    grid: Grid
    now: Progress
    starts: Sequence[str]
    """What its experiments start from."""
    floors: Sequence[str]

    @property
    def missing(self) -> list[str]:
        """The experiments that are asked for and not measured."""
        return [point.key for point in self.now.asked if point not in self.now.measured]

    @property
    def candidates(self) -> list[str]:
        """The measured experiments that a choice was made among."""
        return [key for made in self.now.choices for key in made.values]

    @property
    def measured(self) -> list[str]:
        """The experiments whose metrics are read."""
        shown = [*self.starts, *(point.key for point in self.now.measured)]
        return list(dict.fromkeys([*self.floors, *shown, *self.candidates]))

    @property
    def with_policy(self) -> list[str]:
        """The experiments whose policies are read: those that are shown, and the starts of all."""
        shown = [*self.starts, *(point.key for point in self.now.measured)]
        return list(dict.fromkeys([*shown, *filter(None, map(_start_of, self.candidates))]))


def _subject(request: Request) -> Subject:
    dataset, name = request.partition
    grid = load_study(name)
    now = progress(request.published, dataset, grid)
    if not now.measured:
        raise dg.Failure(
            f"study_reports of {partition_text((dataset, name))} must have at least one measured experiment, got none. "
            f"Run: borderline study {name} --dataset {dataset}",
            allow_retries=False,
        )
    starts = list(dict.fromkeys(start for point in now.measured if (start := _start_of(point.key))))
    current = request.published.measured_experiments(dataset).current
    for start in starts:
        if start not in current:
            raise dg.Failure(
                f"study_reports of {partition_text((dataset, name))} must have current metrics of {start}, which "
                f"experiments of it start from, got none. Run: borderline study {name} --dataset {dataset}",
                allow_retries=False,
            )
    return Subject(name, dataset, grid, now, starts, [floor for floor in FLOORS if floor in current])


def _start_of(experiment: str) -> str:
    """The experiment whose policy it starts from; empty, if it starts from none."""
    config = load_experiment(experiment)
    return config.start_from if isinstance(config, PreferenceExperiment) else ""


def _report(
    subject: Subject, metrics: Mapping[str, Version], policies: Mapping[str, Version], leaks: str
) -> StudyReport:
    def run(experiment: str, labels: Mapping[str, str]) -> StudyRun:
        config, policy = load_experiment(experiment), policies[experiment]
        return StudyRun(
            experiment,
            labels,
            metrics[experiment].table(),
            read_curves(policy.path(TELEMETRY)),
            float(training_run(policy)["train_seconds"]),
            config.objective.kind if isinstance(config, PreferenceExperiment) else "",
            config.start_from if isinstance(config, PreferenceExperiment) else "",
        )

    runs = [run(point.key, subject.grid.shown(point)) for point in subject.now.measured]
    title = f"{subject.name} on {subject.dataset}"
    topic = Topic(
        f"{title} (every number rests on accepted leaks: {leaks})" if leaks else title,
        subject.grid.study.question,
        subject.dataset,
        selection=_selection(subject),
        shared=_shared(subject, metrics, policies),
    )
    measured = MeasuredRuns(
        runs,
        subject.grid.axes(),
        "test" if "test" in runs[0].metrics["split"].unique() else SELECTED_ON,
        starts=[run(start, {}) for start in subject.starts],
        floors={floor: metrics[floor].table() for floor in subject.floors},
    )
    return study_report(topic, measured, STANDARD)


def _selection(subject: Subject) -> pl.DataFrame | None:
    """What was tried before, and what was chosen."""
    select = subject.grid.study.select
    if select is None:
        return None
    rows = [
        {
            **made.group.labels,
            select.axis: point.labels[select.axis],
            f"{SELECTED_ON} {select.by}": made.values.get(point.key),
            "chosen": "yes" if point is made.best else "",
        }
        for made in subject.now.choices
        for point in made.group.candidates
    ]
    return pl.DataFrame(rows)


def _shared(subject: Subject, metrics: Mapping[str, Version], policies: Mapping[str, Version]) -> list[Shared]:
    """What experiments of the study have in common: its seconds, and how many of them would have needed it."""
    names = dict.fromkeys([*subject.candidates, *(point.key for point in subject.now.measured)])
    needed_by = Counter(part for name in names for part in _parts(metrics[name], policies))
    return [Shared(part.name, part.seconds, needing) for part, needing in needed_by.items()]


class _Part(NamedTuple):
    """What an experiment is made from, and others of a study may be too."""

    name: str
    data_version: str
    seconds: float
    """That it took once."""


def _parts(metrics: Version, policies: Mapping[str, Version]) -> Iterator[_Part]:
    """The parts of one experiment, from what its metrics were made from."""
    dataset, name = metrics.partition
    experiment = load_experiment(name)
    if not isinstance(experiment, PreferenceExperiment):
        return
    start, of = experiment.start_from, experiment.negatives
    above = {(entry["asset"], tuple(entry["partition"])): entry for entry in ancestry(metrics)}
    policy, pool = policies[start], above["mined_negatives", (dataset, start)]
    train_seconds = float(training_run(policy)["train_seconds"])
    yield _Part(f"training of {start}", policy.data_version, train_seconds)
    yield _Part(f"negatives mined by {start}", pool["data_version"], pool["seconds"] or 0.0)
    for table in SHARED:
        entry = above[table, (dataset, name)]
        yield _Part(f"{table}, {of.n} {of.miner}", entry["data_version"], entry["seconds"] or 0.0)


def _written(made: StudyReport, folder: Path) -> list[Path]:
    files = {
        "report.html": made.html.encode(),
        "report.md": made.markdown.encode(),
        "report.json": json.dumps(made.as_json, indent=1).encode(),
        **{f"{name}.png": png for name, png in made.figures.items()},
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in files]
