"""How much memory a command took at its peak: measured, reported at its end, never part of a result."""

import resource
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


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
