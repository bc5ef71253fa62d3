"""Walks a study: what all its experiments share once, then each in turn, those that decide what is selected first."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from assets.lake.partitions import EXPERIMENTS
from assets.results.study_reports import choice, is_measured
from contracts.config import PreferenceExperiment
from contracts.config.study import Grid, Point
from contracts.files.load import (
    ConfigurationError,
    experiment_keys,
    listed_candidates,
    load_dataset,
    load_experiment,
    load_study,
    rounds_to,
)
from evaluation.reports.leaderboard import FLOORS
from orchestration.walks.pipeline import LayerFailed, LayerInterrupted, LayerRefused, Pipeline, jobs_of

Only = Mapping[str, Sequence[str]]
"""Axis → labels that are wanted; axes that are not named are wanted whole."""


def wanted(grid: Grid, name: str, only: Only) -> Callable[[Point], bool]:
    """Whether a point is wanted.

    Raises:
        ConfigurationError: no such axis, or no such label of it.
    """
    axes = grid.axes()
    for axis, labels in only.items():
        if axis not in axes:
            raise ConfigurationError(
                f"'{axis}' must be an axis of the study {name}, which it is not. Accepted: {', '.join(axes)}."
            )
        if not labels:
            raise ConfigurationError(
                f"at least one label of the axis {axis} of the study {name} must be named, got none. "
                f"Accepted: {', '.join(axes[axis])}."
            )
        unknown = [label for label in labels if label not in axes[axis]]
        if unknown:
            raise ConfigurationError(
                f"'{', '.join(unknown)}' must be labels of the axis {axis} of the study {name}. "
                f"Accepted: {', '.join(axes[axis])}."
            )
    return lambda point: all(point.labels[axis] in labels for axis, labels in only.items())


def asked_parts(only: Sequence[str]) -> dict[str, list[str]]:
    """Axis → labels, of what a person wrote: `negatives=k1,k15`.

    Raises:
        ConfigurationError: no `=`, or the same axis twice, of which one would be forgotten.
    """
    asked: dict[str, list[str]] = {}
    for axis, labels in map(_axis, only):
        if axis in asked:
            raise ConfigurationError(
                f"--only must name an axis once, got {axis} twice (--seeds is --only seed=…). "
                f"Write: --only {axis}={','.join([*asked[axis], *labels])}"
            )
        asked[axis] = labels
    return asked


def _axis(text: str) -> tuple[str, list[str]]:
    axis, is_given, labels = text.partition("=")
    if not is_given:
        raise ConfigurationError(f"--only must be AXIS=LABEL,LABEL, got '{text}'. Write: --only negatives=k1,k15")
    return axis.strip(), [label.strip() for label in labels.split(",") if label.strip()]


def refuse_unmeasured(grid: Grid, name: str, dataset: str) -> None:
    """Refuses a study that selects by a metric which the data set has not, before its candidates are trained.

    Raises:
        ConfigurationError: its candidate sets have another size, or a rank in the catalogue of what ranks candidates.
    """
    select, candidates = grid.study.select, load_dataset(dataset).candidates
    if select is not None and select.by.endswith("_full"):
        listing = next((key for key in grid.points if listed_candidates(load_experiment(key)) is not None), None)
        if listing is not None:
            raise ConfigurationError(
                f"{name} selects by {select.by}, but the prompts of {listing} list candidates, which are all that it "
                "ranks. Write select.by: hit_ratio_at_1_of_20."
            )
    if select is None or candidates.draw == "published" or not select.by.endswith("_of_20") or candidates.n == 20:
        return
    raise ConfigurationError(
        f"{name} selects by {select.by}, but a candidate set of {dataset} holds {candidates.n} items. Write "
        f"select.by: ndcg_at_10_full, or candidates: {{n: 20}} in datasets/{dataset}.yaml."
    )


class StudyWalk:
    """One walk of a study on one data set; experiments that are finished are reused."""

    def __init__(self, pipeline: Pipeline, name: str, dataset: str, only: Only, say: Callable[[str], None]) -> None:
        self.pipeline, self.name, self.dataset, self.say = pipeline, name, dataset, say
        self.grid = load_study(name)
        self.is_wanted = wanted(self.grid, name, only)
        self.groups = [
            group
            for group in self.grid.groups()
            if any(self.is_wanted(point) for point in self.grid.asked(group.candidates))
        ]
        self.finished: set[str] = set()
        """Keys of those that were finished before this walk: nothing of them has to be computed."""
        self.selected: list[Point] | None = None
        """One of each group; None while they are not known."""
        self.done: dict[str, bool] = {}
        """Key of each experiment that was walked, and whether anything had to be computed."""
        self.failed: dict[str, str] = {}
        self.seconds: list[float] = []
        """Of those that were computed."""

    def run(self) -> None:
        """From the raw files to the report.

        Raises:
            LayerFailed: an experiment failed; the others are there, and so is the report, which names it.
        """
        pipeline = self.pipeline
        pipeline.layer("ingest", self.dataset)
        for floor in self._floors():
            pipeline.layer("evaluate", self.dataset, floor)
        for start in self._starts():
            pipeline.layer("train_sft", self.dataset, start, mines=True)
            pipeline.layer("evaluate", self.dataset, start)
        self.finished = {
            key for key, point in self.grid.points.items() if is_measured(pipeline.lake, self.dataset, point)
        }
        self._walk(point for group in self.groups for point in group.candidates)
        self.selected = self._selected()
        self._walk(point for point in self.grid.asked(self.selected) if self.is_wanted(point))
        if not self.failed:
            pipeline.layer("report", self.dataset, study=self.name)
            return
        first, said = next(iter(self.failed.items()))
        others = f" ({len(self.failed) - 1} others failed too)" if len(self.failed) > 1 else ""
        try:
            pipeline.layer("report", self.dataset, study=self.name)
        except LayerInterrupted:
            raise
        except LayerFailed as failure:  # of nothing, if all failed: what they said is what a person has to know
            raise LayerFailed(f"{first} failed{others}, and there is no report. {said}\n{failure}") from failure
        raise LayerFailed(f"{first} failed{others}; the report is about the rest. {said}")

    @staticmethod
    def _floors() -> list[str]:
        return [floor for floor in FLOORS if floor in experiment_keys()]

    def _starts(self) -> list[str]:
        experiments = [load_experiment(key) for key in self.grid.points]
        return list(dict.fromkeys(e.start_from for e in experiments if isinstance(e, PreferenceExperiment)))

    def _selected(self) -> list[Point]:
        selected: list[Point] = []
        for group in self.groups:
            made = choice(self.pipeline.lake, self.dataset, self.grid, group)
            if made.best is None:
                continue
            selected.append(made.best)
            axis = self.grid.study.select.axis if self.grid.study.select else ""
            of = ", ".join(group.labels.values()) or "all"
            numbers = ", ".join(
                f"{p.labels[axis]} {made.values[p.key]:.4f}" for p in group.candidates if p.key in made.values
            )
            self.say(f"{self.name}: {axis} of {of} is {made.best.labels[axis]} (validation: {numbers})")
        return selected

    def _walk(self, points: Iterable[Point]) -> None:
        for point in points:
            if point.key in self.done or point.key in self.failed:
                continue
            self._say_progress(point)
            try:
                self._experiment(point)
            except (LayerInterrupted, LayerRefused):
                raise
            except LayerFailed as failure:  # a rate at which it diverges, say: the others have something to tell
                self.failed[point.key] = str(failure)
                self.say(f"{point.key} failed, the study goes on: {failure}")

    def _experiment(self, point: Point) -> None:
        rounds, before, started = rounds_to(point.key), self._version(point), time.monotonic()
        self.pipeline.instance.add_dynamic_partitions(str(EXPERIMENTS.name), rounds)
        for key in rounds:
            for job in jobs_of(key):
                self.pipeline.layer(job, self.dataset, key)
        self.done[point.key] = self._version(point) != before
        if self.done[point.key]:
            self.seconds.append(time.monotonic() - started)

    def _version(self, point: Point) -> str | None:
        version = self.pipeline.lake.current("metrics", (self.dataset, point.key))
        return None if version is None else version.folder.name

    def _say_progress(self, point: Point) -> None:
        ahead = self._ahead()
        place = len(self.done) + len(self.failed) + 1
        text = f"{self.name}: experiment {place} of {place - 1 + len(ahead)} ({point.key})"
        if self.seconds:
            each = sum(self.seconds) / len(self.seconds)
            left = each * sum(point.key not in self.finished for point in ahead)
            text += f": {each:.0f} s each, about {_duration(left)} left"
        self.say(text)

    def _ahead(self) -> list[Point]:
        """Points still to be walked; where nothing is selected yet, the first candidate stands for the best one."""
        candidates = [point for group in self.groups for point in group.candidates]
        selected = [group.candidates[0] for group in self.groups] if self.selected is None else self.selected
        asked = [point for point in self.grid.asked(selected) if self.is_wanted(point)]
        every = {point.key: point for point in (*candidates, *asked)}
        return [point for key, point in every.items() if key not in self.done and key not in self.failed]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
