"""What a command uses is seen from outside, with what it started; what it took at most, it says itself."""

import subprocess
import sys
from pathlib import Path

import pytest

from orchestration.resources.usage import Usage

MEGABYTES = 200
PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c",
    "held = bytearray(b'1' * {MEGABYTES}_000_000); print('ready', flush=True); input()"],
    stdin=sys.stdin, stdout=sys.stdout)
child.wait()
"""


def test_a_sample_holds_the_command_and_what_it_started_until_it_ends() -> None:
    command = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert command.stdin is not None
    assert command.stdout is not None
    with command:
        usage = Usage(command.pid, every_s=0.0)
        assert command.stdout.readline() == b"ready\n"
        found = usage.telemetry()
        assert found is not None
        assert (found.kind, found.step) == ("system", 1)
        assert MEGABYTES < found.metrics["process_memory_megabytes"] < found.metrics["system_memory_usage_megabytes"]
        command.stdin.write(b"\n")
        command.stdin.close()
        command.wait()
        assert usage.telemetry() is None


def test_samples_keep_their_distance() -> None:
    usage = Usage(1, every_s=3600.0)
    assert usage.telemetry() is None


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads what Linux writes")
def test_the_peak_is_that_of_the_command_not_of_the_parent_that_started_it() -> None:
    held = bytearray(b"1" * 900_000_000)
    report = "from training.loop.memory import peak_memory; print(peak_memory()['peak_memory_bytes'])"

    def peak(before: str) -> int:
        return int(subprocess.run([sys.executable, "-c", before + report], capture_output=True, check=True).stdout)

    small = peak("")
    assert small < len(held)
    assert peak(f"held = bytearray(b'1' * {MEGABYTES}_000_000); del held; ") > small + MEGABYTES * 900_000
