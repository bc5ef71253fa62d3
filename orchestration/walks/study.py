"""Walk a study: what all its experiments share once, then each in turn, those that decide what is selected first."""

import time
from collections.abc import Callable, Iterable

from assets.lake.freshness import Published
from assets.lake.partitions import EXPERIMENTS
from assets.results.study_progress import choice, is_measured
from contracts.config import PreferenceExperiment
from contracts.config.study import Grid, Point
from contracts.files.experiments import rounds_to
from contracts.files.load import load_dataset, load_experiment, load_study
from contracts.files.names import experiment_keys
from contracts.words import FLOORS, PARENT_RUN_TAG, STUDY_TAG
from orchestration.file_versions import record_files
from orchestration.walks.experiments import jobs_of
from orchestration.walks.home_lock import only_walk
from orchestration.walks.runner import LayerFailed, LayerInterrupted, LayerRefused, LayerRunner
from orchestration.walks.study_parts import Only, refuse_unmeasured, wanted


def walk_study(runner: LayerRunner, name: str, dataset: str, only: Only | None = None) -> None:
    """Walk from the raw files of a data set to the report of a study on it; what is finished is reused.

    Args:
        runner: runs the layers.
        name: a file in studies/.
        dataset: a file in datasets/.
        only: axis → labels; the others are not run. All, when absent.

    Raises:
        ConfigurationError: an unknown name or a wrong file, before anything is computed.
        LayerFailed: a run failed; what was published before it stays.
    """
    load_dataset(dataset)
    grid = load_study(name)
    is_wanted = wanted(grid, name, only or {})
    refuse_unmeasured(grid, name, dataset)
    runner.tracker.prepare(dataset)
    with only_walk(runner) as held, runner.tracker.study(dataset, name, grid.study.question) as parent:
        runner.say(f"{name}: MLflow run {parent.url}")
        tagged = held.tagged({STUDY_TAG: name, PARENT_RUN_TAG: parent.run_id})
        StudyWalk(tagged, name, dataset, grid, is_wanted).run()


class StudyWalk:
    """One walk of a study on one data set; experiments that are finished are reused."""

    def __init__(
        self, runner: LayerRunner, name: str, dataset: str, grid: Grid, is_wanted: Callable[[Point], bool]
    ) -> None:
        self.runner, self.name, self.dataset, self.say = runner, name, dataset, runner.say
        self.grid, self.is_wanted = grid, is_wanted
        self.groups = [
            group
            for group in self.grid.groups()
            if any(self.is_wanted(point) for point in self.grid.asked(group.candidates))
        ]
        self.finished: set[str] = set()
        """Keys of the experiments that were finished before this walk: they cost no time."""
        self.selected: list[Point] | None = None
        """The best of each group; None until they are known."""
        self.done: dict[str, bool] = {}
        """Key of each experiment that was walked, and whether anything had to be computed."""
        self.failed: dict[str, str] = {}
        self.seconds: list[float] = []
        """How long each experiment took that was computed."""

    def run(self) -> None:
        """Walk from the raw files to the report.

        Raises:
            LayerFailed: an experiment failed; the others are there, and so is the report, which names it.
        """
        runner = self.runner
        runner.layer("ingest", self.dataset)
        for floor in self._floors():
            runner.layer("evaluate", self.dataset, floor)
        for start in self._starts():
            runner.layer("train_sft", self.dataset, start, mines=True)
            runner.layer("evaluate", self.dataset, start)
        self.finished = {
            key
            for key, point in self.grid.points.items()
            if is_measured(Published(runner.lake, {"metrics"}), self.dataset, point)
        }
        self._walk(point for group in self.groups for point in group.candidates)
        self.selected = self._selected()
        self._walk(point for point in self.grid.asked(self.selected) if self.is_wanted(point))
        if not self.failed:
            runner.layer("report", self.dataset, study=self.name)
            return
        first, said = next(iter(self.failed.items()))
        others = f" ({len(self.failed) - 1} others failed too)" if len(self.failed) > 1 else ""
        try:
            runner.layer("report", self.dataset, study=self.name)
        except LayerInterrupted:
            raise
        except LayerFailed as failure:  # where all failed there is nothing to report
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
            made = choice(Published(self.runner.lake, {"metrics"}), self.dataset, self.grid, group)
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
            except LayerFailed as failure:  # it may diverge at its rate; the others still have results
                self.failed[point.key] = str(failure)
                self.say(f"{point.key} failed, the study goes on: {failure}")

    def _experiment(self, point: Point) -> None:
        rounds, before, started = rounds_to(point.key), self._version(point), time.monotonic()
        self.runner.instance.add_dynamic_partitions(str(EXPERIMENTS.name), rounds)
        record_files(self.runner.instance, experiments=rounds)
        for key in rounds:
            for job in jobs_of(key):
                self.runner.layer(job, self.dataset, key)
        self.done[point.key] = self._version(point) != before
        if self.done[point.key]:
            self.seconds.append(time.monotonic() - started)

    def _version(self, point: Point) -> str | None:
        version = self.runner.lake.current("metrics", (self.dataset, point.key))
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
        """The points still to walk; until one is selected, the first candidate of a group counts as its best."""
        candidates = [point for group in self.groups for point in group.candidates]
        selected = [group.candidates[0] for group in self.groups] if self.selected is None else self.selected
        asked = [point for point in self.grid.asked(selected) if self.is_wanted(point)]
        every = {point.key: point for point in (*candidates, *asked)}
        return [point for key, point in every.items() if key not in self.done and key not in self.failed]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
