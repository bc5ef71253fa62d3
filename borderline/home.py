"""The home of this machine as the face uses it: its Dagster instance, its lake, and a runner of its layers.

Imports Dagster on first use, so that commands which read files only answer at once.
"""

import fcntl
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from orchestration import settings

if TYPE_CHECKING:
    import dagster as dg

    from orchestration.resources.lake import LakeStorage
    from orchestration.walks.runner import LayerRunner


@contextmanager
def opened() -> Iterator["dg.DagsterInstance"]:
    """The Dagster instance of the home; both are created on first use."""
    home = settings.prepare_home()
    warnings.filterwarnings("ignore", module="dagster")
    import dagster as dg

    with ExitStack() as stack:
        with (home / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two first commands at once would both create the database, and break it
            instance = stack.enter_context(dg.DagsterInstance.get())
            instance.get_runs_count()
        yield instance


@contextmanager
def runner(*, force: bool = False, accept_leaks: bool = False) -> Iterator["LayerRunner"]:
    """A runner of layer jobs in the home.

    Args:
        force: whether assets compute again what is unchanged.
        accept_leaks: whether they publish tables that leak their answers, with every number marked.
    """
    with opened() as instance:
        from orchestration.definitions import build_definitions
        from orchestration.machine import tracker
        from orchestration.walks.runner import LayerRunner, tags_of

        tags = tags_of(force=force, accept_leaks=accept_leaks)
        yield LayerRunner(instance, build_definitions().resolve_job_def, lake(), tracker(), tags)


def lake() -> "LakeStorage":
    """The lake of the home."""
    from orchestration.resources.lake import LakeStorage

    return LakeStorage.of(settings.home())
