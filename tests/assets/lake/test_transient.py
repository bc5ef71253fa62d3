"""A step is tried once more where its failure passes by itself, and never where a person or a full disk caused it."""

import errno
import signal
from collections.abc import Callable

import dagster as dg
import pytest

from assets.lake.ports import TrainingFailed
from assets.lake.transient import tried_again
from contracts.files.yaml_lines import ConfigurationError


def refused_by_a_server() -> Exception:
    """As MLflow's client says it: the cause is the context only."""
    try:
        try:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")
        except OSError:
            raise RuntimeError("API request failed")  # noqa: B904
    except RuntimeError as error:
        return error


def lost_database() -> Exception:
    from sqlalchemy.exc import OperationalError

    return OperationalError("SELECT 1", {}, Exception("server closed the connection"), connection_invalidated=True)


def timed_out() -> Exception:
    import requests

    return requests.exceptions.ReadTimeout("60 s")


@pytest.mark.parametrize(
    "error",
    [
        lambda: TrainingFailed("ended by SIGKILL", -signal.SIGKILL),
        lambda: TrainingFailed("ended by SIGSEGV", -signal.SIGSEGV),
        refused_by_a_server,
        lost_database,
        timed_out,
    ],
)
def test_what_passes_by_itself_is_tried_once_more(error: Callable[[], Exception]) -> None:
    said: list[str] = []
    with pytest.raises(dg.RetryRequested) as asked, tried_again(0, said.append):
        raise error()
    assert asked.value.max_retries == 1
    assert len(said) == 1
    again = error()
    with pytest.raises(type(again)), tried_again(1, said.append):
        raise again
    assert len(said) == 1


@pytest.mark.parametrize(
    "error",
    [
        TrainingFailed("exit code 1: loss is not finite", 1),
        *(TrainingFailed("stopped", -number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)),
        ConfigurationError("must be"),
        OSError(errno.ENOSPC, "No space left on device"),
        dg.Failure("a check has failed"),
        ValueError("wrong"),
    ],
    ids=repr,
)
def test_what_would_fail_again_is_not(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, tried_again(0, lambda _: pytest.fail("it was tried again")):
        raise error
    assert raised.value is error
