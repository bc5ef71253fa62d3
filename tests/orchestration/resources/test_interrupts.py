import os
import signal
import threading
from collections.abc import Iterator

import pytest

from orchestration.resources.interrupts import DeferredInterrupts


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """A shell starts what it runs in the background with SIGINT ignored, and Python keeps that."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


def test_an_interrupt_waits_for_the_moment_that_is_good() -> None:
    reached: list[str] = []

    def work() -> None:
        with DeferredInterrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGINT)
            reached.append("the call that must not be broken")
            interrupts.deliver()
            reached.append("never")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert reached == ["the call that must not be broken"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_one_that_nobody_waited_for_comes_at_the_end() -> None:
    with pytest.raises(KeyboardInterrupt), DeferredInterrupts():
        os.kill(os.getpid(), signal.SIGINT)


def test_an_error_within_is_not_covered_up() -> None:
    def work() -> None:
        with DeferredInterrupts():
            os.kill(os.getpid(), signal.SIGINT)
            raise ValueError("of the block")

    with pytest.raises(ValueError, match="of the block"):
        work()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with DeferredInterrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGINT)
        interrupts.deliver()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_in_another_thread_it_does_nothing() -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            with DeferredInterrupts() as interrupts:
                interrupts.deliver()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert failures == []
