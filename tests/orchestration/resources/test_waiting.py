"""A run that waits for a slot of a pool leaves the processor to the one that has it, and ends when it is told to."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Timer

import dagster as dg
import pytest

from orchestration.waiting import wait_asleep
from orchestration.walks.runner import LayerInterrupted, failure_of

WAIT_S = 4.0


@dg.op(pool="device")
def training() -> None:
    pass


@dg.job(executor_def=dg.in_process_executor)
def in_process() -> None:
    training()


@dg.job(executor_def=dg.multiprocess_executor)
def in_several_processes() -> None:
    training()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """One whose device another run has."""
    wait_asleep()
    pools = {"default_limit": 1, "granularity": "op"}
    overrides = {"concurrency": {"pools": pools}, "telemetry": {"enabled": False}}
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides=overrides) as instance:
        storage = instance.event_log_storage
        storage.initialize_concurrency_limit_to_default("device")
        assert storage.claim_concurrency_slot("device", "of another run", "training").is_claimed
        yield instance


@pytest.mark.parametrize("job", [in_process, in_several_processes], ids=lambda job: job.name)
def test_a_run_that_waits_sleeps_and_goes_on_when_its_turn_comes(
    job: dg.JobDefinition, instance: dg.DagsterInstance
) -> None:
    freed = Timer(WAIT_S, instance.event_log_storage.free_concurrency_slots_for_run, ["of another run"])
    started, busy = time.monotonic(), time.thread_time()
    freed.start()
    assert dg.execute_job(dg.reconstructable(job), instance=instance).success
    assert time.monotonic() - started > WAIT_S
    assert time.thread_time() - busy < WAIT_S / 2


@pytest.fixture
def told_to_stop(instance: dg.DagsterInstance) -> Iterator[None]:
    """A signal that comes soon; the device is free much later."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started us with it ignored
    freed = Timer(60, instance.event_log_storage.free_concurrency_slots_for_run, ["of another run"])
    freed.start()
    Timer(WAIT_S / 2, os.kill, [os.getpid(), signal.SIGINT]).start()
    started = time.monotonic()
    yield
    freed.cancel()
    signal.signal(signal.SIGINT, before)
    assert time.monotonic() - started < 30


@pytest.mark.usefixtures("told_to_stop")
def test_a_run_that_waits_can_be_interrupted(instance: dg.DagsterInstance) -> None:
    assert not dg.execute_job(dg.reconstructable(in_several_processes), instance=instance).success


@pytest.mark.usefixtures("told_to_stop")
def test_a_step_of_a_walk_that_waits_says_that_it_was_interrupted(instance: dg.DagsterInstance) -> None:
    failure = failure_of(in_process.execute_in_process(instance=instance, raise_on_error=False), where="The run: one.")
    assert isinstance(failure, LayerInterrupted)
    assert str(failure) == "interrupted between two steps; what was published before it stays\nThe run: one."
