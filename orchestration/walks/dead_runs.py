"""End the Dagster runs whose process is gone, and the runs in MLflow that nobody works on any more.

The caller says how it knows that a process is gone.
"""

import re
import time
from collections.abc import Callable

import dagster as dg

from assets.lake.ports import RunStatus
from contracts.words import PARENT_RUN_TAG
from orchestration.resources.mlflow_runs import MlflowTracker, RunningRun

LOCK_TAG = "borderline/process"
"""The run tag that names the lock which the run's process holds, by the token in the lock's file."""
UNFINISHED = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
OF_VERSION_0_1 = re.compile(r"[^:/]*:\d+:\d+")
"""What version 0.1 wrote into the tag: host name, process and start. It held `run.lock` too."""

LONGEST_S = 48 * 3600.0
"""How long a run may take; `run_monitoring` of dagster.yaml ends longer ones."""

IsDead = Callable[[dg.DagsterRun], bool]


def end_dead_runs(
    instance: dg.DagsterInstance, tracker: MlflowTracker, say: Callable[[str], None], is_dead: IsDead
) -> None:
    """Fail the unfinished runs that `is_dead` picks; one that somebody was cancelling is cancelled.

    Their tracked runs, and those of the studies that they belong to, end as KILLED.
    """
    dead = [run for run in instance.get_runs(filters=dg.RunsFilter(statuses=UNFINISHED)) if is_dead(run)]
    for run in dead:
        said = "The process of this run is gone."
        if run.status is dg.DagsterRunStatus.CANCELING:  # a failed run would be repeated
            instance.report_run_canceled(run, said)
        else:
            instance.report_run_failed(run, said)
        say(f"run {run.run_id} was left by a process that is gone; it is ended as failed")
    for run in dead:
        for tag in ("mlflow/run_id", PARENT_RUN_TAG):
            if tag in run.tags:
                tracker.end(run.tags[tag])


def end_orphaned(
    instance: dg.DagsterInstance, tracker: MlflowTracker, say: Callable[[str], None], *, alone: bool
) -> None:
    """End the runs in MLflow that are marked as running although the Dagster run that made them is over.

    They are left where MLflow did not answer at the end of a training.

    Args:
        instance: knows the Dagster runs.
        tracker: knows the tracked runs.
        say: takes a line for each that is ended.
        alone: whether the caller holds the lock of walks, so that no study of this instance goes on.

    Raises:
        TrackerDown: MLflow does not answer.
    """
    for tracked in tracker.running():
        if tracked.dagster_run_id is not None:
            ended = _end_of(instance.get_run_by_id(tracked.dagster_run_id), tracked)
        else:
            ended = ("KILLED", "no walk of its study goes on") if alone and _is_study(instance, tracked) else None
        if ended is not None:
            tracker.end(tracked.run_id, *ended)
            say(f"MLflow run {tracked.run_id} was left as running; it is ended as {ended[0]}: {ended[1]}")


def _end_of(run: dg.DagsterRun | None, tracked: RunningRun) -> tuple[RunStatus, str] | None:
    """How a tracked run ends; None while it may go on."""
    if run is None:  # a server may be shared, and this the run of another instance
        is_old = time.time() - tracked.started_at > LONGEST_S
        return (
            ("KILLED", f"Dagster run {tracked.dagster_run_id} is unknown here, and too old to go on")
            if is_old
            else None
        )
    if not run.is_finished:
        return None
    said = f"Dagster run {run.run_id} is over ({run.status.value})"
    return ("FAILED" if run.status is dg.DagsterRunStatus.FAILURE else "KILLED"), said


def _is_study(instance: dg.DagsterInstance, tracked: RunningRun) -> bool:
    """Whether it is the run of a study that this instance has walked."""
    return bool(instance.get_runs(filters=dg.RunsFilter(tags={PARENT_RUN_TAG: tracked.run_id}), limit=1))


def tag_of_walking(token: str, run_id: str) -> str:
    """The tag of a run that walks under a lock itself; the run that repeats it copies the tag, with another id."""
    return f"{token}/{run_id}"


def is_started_under(instance: dg.DagsterInstance, run: dg.DagsterRun, token: str) -> bool:
    """Whether a run began under the lock with this token, or walks under it."""
    tag = run.tags.get(LOCK_TAG, "")
    if tag == token:
        return not is_copied(instance, run)
    return tag == tag_of_walking(token, run.run_id) or OF_VERSION_0_1.fullmatch(tag) is not None


def is_copied(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether a run has the tag from the one that it repeats: Re-execute in the UI copies all tags."""
    repeated = run.tags.get("dagster/parent_run_id")
    parent = instance.get_run_by_id(repeated) if repeated else None
    return parent is not None and parent.tags.get(LOCK_TAG) == run.tags.get(LOCK_TAG)
