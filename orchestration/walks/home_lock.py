"""Give a home to one walk, or to one decision, at a time, and end the runs that a dead process left in it.

The kernel frees a file lock when its process dies, however it dies. So with the lock held, every unfinished run that
was started under the same lock is dead by definition, whatever host or container it ran in; nobody has to look for
processes. Dagster's own monitor needs a daemon, and cannot tell whether a run in somebody's terminal is alive.
"""

import fcntl
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import dagster as dg

from orchestration import settings
from orchestration.file_versions import record_files
from orchestration.partitions import update_partitions
from orchestration.walks.dead_runs import LOCK_TAG, end_dead_runs, end_orphaned, is_started_under, tag_of_walking
from orchestration.walks.runner import PARENT_TAG, LayerRunner

WALK_LOCK, DECISION_LOCK = "run.lock", "decision.lock"


@contextmanager
def only_walk(runner: LayerRunner) -> Iterator[LayerRunner]:
    """Hold the home for a walk, tidied: no dead runs, a warehouse, the partitions that can be walked.

    Waits for the walk that holds it now. Yields the runner whose runs are known to belong to this walk.
    """
    home = settings.home()

    def wait() -> None:
        runner.say(f"another run is working in {home}; waiting for it to end")

    with _locked(home / WALK_LOCK, wait) as token:
        _end_dead_runs(runner, token)
        end_orphaned(runner.instance, runner.tracker, runner.say, alone=True)
        if PARENT_TAG in runner.tags:
            walking = runner.tags[PARENT_TAG]
            runner.instance.add_run_tags(walking, {LOCK_TAG: tag_of_walking(token, walking)})
        runner.lake.refresh_warehouse()
        update_partitions(runner.instance)
        record_files(runner.instance)
        yield runner.tagged({LOCK_TAG: token})


@contextmanager
def only_decision(runner: LayerRunner) -> Iterator[LayerRunner]:
    """Hold the decisions of a home, beside a walk of hours: a decision waits for the device at most."""
    with _locked(settings.home() / DECISION_LOCK, lambda: runner.say("waiting for another decision to end")) as token:
        _end_dead_runs(runner, token)
        yield runner.tagged({LOCK_TAG: token})


def _end_dead_runs(runner: LayerRunner, token: str) -> None:
    def is_dead(run: dg.DagsterRun) -> bool:
        return is_started_under(runner.instance, run, token)

    end_dead_runs(runner.instance, runner.tracker, runner.say, is_dead)


@contextmanager
def if_free(path: Path) -> Iterator[str | None]:
    """Hold a lock that nobody holds, and yield its token; None when there is no such lock, or somebody holds it."""
    if not path.exists():
        yield None
        return
    with path.open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield _token(lock)


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
