"""The Tracker and registry on MLflow. The parent owns the run: however a command ends, it ends with its metrics."""

import json
import os
import platform
import sqlite3
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import dagster as dg
from pydantic import PrivateAttr

from assets.lake.ports import ModelCard, RegisteredVersion, RunStatus, TrackedRun, VersionGone
from assets.lake.versions import Version

FLUSH_S = 2.0
BATCH = 500
ATTEMPTS = 5
LOCKED_S = 20.0
"""How long a store that another process is writing to is waited for."""
NOTE_LENGTH = 8000
"""What the value of a tag holds; a description is one."""


class MovedHome(RuntimeError):
    """The store of runs was made for another folder; the message names both."""


class TrackerDown(RuntimeError):
    """MLflow does not answer; the message says where it was looked for."""


class MlflowTracker(dg.ConfigurableResource):
    """Runs, curves and model versions in MLflow; MLflow itself is imported on first use."""

    tracking_uri: str
    artifact_root: str = ""
    """Folder for artifacts; only for a store without a server."""
    ui_url: str = "http://127.0.0.1:5000"
    """Where people open MLflow; links point there."""

    dagster_url: str = "http://127.0.0.1:3000"
    """Where people open Dagster; runs and model versions link to what made them there."""

    _ready: Any = PrivateAttr(default=None)

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
        client = self._client()
        experiment_id = self._experiment_id(dataset)
        named = {**tags, **self._links(tags), "dataset": dataset, "experiment": experiment}
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
        finally:  # an interrupt is no Exception: it leaves KILLED
            try:
                live.flush(final=True)
            finally:
                client.set_terminated(run.info.run_id, status)

    @contextmanager
    def study(self, dataset: str, study: str, question: str) -> Iterator[TrackedRun]:
        """See `assets.lake.ports.Tracker`."""
        client, experiment_id = self._client(), self._experiment_id(dataset)
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

    def prepare(self, dataset: str) -> None:
        """Creates the experiment of a data set, unless it is there: what is wrong with the store shows before any work.

        Raises:
            MovedHome: it writes to another folder.
            TrackerDown: nobody answers, or not as MLflow does; or its file is damaged, locked or cannot be written.
        """
        _refuse_unusable_file(self.tracking_uri)
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            self._experiment_id(dataset)
        except (MlflowException, SQLAlchemyError) as error:
            said = " ".join(str(error).split())[:300]
            raise TrackerDown(
                f"MLflow at {self.tracking_uri} must answer, it does not ({said}). Nothing was computed or moved. "
                "Start it, or unset MLFLOW_TRACKING_URI: then runs and models are kept in the home."
            ) from error

    def find(self, run_id: str) -> TrackedRun | None:
        """See `assets.lake.ports.Tracker`."""
        from mlflow.exceptions import MlflowException

        try:
            run = self._client().get_run(run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return TrackedRun(run_id, self._run_url(run.info.experiment_id, run_id))

    def end(self, run_id: str) -> None:
        """Ends a run as KILLED that is still marked as running: whoever owned it is gone."""
        from mlflow.exceptions import MlflowException

        client = self._client()
        try:
            if client.get_run(run_id).info.status == "RUNNING":
                client.set_terminated(run_id, "KILLED")
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise

    def summarise(
        self, run_id: str, *, metrics: Mapping[str, float], tags: Mapping[str, str], artifacts: Sequence[Path]
    ) -> None:
        """See `assets.lake.ports.Tracker`."""
        client, now = self._client(), int(time.time() * 1000)
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
        client, experiment_id = self._client(), self._experiment_id(dataset)
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

    def register(self, run_id: str, policy: Path, catalogue: Path, card: ModelCard) -> str:
        """See `assets.lake.ports.Tracker`."""
        client = self._client()
        import mlflow
        from mlflow.exceptions import MlflowException

        from orchestration.serving.packaging import log_recommender

        mlflow.set_tracking_uri(self.tracking_uri)
        model = log_recommender(run_id, policy, catalogue, card)
        now = int(time.time() * 1000)
        measured = [_entities().Metric(k, value, now, 0, model_id=model.model_id) for k, value in card.metrics.items()]
        client.log_batch(run_id, metrics=measured)  # again, but now they are the model's too
        name = _model_name(card.dataset)
        try:
            client.create_registered_model(name, description=f"Recommenders trained on {card.dataset} by Borderline.")
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        tags = {
            "experiment": card.experiment,
            **card.tags,
            **{f"metric.{key}": f"{value:.6f}" for key, value in card.metrics.items()},
        }
        links = self._links(card.tags)
        version = client.create_model_version(
            name,
            model.model_uri,
            run_id=run_id,
            tags={**tags, **{key: url for key, url in links.items() if key == "dagster.run_url"}},
            description=links.get("mlflow.note.content"),
            model_id=model.model_id,
        )
        return str(version.version)

    def version_exists(self, dataset: str, version: str) -> bool:
        """See `assets.lake.ports.Tracker`."""
        from mlflow.exceptions import MlflowException

        client = self._client()
        try:
            folder = client.get_model_version_download_uri(_model_name(dataset), version)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise
        return not self.artifact_root or (Path(unquote(urlparse(folder).path)) / "MLmodel").exists()

    def versions(self, dataset: str) -> list[RegisteredVersion]:
        """See `assets.lake.ports.Tracker`."""
        client, name = self._client(), _model_name(dataset)
        found = client.search_model_versions(f"name = '{name}'", max_results=10_000)
        aliases: dict[str, list[str]] = {}
        if found:
            for alias, version in client.get_registered_model(name).aliases.items():
                aliases.setdefault(str(version), []).append(alias)
        return [
            RegisteredVersion(
                str(each.version),
                each.run_id,
                tuple(sorted(aliases.get(str(each.version), []))),
                dict(each.tags),
                self.version_url(dataset, str(each.version)),
            )
            for each in sorted(found, key=lambda each: int(each.version))
        ]

    def fetch(self, dataset: str, version: str, folder: Path) -> Path:
        """See `assets.lake.ports.Tracker`."""
        client = self._client()
        import mlflow
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        mlflow.set_tracking_uri(self.tracking_uri)
        folder.mkdir(parents=True)
        try:
            uri = client.get_model_version_download_uri(_model_name(dataset), version)
            files = Path(download_artifacts(uri, dst_path=str(folder))) / "artifacts"
        except (MlflowException, OSError) as error:
            raise _gone(dataset, version, str(error)) from error
        if not (files / "policy").is_dir() or not (files / "catalogue.parquet").is_file():
            raise _gone(dataset, version, "its artifacts hold no policy and catalogue")
        return files

    def champion(self, dataset: str) -> str | None:
        """See `assets.lake.ports.Tracker`."""
        from mlflow.exceptions import MlflowException

        try:
            return str(self._client().get_model_version_by_alias(_model_name(dataset), "champion").version)
        except MlflowException as error:
            # 3.17 answers a missing alias with INVALID_PARAMETER_VALUE, a missing model with RESOURCE_DOES_NOT_EXIST
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise

    def set_alias(self, dataset: str, alias: str, version: str, tags: Mapping[str, str]) -> None:
        """See `assets.lake.ports.Tracker`."""
        client, name = self._client(), _model_name(dataset)
        for key, value in tags.items():
            client.set_model_version_tag(name, version, key, value)
        client.set_registered_model_alias(name, alias, version)

    def version_url(self, dataset: str, version: str) -> str:
        """See `assets.lake.ports.Tracker`."""
        return f"{self.ui_url}/#/models/{_model_name(dataset)}/versions/{version}"

    def _client(self) -> Any:
        if self._ready is None:
            # Without these a call to a server that is gone blocks for minutes before it fails.
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
            os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
            os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
            os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
            from mlflow import MlflowClient

            self._ready = MlflowClient(tracking_uri=self.tracking_uri, registry_uri=self.tracking_uri)
        return self._ready

    def _experiment_id(self, dataset: str) -> str:
        client, name = self._client(), f"borderline/{dataset}"
        found = client.get_experiment_by_name(name)
        if found is not None:
            if self.artifact_root and not found.artifact_location.startswith(f"{self.artifact_root}/"):
                raise MovedHome(
                    f"MLflow keeps the artifacts of {name} in {found.artifact_location}, but this home is "
                    f"{self.artifact_root.removesuffix('/mlartifacts')}. A home cannot be moved with its MLflow store, "
                    "which holds absolute paths: move it back, or remove mlflow.db and mlartifacts/ from it; the next "
                    "run registers again what the lake holds."
                )
            return found.experiment_id
        location = f"{self.artifact_root}/{dataset}" if self.artifact_root else None
        from mlflow.exceptions import MlflowException

        try:
            return client.create_experiment(name, artifact_location=location)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another process was faster
                raise
            return client.get_experiment_by_name(name).experiment_id

    def _links(self, tags: Mapping[str, str]) -> dict[str, str]:
        """The page of the Dagster run that made something: a tag, and a description that can be clicked."""
        if "dagster.run_id" not in tags:
            return {}
        url = f"{self.dagster_url}/runs/{tags['dagster.run_id']}"
        what = tags.get("dagster.partition", "")
        return {"dagster.run_url": url, "mlflow.note.content": f"Made by [Dagster's run]({url}) of {what}"}

    def _run_url(self, experiment_id: str, run_id: str) -> str:
        return f"{self.ui_url}/#/experiments/{experiment_id}/runs/{run_id}"


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


def _refuse_unusable_file(tracking_uri: str) -> None:
    """Refuses a store in a file that is no database or cannot be written; MLflow itself tries again for minutes."""
    path = Path(tracking_uri.removeprefix("sqlite:///"))
    if not tracking_uri.startswith("sqlite:///") or not path.exists():
        return
    try:
        with closing(sqlite3.connect(path, timeout=LOCKED_S, isolation_level=None)) as store:
            store.execute("SELECT count(*) FROM sqlite_master")
            store.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:  # locked, read-only, a folder
        raise TrackerDown(
            f"{path} must be a database that can be written, it is not ({error}). Nothing was computed or moved. End "
            "the process that holds it, or give back the right to write it."
        ) from error
    except sqlite3.DatabaseError as error:
        raise TrackerDown(
            f"{path} must be the database of MLflow, it is not ({error}). Nothing was computed or moved. Bring back a "
            "copy of it, or remove it and mlartifacts/ from the home; the next run registers again what the lake holds."
        ) from error


def _gone(dataset: str, version: str, reason: str) -> VersionGone:
    return VersionGone(
        f"version {version} of {_model_name(dataset)} must be readable to be compared with, it is not ({reason}). "
        f"Nothing was moved. Bring its files back, or choose another champion: borderline promote --dataset {dataset} "
        "--version N --reason …"
    )


def _model_name(dataset: str) -> str:
    return f"borderline-{dataset}"
