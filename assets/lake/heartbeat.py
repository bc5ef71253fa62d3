"""A sign of life of a step that takes long and says nothing itself. Commands report in `learning/follower.py`."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

EVERY_S = 5.0
"""Least time between two progress lines: each costs an event in Dagster's store."""


@contextmanager
def heartbeat(say: Callable[[str], None], what: str, folder: Path, every_s: float = EVERY_S) -> Iterator[None]:
    """Says every few seconds how long this has taken, and how much has been written to `folder`."""
    started, done = time.monotonic(), threading.Event()

    def beat() -> None:
        while not done.wait(every_s):
            say(f"{what}: {time.monotonic() - started:.0f} s, {_bytes_in(folder) / 1e6:,.0f} MB written")

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # what is spilled comes and goes
            total += path.stat().st_size
    return total
