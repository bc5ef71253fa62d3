"""A home belongs to one walk and one decision at a time; runs of dead processes are ended, others are left alone."""

from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import dagster as dg
import pytest

from contracts.words import PARENT_RUN_TAG
from orchestration.resources.mlflow_runs import RunningRun
from orchestration.walks.dead_runs import LOCK_TAG, end_dead_runs, is_started_under
from orchestration.walks.home_lock import only_decision, only_walk
from orchestration.walks.runner import PARENT_TAG, LayerRunner


class Tracker:
    """Remembers what it was asked to end."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    def end(self, run_id: str) -> None:
        self.ended.append(run_id)

    def running(self) -> list[RunningRun]:
        return []


class Lake:
    """Remembers that its warehouse was refreshed."""

    def __init__(self) -> None:
        self.refreshed = 0

    def refresh_warehouse(self) -> None:
        self.refreshed += 1


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def runner(instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LayerRunner:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "shop.yaml").write_text("source: {kind: demo}\n")
    monkeypatch.setenv("BORDERLINE_PROJECT", str(tmp_path))
    monkeypatch.setenv("BORDERLINE_HOME", str(tmp_path))
    fakes: Any = Lake(), Tracker()
    said: list[str] = []
    return LayerRunner(instance, {}.__getitem__, *fakes, say=said.append)


@dg.job
def walk() -> None:
    pass


def started(instance: dg.DagsterInstance, token: str, **tags: str) -> str:
    every: dict[str, Any] = {LOCK_TAG: token, **tags}
    return instance.create_run_for_job(walk, tags=every, status=dg.DagsterRunStatus.STARTED).run_id


def status_of(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def said_by(runner: LayerRunner) -> list[str]:
    return runner.say.__self__  # type: ignore[attr-defined]


def end_those_of(runner: LayerRunner, token: str) -> None:
    end_dead_runs(runner.instance, runner.tracker, runner.say, lambda r: is_started_under(runner.instance, r, token))


def test_a_run_of_a_dead_process_ends_with_its_tracked_run_and_its_study(runner: LayerRunner) -> None:
    gone = started(runner.instance, "ours", **{"mlflow/run_id": "of the run", PARENT_RUN_TAG: "of the study"})
    elsewhere = started(runner.instance, "of another home", **{"mlflow/run_id": "of another"})
    for _ in range(2):
        end_those_of(runner, "ours")
    assert runner.tracker.ended == ["of the run", "of the study"]  # type: ignore[attr-defined]
    assert status_of(runner.instance, gone) is dg.DagsterRunStatus.FAILURE
    assert status_of(runner.instance, elsewhere) is dg.DagsterRunStatus.STARTED
    [line] = said_by(runner)
    assert gone in line


def test_a_run_that_the_last_version_left_is_dead_whatever_its_host_was_called(runner: LayerRunner) -> None:
    left = started(runner.instance, "the-container-before:4711:123456")
    end_those_of(runner, "ours")
    assert status_of(runner.instance, left) is dg.DagsterRunStatus.FAILURE


def test_the_run_of_a_whole_walk_ends_with_its_process(runner: LayerRunner) -> None:
    """`train`, `retrain` and `study` run under the lock too; the run that repeats a dead one waits for it, alive."""
    first = runner.instance.create_run_for_job(walk, status=dg.DagsterRunStatus.STARTED).run_id
    with only_walk(runner.tagged({PARENT_TAG: first})):
        pass
    tags = runner.instance.get_run_by_id(first).tags  # type: ignore[union-attr]
    copied = {**tags, "dagster/parent_run_id": first, "dagster/root_run_id": first}
    again = runner.instance.create_run_for_job(walk, tags=copied, status=dg.DagsterRunStatus.STARTED).run_id
    with only_walk(runner.tagged({PARENT_TAG: again})):
        assert status_of(runner.instance, first) is dg.DagsterRunStatus.FAILURE
        assert status_of(runner.instance, again) is dg.DagsterRunStatus.STARTED
    with only_walk(runner):
        assert status_of(runner.instance, again) is dg.DagsterRunStatus.FAILURE


def test_a_run_that_was_repeated_in_the_ui_is_not_the_dead_one(runner: LayerRunner) -> None:
    first = started(runner.instance, "ours")
    end_those_of(runner, "ours")
    again = started(runner.instance, "ours", **{"dagster/parent_run_id": first, "dagster/root_run_id": first})
    end_those_of(runner, "ours")
    assert status_of(runner.instance, first) is dg.DagsterRunStatus.FAILURE
    assert status_of(runner.instance, again) is dg.DagsterRunStatus.STARTED


def test_a_walk_tags_its_runs_so_that_the_next_walk_knows_them_as_dead(runner: LayerRunner) -> None:
    with only_walk(runner) as first:
        left = started(runner.instance, first.tags[LOCK_TAG])
    assert LOCK_TAG not in runner.tags
    with only_walk(runner) as second:
        assert second.tags[LOCK_TAG] == first.tags[LOCK_TAG]
        assert status_of(runner.instance, left) is dg.DagsterRunStatus.FAILURE
    assert any(left in line for line in said_by(runner))


def test_a_walk_finds_a_warehouse_and_a_partition_for_each_file(runner: LayerRunner) -> None:
    with only_walk(runner):
        assert runner.lake.refreshed == 1  # type: ignore[attr-defined]
        assert runner.instance.get_dynamic_partitions("dataset") == ["shop"]


def test_a_second_walk_waits_for_the_first_and_says_so(runner: LayerRunner) -> None:
    order: list[str] = []

    def later() -> None:
        with only_walk(runner):
            order.append("second")

    with only_walk(runner):
        second = Thread(target=later, daemon=True)
        second.start()
        second.join(timeout=0.5)
        order.append("first")
    second.join(timeout=30)
    assert order == ["first", "second"]
    assert any("waiting" in line for line in said_by(runner))


def test_a_decision_leaves_the_runs_of_a_live_walk_alone(runner: LayerRunner) -> None:
    with only_walk(runner) as walking:
        at_work = started(runner.instance, walking.tags[LOCK_TAG])
        with only_decision(runner) as deciding:
            assert deciding.tags[LOCK_TAG] != walking.tags[LOCK_TAG]
            assert status_of(runner.instance, at_work) is dg.DagsterRunStatus.STARTED


def test_a_decision_ends_the_dead_decisions_before_it(runner: LayerRunner) -> None:
    with only_decision(runner) as first:
        left = started(runner.instance, first.tags[LOCK_TAG])
    with only_decision(runner):
        assert status_of(runner.instance, left) is dg.DagsterRunStatus.FAILURE
