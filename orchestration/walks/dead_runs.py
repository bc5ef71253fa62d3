"""End the Dagster runs whose process is gone, and their runs in MLflow. How a death is known is said by the caller."""

import re
from collections.abc import Callable

import dagster as dg

from contracts.words import PARENT_RUN_TAG
from orchestration.resources.mlflow_runs import MlflowTracker

LOCK_TAG = "borderline/process"
"""The run tag that names the lock which the run's process holds, by the token in the lock's file."""
UNFINISHED = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
OF_VERSION_0_1 = re.compile(r"[^:/]*:\d+:\d+")
"""What version 0.1 wrote into the tag: host name, process and start. It held `run.lock` too."""

IsDead = Callable[[dg.DagsterRun], bool]


def end_dead_runs(
    instance: dg.DagsterInstance, tracker: MlflowTracker, say: Callable[[str], None], is_dead: IsDead
) -> None:
    """Fail the unfinished runs that `is_dead` picks.

    Their tracked runs, and those of the studies that they belong to, end as KILLED.
    """
    dead = [run for run in instance.get_runs(filters=dg.RunsFilter(statuses=UNFINISHED)) if is_dead(run)]
    for run in dead:
        instance.report_run_failed(run, "The process of this run is gone.")
        say(f"run {run.run_id} was left by a process that is gone; it is ended as failed")
    for run in dead:
        for tag in ("mlflow/run_id", PARENT_RUN_TAG):
            if tag in run.tags:
                tracker.end(run.tags[tag])


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
