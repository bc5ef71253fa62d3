"""A run that waits for the device leaves the processor to the one that has it, and ends when it is told to."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

import dagster as dg
import pytest

from orchestration.resources.device_lock import device_lock
from orchestration.walks.runner import LayerInterrupted, failure_of

WAIT_S = 3.0
HOLDER = """
import sys, time
from pathlib import Path
from orchestration.resources.device_lock import device_lock
with device_lock(Path(sys.argv[1]), print):
    print("ready", flush=True)
    time.sleep(600)
"""


@contextmanager
def held(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process has the device."""
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    with holder:
        assert holder.stdout.readline() == "ready\n"
        try:
            yield holder
        finally:
            holder.kill()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_waits_says_so_once_sleeps_and_goes_on_when_the_holder_dies(
    tmp_path: Path, how: signal.Signals
) -> None:
    said: list[str] = []
    with held(tmp_path / "device.lock") as holder:
        Timer(WAIT_S, holder.send_signal, [how]).start()
        started, busy = time.monotonic(), time.thread_time()
        with device_lock(tmp_path / "device.lock", said.append):
            assert WAIT_S < time.monotonic() - started < WAIT_S + 1
            assert time.thread_time() - busy < 0.01 * WAIT_S
    (line,) = said
    assert str(holder.pid) in line
    with device_lock(tmp_path / "device.lock", said.append):
        assert len(said) == 1


def test_another_device_and_another_home_are_free(tmp_path: Path) -> None:
    said: list[str] = []
    with held(tmp_path / "device-cpu.lock"):
        with device_lock(tmp_path / "device-cuda.lock", said.append):
            pass
        with device_lock(tmp_path / "home" / "device-cpu.lock", said.append):
            pass
    assert said == []


@dg.op
def training(context: dg.OpExecutionContext) -> None:
    with device_lock(Path(os.environ["DEVICE_LOCK"]), context.log.info):
        raise AssertionError("the device was never free")


@dg.job(executor_def=dg.in_process_executor)
def in_process() -> None:
    training()


@dg.job(executor_def=dg.multiprocess_executor)
def in_several_processes() -> None:
    training()


@pytest.fixture
def told_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A signal comes soon, to a run whose device is never free."""
    monkeypatch.setenv("DEVICE_LOCK", str(tmp_path / "device.lock"))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started us with it ignored
    with held(tmp_path / "device.lock"):
        started = time.monotonic()
        Timer(WAIT_S, os.kill, [os.getpid(), signal.SIGINT]).start()
        yield
        assert time.monotonic() - started < 30
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("told_to_stop")
def test_a_run_that_waits_can_be_interrupted(tmp_path: Path) -> None:
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides={"telemetry": {"enabled": False}}) as instance:
        result = dg.execute_job(dg.reconstructable(in_several_processes), instance=instance)
        assert not result.success
        text = str([event.message for event in result.all_events])
        assert "never free" not in text


@pytest.mark.usefixtures("told_to_stop")
def test_a_step_of_a_walk_that_waits_says_that_it_was_interrupted() -> None:
    result = in_process.execute_in_process(raise_on_error=False)
    failure = failure_of(result, where="The run: one.")
    assert isinstance(failure, LayerInterrupted)
    assert str(failure) == "training was interrupted; what was published before it stays\nThe run: one."
