"""Runs whose process is gone: ended, and their pool slots freed, so that they stop nobody.

Dagster's own monitor needs a daemon, and cannot tell whether a run in somebody's terminal is alive.
"""

import os
import socket
from pathlib import Path
from typing import Protocol

import dagster as dg

from assets.lake.ports import PARENT_RUN_TAG

PROCESS_TAG = "borderline/process"
UNFINISHED = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


class EndsRuns(Protocol):
    """The part of a tracker that is needed here."""

    def end(self, run_id: str) -> None:
        """Ends a run that is still marked as running."""
        ...


def process_tag() -> str:
    """Names this process among all that this machine ever had: a pid alone is used again."""
    return f"{socket.gethostname()}:{os.getpid()}:{_started(os.getpid())}"


def end_dead_runs(instance: dg.DagsterInstance, tracker: EndsRuns) -> list[str]:
    """Fails the runs of this machine whose process is gone, and frees their pool slots.

    Their tracked runs, and those of the studies that they belong to, end as KILLED.

    Returns:
        The ids of the runs that were ended.
    """
    ended: list[str] = []
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=UNFINISHED)):
        if PROCESS_TAG in run.tags and not _is_alive(run.tags[PROCESS_TAG]) and not _is_copied(instance, run):
            instance.report_run_failed(run, "The process of this run is gone.")
            ended.append(run.run_id)
            for tag in ("mlflow/run_id", PARENT_RUN_TAG):
                if tag in run.tags:
                    tracker.end(run.tags[tag])
    for run_id in instance.event_log_storage.get_concurrency_run_ids():
        run = instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            instance.event_log_storage.free_concurrency_slots_for_run(run_id)
    return ended


def _is_copied(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether a run has the tag from the one that it repeats: Re-execute in the UI copies all tags."""
    repeated = run.tags.get("dagster/parent_run_id")
    parent = instance.get_run_by_id(repeated) if repeated else None
    return parent is not None and parent.tags.get(PROCESS_TAG) == run.tags[PROCESS_TAG]


def _is_alive(tag: str) -> bool:
    host, pid, started = tag.rsplit(":", 2)
    if host != socket.gethostname():
        return True  # of another machine nothing is known
    return _started(int(pid)) == started


def _started(pid: int) -> str | None:
    """When a process started, in clock ticks since boot; None when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return None
