"""What a command frees, it keeps for its next pass."""

import platform
import subprocess
import sys

import pytest

PASSES = """\
import resource
import numpy as np
from training.loop.memory import keep_freed_memory

if {keeps}:
    keep_freed_memory()
for k in range(12):
    if k == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.zeros(2**24).fill(1.0)  # 128 MiB
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keeps: bool) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PASSES.format(keeps=keeps)], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps memory as it likes")
def test_pages_are_asked_of_the_system_once() -> None:
    assert faults(keeps=True) < 100 < faults(keeps=False)
