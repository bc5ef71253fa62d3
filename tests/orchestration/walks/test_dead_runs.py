"""MLflow runs that are left as running: ended where the Dagster run is over, left where it goes on. On a real store."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from contracts.words import PARENT_RUN_TAG
from orchestration.automation.sensors import orphaned_mlflow_runs_are_ended
from orchestration.resources.mlflow_runs import ENDED_TAG, MlflowTracker
from orchestration.walks.dead_runs import LONGEST_S
from orchestration.walks.home_lock import only_walk
from orchestration.walks.runner import LayerRunner


class Lake:
    """That has nothing to refresh."""

    def refresh_warehouse(self) -> None:
        pass


@dg.job
def training() -> None:
    pass


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> MlflowTracker:
    folder = tmp_path_factory.mktemp("mlflow")
    return MlflowTracker(tracking_uri=f"sqlite:///{folder}/mlflow.db", artifact_root=(folder / "artifacts").as_uri())


@pytest.fixture
def runner(tracker: MlflowTracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LayerRunner]:
    (tmp_path / "datasets").mkdir()
    monkeypatch.setenv("BORDERLINE_PROJECT", str(tmp_path))
    monkeypatch.setenv("BORDERLINE_HOME", str(tmp_path))
    lake: Any = Lake()
    with dg.DagsterInstance.ephemeral() as instance:
        yield LayerRunner(instance, {}.__getitem__, lake, tracker, say=lambda _: None)


def left(tracker: MlflowTracker, dagster_run_id: str | None, *, seconds_ago: float = 0) -> str:
    """A tracked run whose end MLflow did not hear of."""
    tags = {} if dagster_run_id is None else {"dagster.run_id": dagster_run_id}
    at = int((time.time() - seconds_ago) * 1000)
    return tracker.client().create_run(tracker.experiment_id("shop"), start_time=at, tags=tags).info.run_id


def of(runner: LayerRunner, status: dg.DagsterRunStatus) -> str:
    return runner.instance.create_run_for_job(training, status=status).run_id


def status_of(tracker: MlflowTracker, run_id: str) -> tuple[str, str | None]:
    run = tracker.client().get_run(run_id)
    return run.info.status, run.data.tags.get(ENDED_TAG)


def test_the_next_walk_ends_what_a_finished_dagster_run_left(runner: LayerRunner, tracker: MlflowTracker) -> None:
    failed, canceled = of(runner, dg.DagsterRunStatus.FAILURE), of(runner, dg.DagsterRunStatus.CANCELED)
    orphans = left(tracker, failed), left(tracker, canceled)
    alive = left(tracker, of(runner, dg.DagsterRunStatus.STARTED))
    with only_walk(runner):
        first, second = (status_of(tracker, run) for run in orphans)
        assert first[0] == "FAILED"
        assert first[1] is not None
        assert failed in first[1]
        assert second[0] == "KILLED"
        assert status_of(tracker, alive) == ("RUNNING", None)


def test_a_run_of_an_unknown_dagster_run_is_ended_when_it_cannot_go_on_any_more(
    runner: LayerRunner, tracker: MlflowTracker
) -> None:
    """A server may be shared: a young one may be at work for another instance."""
    young, old = left(tracker, "not here"), left(tracker, "not here", seconds_ago=LONGEST_S + 60)
    with only_walk(runner):
        assert status_of(tracker, young) == ("RUNNING", None)
        assert status_of(tracker, old)[0] == "KILLED"


def test_the_run_of_a_study_is_ended_by_the_next_walk_of_the_same_instance(
    runner: LayerRunner, tracker: MlflowTracker
) -> None:
    ours, of_another = left(tracker, None), left(tracker, None)
    runner.instance.create_run_for_job(training, tags={PARENT_RUN_TAG: ours}, status=dg.DagsterRunStatus.SUCCESS)
    with only_walk(runner):
        assert status_of(tracker, ours)[0] == "KILLED"
        assert status_of(tracker, of_another)[0] == "RUNNING"


def test_the_sensor_does_the_same_but_leaves_studies(runner: LayerRunner, tracker: MlflowTracker) -> None:
    orphan, study = left(tracker, of(runner, dg.DagsterRunStatus.FAILURE)), left(tracker, None)
    runner.instance.create_run_for_job(training, tags={PARENT_RUN_TAG: study}, status=dg.DagsterRunStatus.SUCCESS)
    context = dg.build_sensor_context(runner.instance, resources={"tracker": tracker})
    answer = orphaned_mlflow_runs_are_ended(context)
    assert isinstance(answer, dg.SkipReason)
    assert orphan in (answer.skip_message or "")
    assert status_of(tracker, orphan)[0] == "FAILED"
    assert status_of(tracker, study)[0] == "RUNNING"
