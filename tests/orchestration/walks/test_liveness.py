"""Runs whose process is gone are ended, here and in the tracker; others are left alone."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from assets.lake.ports import PARENT_RUN_TAG
from orchestration.walks.liveness import PROCESS_TAG, end_dead_runs, process_tag


class Tracker:
    def __init__(self) -> None:
        self.ended: list[str] = []

    def end(self, run_id: str) -> None:
        self.ended.append(run_id)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@dg.job
def walk() -> None:
    pass


def started(instance: dg.DagsterInstance, process: str, **tags: str) -> str:
    every: dict[str, Any] = {PROCESS_TAG: process, **tags}
    return instance.create_run_for_job(walk, tags=every, status=dg.DagsterRunStatus.STARTED).run_id


def test_a_run_of_a_dead_process_ends_with_its_tracked_run_and_its_study(instance: dg.DagsterInstance) -> None:
    host, pid, _ = process_tag().rsplit(":", 2)
    gone = started(instance, f"{host}:{pid}:1", **{"mlflow/run_id": "of the run", PARENT_RUN_TAG: "of the study"})
    alive = started(instance, process_tag(), **{"mlflow/run_id": "of another"})
    elsewhere = started(instance, "another.machine:1:1")
    tracker = Tracker()
    assert end_dead_runs(instance, tracker) == [gone]
    assert tracker.ended == ["of the run", "of the study"]
    statuses = {run.run_id: run.status for run in instance.get_runs()}
    assert statuses == {
        gone: dg.DagsterRunStatus.FAILURE,
        alive: dg.DagsterRunStatus.STARTED,
        elsewhere: dg.DagsterRunStatus.STARTED,
    }
    assert end_dead_runs(instance, tracker) == []


def test_a_run_that_was_repeated_in_the_ui_is_not_the_dead_one(instance: dg.DagsterInstance) -> None:
    host, pid, _ = process_tag().rsplit(":", 2)
    dead = f"{host}:{pid}:1"
    first = started(instance, dead)
    assert end_dead_runs(instance, Tracker()) == [first]
    again = started(instance, dead, **{"dagster/parent_run_id": first, "dagster/root_run_id": first})
    repeated = instance.get_run_by_id(again)
    assert repeated is not None
    assert repeated.tags["dagster/parent_run_id"] == first
    assert end_dead_runs(instance, Tracker()) == []
