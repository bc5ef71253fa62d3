"""The whole way, layer by layer: the same jobs a person launches in the Dagster UI, in order, in this process."""

import fcntl
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import dagster as dg
from dagster._core.events import JobFailureData

from assets.lake.leaks import ACCEPT_TAG
from assets.lake.ports import PARENT_RUN_TAG
from contracts.config import BaselineExperiment, PreferenceExperiment
from contracts.files.load import (
    ConfigurationError,
    experiment_keys,
    is_servable,
    load_dataset,
    load_experiment,
    previous_round,
    rounds_to,
)
from evaluation.reports.leaderboard import FLOORS
from orchestration import settings
from orchestration.automation.sensors import new_partitions
from orchestration.walks.liveness import PROCESS_TAG, end_dead_runs, process_tag

REFUSALS = {"ConfigurationError", "MissingRawFile", "UnusableSource", "NotMaterialised", "MovedHome"}
"""Errors that say what a person has to change."""
INTERRUPTED = "DagsterExecutionInterruptedError"
"""An error that says that somebody stopped a run."""


class LayerFailed(RuntimeError):
    """A layer's run failed; the message is the step's own, and where to see the run."""

    exit_code = 1


class LayerRefused(LayerFailed):
    """A step refused what a person gave it: a file, a name, a value."""

    exit_code = 2


class LayerInterrupted(LayerFailed):
    """Somebody stopped it."""

    exit_code = 130


class Pipeline:
    """Runs layer jobs on a Dagster instance, one after another."""

    def __init__(
        self,
        instance: dg.DagsterInstance,
        *,
        parent_run_id: str | None = None,
        force: bool = False,
        accept_leaks: bool = False,
    ) -> None:
        from orchestration.definitions import build_definitions, lake, tracker

        self.instance, self.tracker, self.lake = instance, tracker(), lake()
        self.definitions = build_definitions()
        self.tags: dict[str, str] = {"borderline/force": "true"} if force else {}
        if accept_leaks:
            self.tags[ACCEPT_TAG] = "true"
        if parent_run_id is not None:
            self.tags |= {"dagster/parent_run_id": parent_run_id, "dagster/root_run_id": parent_run_id}

    def run(self, dataset: str, experiments: Sequence[str], *, mines: bool = False) -> None:
        """From the raw files of `dataset` to the leaderboard and the registry, for `experiments` and what they need.

        Supervised ones mine what others of them start from; with `mines`, whether or not one does.

        Raises:
            ConfigurationError: an unknown name or a wrong file, before anything is computed.
            LayerFailed: a run failed; what was published before it stays.
        """
        load_dataset(dataset)
        ordered = in_order(experiments)
        self.tracker.prepare(dataset)
        with self._alone_and_tidy():
            self._run(dataset, ordered, mining_for(ordered) | (set(experiments) if mines else set()))

    def ingest(self, dataset: str) -> None:
        """From the raw files of `dataset` to its candidate sets.

        Raises:
            ConfigurationError: an unknown name or a wrong file, before anything is computed.
            LayerFailed: the run failed; what was published before it stays.
        """
        load_dataset(dataset)
        with self._alone_and_tidy():
            self.layer("ingest", dataset)

    @contextmanager
    def _alone_and_tidy(self) -> Iterator[None]:
        with _alone(settings.home()):
            self._end_dead_runs()
            self.lake.refresh_warehouse()
            for name, keys in new_partitions(self.instance).items():
                self.instance.add_dynamic_partitions(name, keys)
            yield

    def _run(self, dataset: str, ordered: Sequence[str], mining: Set[str]) -> None:
        self.layer("ingest", dataset)
        for experiment in ordered:
            for job in jobs_of(experiment):
                self.layer(job, dataset, experiment, mines=experiment in mining)
            if is_servable(load_experiment(experiment)):
                self.layer("register", dataset, experiment)
        self.layer("compare", dataset)
        if any(is_servable(load_experiment(name)) for name in ordered):
            self.layer("promote", dataset)

    def study(
        self,
        name: str,
        dataset: str,
        *,
        only: Mapping[str, Sequence[str]] | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        """From the raw files of `dataset` to the report of the study `name`; what is finished is reused.

        Args:
            name: a file in studies/.
            dataset: a file in datasets/.
            only: axis → labels; the others are not run. All, when absent.
            say: for progress; a line on stderr, when absent.

        Raises:
            ConfigurationError: an unknown name or a wrong file, before anything is computed.
            LayerFailed: a run failed; what was published before it stays.
        """
        from orchestration.walks.study import StudyWalk, refuse_unmeasured

        load_dataset(dataset)
        walk = StudyWalk(self, name, dataset, only or {}, say or self.say)
        refuse_unmeasured(walk.grid, name, dataset)
        self.tracker.prepare(dataset)
        with self._alone_and_tidy(), self.tracker.study(dataset, name, walk.grid.study.question) as parent:
            self.tags |= {"borderline/study": name, PARENT_RUN_TAG: parent.run_id}
            self.say(f"{name}: MLflow run {parent.url}")
            walk.run()

    def decide(self, dataset: str, tags: Mapping[str, str]) -> None:
        """Runs the promotion of a data set alone, as a person decided; also beside a run of hours, between its steps.

        Raises:
            ConfigurationError: no such data set.
            LayerFailed: the decision was refused; the champion is who it was.
        """
        load_dataset(dataset)
        self.tracker.prepare(dataset)
        self._end_dead_runs()  # one of them may hold the device, for which the promotion would wait for ever
        if _is_working(settings.home()):
            self.say(f"another run is working in {settings.home()}; the decision comes behind the step it is at")
        self.tags |= tags
        self.layer("promote", dataset)

    def _end_dead_runs(self) -> None:
        for run_id in end_dead_runs(self.instance, self.tracker):
            self.say(f"run {run_id} was left by a process that is gone; it is ended as failed")

    @staticmethod
    def say(text: str) -> None:
        """A line beside those of the steps, which come through Dagster."""
        print(f"{datetime.now():%H:%M:%S}  {text}", file=sys.stderr, flush=True)

    def published(
        self, name: str, *, datasets: Sequence[str] | None = None, say: Callable[[str], None] | None = None
    ) -> None:
        """From raw files to the report of a study of published benchmarks; what is finished is reused.

        Data sets whose raw files are not here, and leaky ones without `accept_leaks`, are named and passed over.

        Args:
            name: a file in studies/, of kind published.
            datasets: some of the study's; all, when absent.
            say: for progress; a line on stderr, when absent.

        Raises:
            ConfigurationError: an unknown name or a wrong file, before anything is computed.
            LayerFailed: a run failed; what was published before it stays.
        """
        from orchestration.walks.papers import PublishedWalk

        walk = PublishedWalk(self, name, datasets, say or self.say)
        with self._alone_and_tidy():
            self.tags |= {"borderline/study": name}
            walk.run()

    def layer(
        self, job: str, dataset: str, experiment: str | None = None, *, study: str | None = None, mines: bool = False
    ) -> None:
        """Runs one job for a data set, for an experiment on it, or for a study.

        The report of published benchmarks is about many data sets; its study takes the place of the one. A supervised
        policy is trained, and with `mines` fills its pool of negatives.

        Raises:
            LayerFailed: the run failed.
        """
        further = {name: key for name, key in (("experiment", experiment), ("study", study)) if key is not None}
        key = dg.MultiPartitionKey({"dataset": dataset, **further}) if further else dataset
        result = self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            partition_key=key,
            asset_selection=None if mines or job != "train_sft" else [dg.AssetKey("sft_policies")],
            tags={**self.tags, "borderline/dataset": dataset, PROCESS_TAG: process_tag()},
            run_config={"loggers": {"console": {"config": {"log_level": "INFO"}}}},
            raise_on_error=False,
        )
        if not result.success:
            raise _failure(result, where=f"The run: {job} of {key}, {result.run_id}.")


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """One walk at a time in a home. The kernel frees the lock of a process that dies."""
    with (home / "run.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            Pipeline.say(f"another run is working in {home}; waiting for it to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_working(home: Path) -> bool:
    """Whether a walk is under way in a home."""
    with (home / "run.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def in_order(experiments: Sequence[str]) -> list[str]:
    """The experiments, what they start from and their rounds before them, and the floors of every leaderboard."""
    missing = [name for name in FLOORS if name not in experiment_keys()]
    if missing:
        raise ConfigurationError(
            f"every leaderboard shows the floors {' and '.join(FLOORS)}, but experiments/{missing[0]}.yaml is missing. "
            f"Write it: two lines, `kind: baseline` and `baseline: {missing[0]}`."
        )
    ordered: list[str] = list(FLOORS)
    for name in experiments:
        experiment = load_experiment(name)
        if isinstance(experiment, PreferenceExperiment) and experiment.start_from not in ordered:
            ordered.append(experiment.start_from)
    for name in (name for key in experiments for name in rounds_to(key)):
        if name not in ordered:
            ordered.append(name)
    starts = [n for n in ordered if not isinstance(load_experiment(n), BaselineExperiment | PreferenceExperiment)]
    baselines = [n for n in ordered if isinstance(load_experiment(n), BaselineExperiment)]
    return [*baselines, *starts, *(n for n in ordered if n not in baselines and n not in starts)]


def mining_for(experiments: Sequence[str]) -> set[str]:
    """The experiments whose pool of negatives one of the others reads; mining can take longer than training."""
    read = {name: load_experiment(name) for name in experiments}
    return {of.start_from for of in read.values() if isinstance(of, PreferenceExperiment)}


def jobs_of(experiment: str) -> list[str]:
    """The jobs that train and evaluate one experiment, or one round of it, when what it starts from is there."""
    kind = load_experiment(experiment).kind
    mining = ["mine"] if previous_round(experiment) is not None else []
    training = [f"train_{kind}"] if kind != "baseline" else []
    return [*mining, *training, "evaluate"]


def _failure(result: dg.ExecuteInProcessResult, where: str) -> LayerFailed:
    """What the step that failed said, without the name of a class."""
    for event in result.all_events:
        if not event.is_step_failure:
            continue
        error = event.step_failure_data.error
        while error is not None and error.cause is not None:
            error = error.cause
        name = (error.cls_name if error else None) or ""
        if name == INTERRUPTED:
            said = f"{event.step_key} was interrupted; what was published before it stays"
            return LayerInterrupted(f"{said}\n{where}")
        description = event.step_failure_data.user_failure_data
        said = description.description if description else None
        said = said or (error.message if error else None) or "no message"
        said = re.sub(rf"^([\w.]*\.)?{re.escape(name)}: ", "", said.strip())
        kind = LayerRefused if name in REFUSALS else LayerFailed
        return kind(f"{event.step_key}: {said}\n{where}")
    of_run = [e.event_specific_data for e in result.all_events if e.event_type == dg.DagsterEventType.RUN_FAILURE]
    if any(isinstance(data, JobFailureData) and data.error and data.error.cls_name == INTERRUPTED for data in of_run):
        return LayerInterrupted(f"interrupted between two steps; what was published before it stays\n{where}")
    return LayerFailed(f"the run failed before its first step\n{where}")
