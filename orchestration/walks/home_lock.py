"""Give a home to one walk, or to one decision, at a time, and end the runs that a dead process left in it.

The kernel frees a file lock when its process dies, however it dies. So with the lock held, every unfinished run that
was started under the same lock is dead by definition; nobody has to look for processes. Dagster's own monitor needs a
daemon, and cannot tell whether a run in somebody's terminal is alive.
"""

import fcntl
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import dagster as dg

from contracts.words import PARENT_RUN_TAG
from orchestration import settings
from orchestration.file_versions import record_files
from orchestration.partitions import add_new_partitions
from orchestration.walks.runner import LayerRunner

LOCK_TAG = "borderline/process"
"""The run tag that names the lock which the run's process holds, by the token in the lock's file."""
UNFINISHED = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


@contextmanager
def only_walk(runner: LayerRunner) -> Iterator[LayerRunner]:
    """Hold the home for a walk, tidied: no dead runs, a warehouse, a partition for each file.

    Waits for the walk that holds it now. Yields the runner whose runs are known to belong to this walk.
    """
    home = settings.home()

    def wait() -> None:
        runner.say(f"another run is working in {home}; waiting for it to end")

    with _locked(home / "run.lock", wait) as token:
        end_dead_runs(runner, token)
        runner.lake.refresh_warehouse()
        add_new_partitions(runner.instance)
        record_files(runner.instance)
        yield runner.tagged({LOCK_TAG: token})


@contextmanager
def only_decision(runner: LayerRunner) -> Iterator[LayerRunner]:
    """Hold the decisions of a home, beside a walk of hours: a decision waits for the device at most."""
    with _locked(settings.home() / "decision.lock", lambda: runner.say("waiting for another decision to end")) as token:
        end_dead_runs(runner, token)
        yield runner.tagged({LOCK_TAG: token})


def end_dead_runs(runner: LayerRunner, token: str) -> None:
    """Fail the unfinished runs of a lock that the caller holds.

    Their tracked runs, and those of the studies that they belong to, end as KILLED.
    """
    for run in runner.instance.get_runs(filters=dg.RunsFilter(statuses=UNFINISHED)):
        if not _is_ours(run.tags.get(LOCK_TAG, ""), token) or _is_copied(runner.instance, run):
            continue
        runner.instance.report_run_failed(run, "The process of this run is gone.")
        for tag in ("mlflow/run_id", PARENT_RUN_TAG):
            if tag in run.tags:
                runner.tracker.end(run.tags[tag])
        runner.say(f"run {run.run_id} was left by a process that is gone; it is ended as failed")


def _is_ours(tag: str, token: str) -> bool:
    """Whether a run was started under the lock; version 0.1 tagged its runs with host, pid and start."""
    return tag == token or tag.startswith(f"{socket.gethostname()}:")


def _is_copied(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether a run has the tag from the one that it repeats: Re-execute in the UI copies all tags."""
    repeated = run.tags.get("dagster/parent_run_id")
    parent = instance.get_run_by_id(repeated) if repeated else None
    return parent is not None and parent.tags.get(LOCK_TAG) == run.tags[LOCK_TAG]


@contextmanager
def _locked(path: Path, on_wait: Callable[[], None]) -> Iterator[str]:
    with path.open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield _token(lock)


def _token(lock: IO[str]) -> str:
    """The name of a lock that the caller holds; unlike a path or a host, it is the same from every container."""
    lock.seek(0)
    token = lock.read().strip()
    if not token:
        token = secrets.token_hex(8)
        lock.write(token)
        lock.flush()
    return token
