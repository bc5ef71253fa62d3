"""Know at the start of a code server which runs of the code location died with the servers before it.

Every process that loads the definitions for Dagster shares a file lock: code servers, the workers of runs and of their
steps. A server that gets the lock exclusively has outlived all others, so every unfinished run of the code location is
dead, whatever the host was called. A server that was started for a reload does not get it while runs go on.
"""

import fcntl
import logging
from collections.abc import Callable
from contextlib import ExitStack
from typing import IO

import dagster as dg
from dagster._core.definitions.definitions_load_context import DefinitionsLoadContext, DefinitionsLoadType
from sqlalchemy.exc import SQLAlchemyError

from orchestration import settings
from orchestration.resources.mlflow_runs import MlflowTracker
from orchestration.resources.mlflow_store import TrackerDown
from orchestration.walks.dead_runs import LOCK_TAG, end_dead_runs, is_copied, is_started_under
from orchestration.walks.home_lock import DECISION_LOCK, WALK_LOCK, if_free

LOG = logging.getLogger(__name__)
CODE_LOCK = "code.lock"
LOCATIONS = {settings.CODE_LOCATION, "orchestration.definitions"}
"""What Dagster calls the code location: in our workspace files, and where somebody loads the module by hand."""

_held: list[IO[str]] = []
"""The lock of this process; closing the file would free it."""


def join(tracker: MlflowTracker) -> None:
    """Share the lock of the code location until this process ends; a server that is the first ends the dead runs."""
    if _held:
        return
    path = settings.home() / CODE_LOCK
    was_here = path.exists() or (path.parent / WALK_LOCK).exists()
    lock = path.open("a+", encoding="utf-8")
    _held.append(lock)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pass
    else:
        # The worker of a run reconstructs the definitions: if it gets the lock, its server is dead, its run is not.
        if was_here and DefinitionsLoadContext.get().load_type is DefinitionsLoadType.INITIALIZATION:
            _end_runs_of_dead_servers(tracker)
    fcntl.flock(lock, fcntl.LOCK_SH)


def _end_runs_of_dead_servers(tracker: MlflowTracker) -> None:
    try:
        with dg.DagsterInstance.get() as instance:
            end_runs_without_server(instance, tracker, LOG.warning)
    except (TrackerDown, SQLAlchemyError) as error:  # a database that starts later than we do: serve all the same
        LOG.warning("not all runs of dead processes could be ended; the next walk ends those of walks. %s", error)


def end_runs_without_server(instance: dg.DagsterInstance, tracker: MlflowTracker, say: Callable[[str], None]) -> None:
    """Fail every unfinished run of the code location, but for those of a walk or a decision in somebody's terminal.

    The caller knows that no other process of the code location lives.
    """
    with ExitStack() as stack:
        locks = (stack.enter_context(if_free(settings.home() / name)) for name in (WALK_LOCK, DECISION_LOCK))
        free = [token for token in locks if token is not None]

        def is_dead(run: dg.DagsterRun) -> bool:
            if any(is_started_under(instance, run, token) for token in free):
                return True
            origin = run.remote_job_origin
            if origin is None or origin.repository_origin.code_location_origin.location_name not in LOCATIONS:
                return False
            tag = run.tags.get(LOCK_TAG, "")
            return not tag or "/" in tag or is_copied(instance, run)

        end_dead_runs(instance, tracker, say, is_dead)
