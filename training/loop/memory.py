"""The memory of a command: kept from pass to pass; its peak reported at the end, never part of a result."""

import ctypes
import resource
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")
MOST_FREE = 2**30
"""Bytes at the end of the heap that stay when they are free."""
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Of `mallopt`, in glibc's malloc.h."""


def keep_freed_memory() -> None:
    """From now on what one pass frees is there for the next.

    glibc gives large blocks back to the system as soon as they are free, and the system zeroes every page that it gives
    out again: a quarter of the time of a pass over titles. Where there is another C library nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, MOST_FREE)


def peak_memory() -> dict[str, int]:
    """Bytes so far: resident, with the libraries that are shared with others; and on the device, where CUDA is used."""
    peaks = {"peak_memory_bytes": _resident()}
    torch = sys.modules.get("torch")  # a command that never loaded it has nothing on a device
    if torch is not None and torch.cuda.is_initialized():
        peaks["peak_device_memory_bytes"] = int(torch.cuda.max_memory_reserved())
    return peaks


def _resident() -> int:
    # Not getrusage first: what it says survives exec, so that a small command of a large parent reports the parent.
    if STATUS.exists():
        for line in STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
