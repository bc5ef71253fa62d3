"""One command at a time on a device. The kernel frees the lock of a process that ends, however it ends."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

ASK_EVERY_S = 0.2


@contextmanager
def device_lock(path: Path, say: Callable[[str], None]) -> Iterator[float]:
    """Waits asleep until no other process holds the lock, then holds it; a signal ends the wait.

    Args:
        path: of the lock, one for each device of a home; it holds the id of the process that locked it last.
        say: is told once that the device is taken.

    Yields:
        The seconds that it waited.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with path.open("a+") as lock:
        if not _claim(lock):
            lock.seek(0)
            say(f"process {lock.read() or '?'} uses the device; waiting for it to end")
            while not _claim(lock):
                time.sleep(ASK_EVERY_S)  # flock's own wait would miss a signal that comes just before it
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield time.monotonic() - started


def _claim(lock: TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
