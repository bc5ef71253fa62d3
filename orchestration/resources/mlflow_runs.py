"""Runs and their curves in MLflow. The parent owns the run: however a command ends, it ends with its metrics."""

import json
import platform
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from assets.lake.ports import RunStatus, TrackedRun
from assets.lake.versions import Version
from orchestration.resources.mlflow_pages import page
from orchestration.resources.mlflow_registry import MlflowRegistry

FLUSH_S = 2.0
BATCH = 500
ATTEMPTS = 5
NOTE_LENGTH = 8000
"""What the value of a tag holds; a description is one."""


ENDED_TAG = "borderline.ended_because"
"""On a run that did not end by itself: the reason why it was ended."""


@dataclass(frozen=True)
class RunningRun:
    """A run that MLflow shows as running."""

    run_id: str
    dagster_run_id: str | None
    """None for the run of a study."""
    started_at: float
    """Seconds since 1970."""


class MlflowTracker(MlflowRegistry):
    """The Tracker: runs, curves and model versions in MLflow."""

    @contextmanager
    def tracked(
        self,
        dataset: str,
        experiment: str,
        *,
        params: Mapping[str, str],
        tags: Mapping[str, str],
        config: str = "",
        inputs: Sequence[Version] = (),
    ) -> Iterator["MlflowRun"]:
        """See `assets.lake.ports.Tracker`."""
        client = self.client()
        experiment_id = self.experiment_id(dataset)
        named = {**tags, **self.links(tags), "dataset": dataset, "experiment": experiment}
        run = client.create_run(experiment_id, run_name=experiment, tags=named)
        live = MlflowRun(client, TrackedRun(run.info.run_id, self._run_url(experiment_id, run.info.run_id)))
        status: RunStatus = "KILLED"
        try:
            client.log_batch(run.info.run_id, params=[_entities().Param(k, v[:6000]) for k, v in params.items()])
            if inputs:
                client.log_inputs(run.info.run_id, datasets=list(map(_dataset_input, inputs)))
            files = {"experiment.yaml": config, "environment.txt": installed_packages()}
            _log_texts(client, run.info.run_id, {name: text for name, text in files.items() if text})
            yield live
            status = "FINISHED"
        except Exception as error:
            exit_code = getattr(error, "exit_code", 1)
            status = "KILLED" if exit_code < 0 else "FAILED"
            raise
        finally:  # an interrupt is not an Exception: it leaves KILLED
            try:
                live.flush(final=True)
            finally:
                client.set_terminated(run.info.run_id, status)

    @contextmanager
    def study(self, dataset: str, study: str, question: str) -> Iterator[TrackedRun]:
        """See `assets.lake.ports.Tracker`."""
        client, experiment_id = self.client(), self.experiment_id(dataset)
        found = client.search_runs([experiment_id], f"tags.kind = 'study' AND tags.study = '{study}'", max_results=1)
        tags = {"kind": "study", "study": study, "dataset": dataset, "mlflow.note.content": question}
        run = found[0] if found else client.create_run(experiment_id, run_name=study, tags=tags)
        run_id = run.info.run_id
        client.update_run(run_id, status="RUNNING")
        status: RunStatus = "KILLED"
        try:
            yield TrackedRun(run_id, self._run_url(experiment_id, run_id))
            status = "FINISHED"
        except Exception:
            status = "FAILED"
            raise
        finally:
            client.set_terminated(run_id, status)

    def find(self, run_id: str) -> TrackedRun | None:
        """See `assets.lake.ports.Tracker`."""
        run = self._active(run_id)
        return run and TrackedRun(run_id, self._run_url(run.info.experiment_id, run_id))

    def end(self, run_id: str, status: RunStatus = "KILLED", why: str = "its process is gone") -> None:
        """Ends a run that is still marked as running, and tags it with the reason.

        Raises:
            TrackerDown: nobody answers.
        """
        with self.answering():
            run = self._active(run_id)
            if run and run.info.status == "RUNNING":
                self.client().set_tag(run_id, ENDED_TAG, why)
                self.client().set_terminated(run_id, status)

    def running(self) -> list[RunningRun]:
        """Every run of a data set that is marked as running, whether or not a process works on it.

        Raises:
            TrackerDown: nobody answers.
        """
        with self.answering():
            client = self.client()
            ids = [each.experiment_id for each in client.search_experiments(filter_string="name LIKE 'borderline/%'")]
            found = client.search_runs(ids, "attributes.status = 'RUNNING'") if ids else []
        return [
            RunningRun(run.info.run_id, run.data.tags.get("dagster.run_id"), run.info.start_time / 1000)
            for run in found
        ]

    def summarise(
        self, run_id: str, *, metrics: Mapping[str, float], tags: Mapping[str, str], artifacts: Sequence[Path]
    ) -> None:
        """See `assets.lake.ports.Tracker`."""
        client, now = self.client(), int(time.time() * 1000)
        entities = _entities()
        client.log_batch(
            run_id,
            metrics=[entities.Metric(name, value, now, 0) for name, value in metrics.items()],
            tags=[entities.RunTag(name, value[:8000]) for name, value in tags.items()],
        )
        for path in artifacts:
            client.log_artifact(run_id, str(path))

    def attach(
        self, dataset: str, name: str, *, note: str, tags: Mapping[str, str], files: Sequence[Path]
    ) -> TrackedRun:
        """See `assets.lake.ports.Tracker`."""
        client, experiment_id = self.client(), self.experiment_id(dataset)
        found = client.search_runs([experiment_id], f"tags.`borderline.page` = '{name}'", max_results=1)
        if found:
            run_id = found[0].info.run_id
        else:
            known_by = {"borderline.page": name, "dataset": dataset}
            run_id = client.create_run(experiment_id, run_name=name, tags=known_by).info.run_id
            client.set_terminated(run_id, "FINISHED")
        for tag, value in {**tags, "mlflow.note.content": note[:NOTE_LENGTH]}.items():
            client.set_tag(run_id, tag, value)
        for path in files:
            client.log_artifact(run_id, str(path))
        return TrackedRun(run_id, self._run_url(experiment_id, run_id))

    def _active(self, run_id: str) -> Any | None:
        """MLflow's run; None when there is none, or somebody deleted it: MLflow takes nothing for it any more."""
        from mlflow.exceptions import MlflowException

        try:
            run = self.client().get_run(run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return run if run.info.lifecycle_stage == "active" else None

    def _run_url(self, experiment_id: str, run_id: str) -> str:
        return page(self.ui_url, "experiments", experiment_id, "runs", run_id)


class MlflowRun:
    """A run that is going on: points are buffered and sent in batches, and an outage loses none of them."""

    def __init__(self, client: Any, tracked: TrackedRun) -> None:
        self.client, self.tracked = client, tracked
        self.buffer: list[Any] = []
        self.tags: list[Any] = []
        self.sent_at = time.monotonic()

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """See `assets.lake.ports.LiveRun`."""
        now = int(time.time() * 1000)
        self.buffer += [_entities().Metric(name, value, now, step) for name, value in metrics.items()]
        if time.monotonic() - self.sent_at > FLUSH_S:
            self.flush(final=False)

    def tag(self, tags: Mapping[str, str]) -> None:
        """See `assets.lake.ports.LiveRun`."""
        self.tags += [_entities().RunTag(name, value) for name, value in tags.items()]

    def flush(self, *, final: bool) -> None:
        """Sends what is buffered. A failure keeps it for the next time; at the end it is tried again, then raised."""
        from mlflow.exceptions import MlflowException

        for attempt in range(ATTEMPTS if final else 1):
            try:
                while self.buffer or self.tags:
                    self.client.log_batch(self.tracked.run_id, metrics=self.buffer[:BATCH], tags=self.tags)
                    del self.buffer[:BATCH], self.tags[:]
                break
            except MlflowException as error:
                if final and attempt == ATTEMPTS - 1:
                    raise
                warnings.warn(f"MLflow took no metrics ({error}); {len(self.buffer)} points wait.", stacklevel=2)
                if final:
                    time.sleep(2.0**attempt)
        self.sent_at = time.monotonic()


def _entities() -> Any:
    from mlflow import entities

    return entities


def _dataset_input(version: Version) -> Any:
    entities = _entities()
    rows = version.manifest["metadata"].get("dagster/row_count")
    profile = {"num_rows": rows["value"]} if rows else {}
    dataset = entities.Dataset(
        name=version.asset,
        digest=version.data_version,
        source_type="local",
        source=json.dumps({"uri": str(version.folder), "partition": "|".join(version.partition)}),
        profile=json.dumps(profile),
    )
    return entities.DatasetInput(dataset, [entities.InputTag("mlflow.data.context", "training")])


@cache
def installed_packages() -> str:
    """Python and every installed package with its version, as a requirements file."""
    found = {f"{each.name}=={each.version}" for each in distributions() if each.name}
    return (
        "\n".join([f"# Python {platform.python_version()}, {platform.platform()}", *sorted(found, key=str.lower)])
        + "\n"
    )


def _log_texts(client: Any, run_id: str, files: Mapping[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        client.log_artifacts(run_id, folder)
