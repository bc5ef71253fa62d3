"""Which failures of a step pass by themselves, so that the step is tried once more: killed commands, lost connections.

What a person has to change, a full disk and a command that somebody stopped are never tried again.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dagster as dg

from assets.lake.ports import TrainingFailed

STOPPED = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGXFSZ, signal.SIGBUS}
"""Signals of a person or a service manager that stops a command, and of a file that cannot grow."""
WAIT_S = {"killed": 5.0, "disconnected": 60.0}
"""Until the next try: for memory to be freed, for a server to come back."""


@contextmanager
def tried_again(attempt: int, say: Callable[[str], None]) -> Iterator[None]:
    """Ask Dagster to try the step once more where its failure passes by itself; it goes on from its resume point.

    Args:
        attempt: how often the step has been tried before; after the first time its failure is final.
        say: takes the line that says why.

    Raises:
        RetryRequested: the failure is transient, and the first.
    """
    try:
        yield
    except Exception as error:
        kind = transience(error)
        if attempt or kind is None:
            raise
        say(f"{str(error).splitlines()[0].split('. ')[0].rstrip('.')}. It is tried once more.")
        raise dg.RetryRequested(max_retries=1, seconds_to_wait=WAIT_S[kind]) from error


def transience(error: BaseException) -> str | None:
    """`killed` or `disconnected`, for a failure that passes by itself; None for any other."""
    if isinstance(error, TrainingFailed):
        return "killed" if error.exit_code < 0 and -error.exit_code not in STOPPED else None
    if isinstance(error, dg.Failure):
        return None
    return "disconnected" if any(map(_is_lost_connection, _chain(error))) else None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, and what it was raised from: MLflow's client names its cause only as the context."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)


def _is_lost_connection(error: BaseException) -> bool:
    """Python's, those of requests by name, so that it is not imported, and SQLAlchemy's flag of a lost connection."""
    if isinstance(error, ConnectionError) or getattr(error, "connection_invalidated", False):
        return True
    return type(error).__module__.startswith("requests.") and type(error).__name__ in (
        "ConnectionError",
        "ConnectTimeout",
        "ReadTimeout",
    )
