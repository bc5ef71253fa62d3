"""The place where MLflow keeps runs and models: created whole, opened once, refused in one sentence when unusable.

What is recorded there belongs to `mlflow_runs`, and versions of models to `mlflow_registry`.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import PrivateAttr

from contracts.durable import commit, staging_path
from orchestration.resources.mlflow_pages import VIEW_TAG, leaderboard_view

LOCKED_S = 20.0
"""How long a store that another process is writing to is waited for."""
SQLITE = "sqlite:///"


class MovedHome(RuntimeError):
    """The store of runs was made for another folder; the message names both."""


class TrackerDown(RuntimeError):
    """MLflow does not answer; the message says where it was looked for."""


class MlflowStore(dg.ConfigurableResource):
    """A connection to MLflow; MLflow itself is imported on first use."""

    tracking_uri: str
    artifact_root: str = ""
    """Folder for artifacts; only for a store without a server."""
    ui_url: str = "http://127.0.0.1:5000"
    """Where people open MLflow; links point there."""

    dagster_url: str = "http://127.0.0.1:3000"
    """Where people open Dagster; runs and model versions link to what made them there."""

    _ready: Any = PrivateAttr(default=None)

    def prepare(self, dataset: str) -> None:
        """Creates the experiment of a data set, unless it is there: what is wrong with the store shows before any work.

        Raises:
            MovedHome: it writes to another folder.
            TrackerDown: nobody answers, or not as MLflow does; or its file is damaged, locked or cannot be written.
        """
        with self.answering():
            self.experiment_id(dataset)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Within, a store that cannot be reached or written is one sentence.

        Raises:
            TrackerDown: nobody answers, or not as MLflow does; or its file is damaged, locked or cannot be written.
        """
        _refuse_unusable_file(self.tracking_uri)
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (MlflowException, SQLAlchemyError) as error:
            said = " ".join(str(error).split())[:300]
            raise TrackerDown(
                f"MLflow at {self.tracking_uri} does not answer ({said}). Nothing was computed or moved. "
                "Start it, or unset MLFLOW_TRACKING_URI: then runs and models are kept in the home."
            ) from error

    def client(self) -> Any:
        """MLflow's client, the same at every call."""
        if self._ready is None:
            # Without these a call to a server that is gone blocks for minutes before it fails.
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
            os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
            os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
            os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
            from mlflow import MlflowClient

            create_store(self.tracking_uri)
            self._ready = MlflowClient(tracking_uri=self.tracking_uri, registry_uri=self.tracking_uri)
        return self._ready

    def experiment_id(self, dataset: str) -> str:
        """The MLflow experiment of a data set: created when it is missing, restored when somebody deleted it.

        Raises:
            MovedHome: it writes to another folder.
        """
        client, name = self.client(), f"borderline/{dataset}"
        found = client.get_experiment_by_name(name)
        if found is not None:
            if self.artifact_root and not found.artifact_location.startswith(f"{self.artifact_root}/"):
                raise MovedHome(
                    f"MLflow keeps the artifacts of {name} in {found.artifact_location}, but this home is "
                    f"{self.artifact_root.removesuffix('/mlartifacts')}. A home cannot be moved with its MLflow store, "
                    "which holds absolute paths: move it back, or remove mlflow.db and mlartifacts/ from it; the next "
                    "run registers again what the lake holds."
                )
            if found.lifecycle_stage == "deleted":  # MLflow takes no run into it, and its name cannot be used again
                client.restore_experiment(found.experiment_id)
                dg.get_dagster_logger().warning(f"the experiment {name} was deleted in MLflow; it is restored")
            if found.tags.get(VIEW_TAG) != leaderboard_view():  # an experiment of an earlier version
                client.set_experiment_tag(found.experiment_id, VIEW_TAG, leaderboard_view())
            return found.experiment_id
        location = f"{self.artifact_root}/{dataset}" if self.artifact_root else None
        from mlflow.exceptions import MlflowException

        try:
            return client.create_experiment(name, artifact_location=location, tags={VIEW_TAG: leaderboard_view()})
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another process was faster
                raise
            return client.get_experiment_by_name(name).experiment_id

    def links(self, tags: Mapping[str, str]) -> dict[str, str]:
        """The page of the Dagster run that made something: a tag, and a description that can be clicked."""
        if "dagster.run_id" not in tags:
            return {}
        url = f"{self.dagster_url}/runs/{tags['dagster.run_id']}"
        what = tags.get("dagster.partition", "")
        return {"dagster.run_url": url, "mlflow.note.content": f"Made by [Dagster's run]({url}) of {what}"}


def create_store(tracking_uri: str) -> None:
    """Creates the database in a file, unless it is there: beside its place, so that no process sees half of its tables.

    MLflow creates them one by one where they stay: a second process then fails, and a killed one leaves a store that
    can never be opened.
    """
    path = Path(tracking_uri.removeprefix(SQLITE))
    if not tracking_uri.startswith(SQLITE) or path.exists():
        return
    from mlflow import MlflowClient

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():  # another process was faster
            return
        for leftover in path.parent.glob(f".{path.name}.*.tmp*"):  # of a killed process
            leftover.unlink()
        staged = staging_path(path)
        MlflowClient(tracking_uri=f"{SQLITE}{staged}")
        commit(staged, path)


def _refuse_unusable_file(tracking_uri: str) -> None:
    """Refuses a store in a file that is not a database or cannot be written; MLflow itself tries again for minutes."""
    path = Path(tracking_uri.removeprefix(SQLITE))
    if not tracking_uri.startswith(SQLITE) or not path.exists():
        return
    try:
        with closing(sqlite3.connect(path, timeout=LOCKED_S, isolation_level=None)) as store:
            store.execute("SELECT count(*) FROM sqlite_master")
            store.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:  # locked, read-only, a folder
        raise TrackerDown(
            f"{path} cannot be written ({error}). Nothing was computed or moved. End "
            "the process that holds it, or give back the right to write it."
        ) from error
    except sqlite3.DatabaseError as error:
        raise TrackerDown(
            f"{path} is not a database of MLflow ({error}). Nothing was computed or moved. Bring back a "
            "copy of it, or remove it and mlartifacts/ from the home; the next run registers again what the lake holds."
        ) from error
