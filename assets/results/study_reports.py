"""The report of a study: every experiment of its grid that is measured, side by side, and what sharing saved."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
import polars as pl

from assets.lake.checks import Check, check_specs
from assets.lake.freshness import standing, what_changed
from assets.lake.leaks import accepted_in
from assets.lake.partitions import BY_STUDY, Keys, of_every_experiment
from assets.lake.plots import image
from assets.lake.ports import Tracker
from assets.lake.publish import Content, Inputs, publish
from assets.lake.versions import Lake, Partition, Version, partition_text
from assets.learning.follower import read_curves
from assets.results.study_runs import StudyPage, track_study
from contracts.config import PreferenceExperiment
from contracts.config.study import Grid, Group, Point
from contracts.files.load import load_experiment, load_study
from contracts.words import FLOORS, POLICY_ASSETS, TELEMETRY
from evaluation.reports.study import Measured, Shared, StudyReport, StudyRun, Topic, study_report
from evaluation.statistics.significance import STANDARD

SELECTED_ON = "validation"
SHARED = ("preference_rows", "reference_logps")
"""Assets that experiments with the same negatives take over from one another."""


@dataclass(frozen=True)
class Choice:
    """Which candidate of a group is run on, and the numbers that decided."""

    group: Group
    values: Mapping[str, float]
    """Key of each measured candidate → its mean on validation."""

    @property
    def best(self) -> Point | None:
        """The best candidate, the first of equal ones; None while none is measured."""
        measured = [point for point in self.group.candidates if point.key in self.values]
        return max(measured, key=lambda point: self.values[point.key], default=None)


@dataclass(frozen=True)
class Progress:
    """How far a study is."""

    choices: Sequence[Choice]
    asked: Sequence[Point]
    """What it is about, as far as the choices are made."""
    measured: Sequence[Point]
    """Of those, the ones whose metrics are those of the files and tables as they are."""


def progress(lake: Lake, dataset: str, grid: Grid) -> Progress:
    """What the lake holds of a study on one data set."""
    choices = [choice(lake, dataset, grid, group) for group in grid.groups()]
    asked = grid.asked([made.best for made in choices if made.best is not None])
    return Progress(choices, asked, [point for point in asked if is_measured(lake, dataset, point)])


def choice(lake: Lake, dataset: str, grid: Grid, group: Group) -> Choice:
    """What the measured candidates of a group are worth on validation rows."""
    select = grid.study.select
    assert select is not None  # otherwise there is no group
    measured = {point.key: _metrics_of(lake, dataset, point) for point in group.candidates}
    return Choice(group, {key: _mean(version, select.by) for key, version in measured.items() if version is not None})


def is_measured(lake: Lake, dataset: str, point: Point) -> bool:
    """Whether an experiment has metrics that are those of its file and of every table above them as they are."""
    return _metrics_of(lake, dataset, point) is not None


def _metrics_of(lake: Lake, dataset: str, point: Point) -> Version | None:
    version = lake.current("metrics", (dataset, point.key))
    return version if version is not None and what_changed(lake, version) is None else None


def _mean(metrics: Version, metric: str) -> float:
    rows = metrics.scan().filter(pl.col("split") == SELECTED_ON, pl.col("metric") == metric)
    return float(rows.select(pl.col("value").mean()).collect().item())


@dataclass(frozen=True)
class _Subject:
    """What a report is about."""

    name: str
    dataset: str
    grid: Grid
    now: Progress
    starts: Sequence[str]
    """What its experiments start from."""
    floors: Sequence[str]

    @property
    def shown(self) -> list[Keys]:
        """Every experiment with a policy, the starts first."""
        names = [*self.starts, *(point.key for point in self.now.measured)]
        return [Keys(self.dataset, name) for name in names]

    @property
    def inputs(self) -> list[tuple[str, Partition]]:
        """As `publish` wants them."""
        floors = [("metrics", (self.dataset, floor)) for floor in self.floors]
        metrics = [("metrics", keys) for keys in self.shown]
        return [*floors, *metrics, *((_policy_asset(keys), keys) for keys in self.shown)]


@dg.asset(
    deps=[of_every_experiment(asset) for asset in ("metrics", "preference_policies", "sft_policies")],
    partitions_def=BY_STUDY,
    group_name="evaluation",
    kinds={"polars", "mlflow"},
    owners=["team:evaluation"],
    code_version="4",
    check_specs=check_specs("study_reports", "every_experiment_is_measured"),
)
def study_reports(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], tracker: dg.ResourceParam[Tracker]
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[Any]]:
    """One question, one page: figures with intervals, paired tests, what was selected, and what sharing saved.

    Of the experiments of `studies/<study>.yaml` those that are measured are shown, the others are named.
    """
    by_dimension = context.partition_key.keys_by_dimension  # type: ignore[attr-defined]
    subject = _subject(lake, by_dimension["dataset"], by_dimension["study"])
    missing = [point.key for point in subject.now.asked if point not in subject.now.measured]

    def report(inputs: Inputs, staged: Mapping[str, Path]) -> dict[str, Content]:
        made = _report(lake, subject, inputs)
        files = _written(made, staged["study_reports"])
        page = StudyPage(
            subject.name,
            subject.grid.study.question,
            context.run.run_id,
            {"experiments": float(len(subject.now.measured)), "experiments_missing": float(len(missing))},
            {"findings": "\n".join(made.findings)},
            files,
        )
        parent = track_study(tracker, subject.dataset, page, _of_experiments(inputs, subject))
        metadata = {
            "findings": dg.MetadataValue.md("\n".join(f"- {finding}" for finding in made.findings)),
            **{name: dg.MetadataValue.md(image(png)) for name, png in made.figures.items()},
            "experiments": len(subject.now.measured),
            "mlflow_run": dg.MetadataValue.url(parent.url),
            "mlflow_run_id": parent.run_id,
        }
        named = {"missing": ", ".join(missing) or "none"}
        check = Check("every_experiment_is_measured", not missing, named, blocks=False)
        return {"study_reports": Content(metadata=metadata, checks=[check])}

    yield from publish(
        context,
        lake,
        report,
        partition=(subject.dataset, subject.name),
        inputs=subject.inputs,
        config={
            "study": subject.grid.study.model_dump(mode="json"),
            "missing": missing,
            "resamples": STANDARD.times,
            "bootstrap_seed": STANDARD.seed,
        },
        still_valid=lambda version: tracker.find(version.manifest["metadata"]["mlflow_run_id"]["value"]) is not None,
    )


def _subject(lake: Lake, dataset: str, name: str) -> _Subject:
    grid = load_study(name)
    now = progress(lake, dataset, grid)
    if not now.measured:
        raise dg.Failure(
            f"study_reports of {partition_text((dataset, name))} must have at least one measured experiment, got none. "
            f"Run: borderline study {name} --dataset {dataset}",
            allow_retries=False,
        )
    starts = list(dict.fromkeys(start for point in now.measured if (start := _start_of(point))))
    current = standing(lake, dataset).current
    for start in starts:
        if start not in current:
            raise dg.Failure(
                f"study_reports of {partition_text((dataset, name))} must have current metrics of {start}, which "
                f"experiments of it start from, got none. Run: borderline study {name} --dataset {dataset}",
                allow_retries=False,
            )
    return _Subject(name, dataset, grid, now, starts, [floor for floor in FLOORS if floor in current])


def _start_of(point: Point) -> str:
    """The experiment whose policy it starts from; empty, if it starts from none."""
    experiment = load_experiment(point.key)
    return experiment.start_from if isinstance(experiment, PreferenceExperiment) else ""


def _policy_asset(keys: Keys) -> str:
    return POLICY_ASSETS[load_experiment(keys.experiment).kind]


def _report(lake: Lake, subject: _Subject, inputs: Inputs) -> StudyReport:
    metrics = {version.partition[1]: version for version in inputs.all("metrics")}
    policies = {version.partition[1]: version for asset in POLICY_ASSETS.values() for version in inputs.all(asset)}

    def run(experiment: str, labels: Mapping[str, str]) -> StudyRun:
        config, policy = load_experiment(experiment), policies[experiment]
        return StudyRun(
            experiment,
            labels,
            metrics[experiment].table(),
            read_curves(policy.path(TELEMETRY)),
            _train_seconds(policy),
            config.objective.kind if isinstance(config, PreferenceExperiment) else "",
            config.start_from if isinstance(config, PreferenceExperiment) else "",
        )

    runs = [run(point.key, subject.grid.shown(point)) for point in subject.now.measured]
    leaks = ", ".join(leak.name for leak in accepted_in(inputs.versions))
    title = f"{subject.name} on {subject.dataset}"
    topic = Topic(
        f"{title} (every number rests on accepted leaks: {leaks})" if leaks else title,
        subject.grid.study.question,
        subject.dataset,
        selection=_selection(subject),
        shared=_shared(lake, subject),
    )
    measured = Measured(
        runs,
        subject.grid.axes(),
        "test" if "test" in runs[0].metrics["split"].unique() else SELECTED_ON,
        starts=[run(start, {}) for start in subject.starts],
        floors={floor: metrics[floor].table() for floor in subject.floors},
    )
    return study_report(topic, measured, STANDARD)


def _train_seconds(policy: Version) -> float:
    return float(json.loads(policy.path("run.json").read_text(encoding="utf-8"))["train_seconds"])


def _selection(subject: _Subject) -> pl.DataFrame | None:
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


def _shared(lake: Lake, subject: _Subject) -> list[Shared]:
    """What experiments of the study have in common: its seconds, and how many of them would have needed it."""
    candidates = [point for made in subject.now.choices for point in made.group.candidates if point.key in made.values]
    names = {point.key: point for point in (*candidates, *subject.now.measured)}
    needed_by = Counter(part for name in names for part in _parts(lake, subject.dataset, name))
    return [Shared(part.name, part.seconds, needing) for part, needing in needed_by.items()]


class _Part(NamedTuple):
    """What an experiment is made from, and others of a study may be too."""

    name: str
    data_version: str
    seconds: float
    """That it took once."""


def _parts(lake: Lake, dataset: str, name: str) -> Iterator[_Part]:
    experiment = load_experiment(name)
    if not isinstance(experiment, PreferenceExperiment):
        return
    start, of = experiment.start_from, experiment.negatives
    policy, pool = (lake.require(asset, (dataset, start)) for asset in ("sft_policies", "mined_negatives"))
    yield _Part(f"training of {start}", policy.data_version, _train_seconds(policy))
    yield _Part(f"negatives mined by {start}", pool.data_version, _seconds(pool))
    for asset in SHARED:
        version = lake.require(asset, (dataset, name))
        yield _Part(f"{asset}, {of.n} {of.miner}", version.data_version, _seconds(version))


def _seconds(version: Version) -> float:
    return float(version.manifest.get("seconds", 0.0))


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


def _of_experiments(inputs: Inputs, subject: _Subject) -> list[Version]:
    """The metrics of the study's own experiments."""
    keys = {point.key for point in subject.now.measured}
    return [version for version in inputs.all("metrics") if version.partition[1] in keys]
