"""At the start of a code server: runs of the servers before it are failed, those of living processes are left alone."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.definitions_load_context import DefinitionsLoadContext
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin

from orchestration import code_location, settings
from orchestration.walks.dead_runs import LOCK_TAG
from orchestration.walks.home_lock import only_decision, only_walk
from orchestration.walks.runner import PARENT_TAG, LayerRunner
from tests.orchestration.walks.test_home_lock import Lake, Tracker, status_of

HOLD = "import fcntl, sys; f = open(sys.argv[1], 'a'); fcntl.flock(f, fcntl.LOCK_SH); print(); input()"


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    (tmp_path / "datasets").mkdir()
    monkeypatch.setenv("BORDERLINE_PROJECT", str(tmp_path))
    monkeypatch.setenv("BORDERLINE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.delenv("DAGSTER_HOME")
    monkeypatch.setattr(code_location, "_held", [])
    monkeypatch.setattr(DefinitionsLoadContext, "_instance", None)  # a test before this one may have run a step
    settings.prepare_home()
    with dg.DagsterInstance.get() as instance:
        yield instance
    for lock in code_location._held:
        lock.close()


@dg.job
def walk() -> None:
    pass


def started(instance: dg.DagsterInstance, location: str = settings.CODE_LOCATION, **tags: str) -> str:
    """A run that a code server of another boot and host started, and that never ended."""
    origin = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location), "__repository__").get_job_origin("walk")
    every: dict[str, Any] = tags
    return instance.create_run_for_job(
        walk, tags=every, status=dg.DagsterRunStatus.STARTED, remote_job_origin=origin
    ).run_id


def start_server() -> Tracker:
    """Loads the definitions as a new code server does, in place of the one before."""
    tracker: Any = Tracker()
    while code_location._held:
        code_location._held.pop().close()
    code_location.join(tracker)
    return tracker


def test_a_new_server_fails_what_the_servers_before_it_left(
    instance: dg.DagsterInstance, caplog: pytest.LogCaptureFixture
) -> None:
    runner = LayerRunner(instance, {}.__getitem__, *[Lake(), Tracker()], say=lambda _: None)  # type: ignore[arg-type]
    layer = started(instance, **{"mlflow/run_id": "of the layer", "host": "the-container-before"})
    whole = started(instance)
    with only_walk(runner.tagged({PARENT_TAG: whole})) as held:
        inner = started(instance, **held.tags)
    elsewhere = started(instance, "somebody else's code")
    tracker = start_server()
    assert tracker.ended == ["of the layer"]
    for run_id in (layer, whole, inner):
        assert run_id in caplog.text
        assert status_of(instance, run_id) is dg.DagsterRunStatus.FAILURE
    assert status_of(instance, elsewhere) is dg.DagsterRunStatus.STARTED


def test_a_new_server_leaves_the_walk_and_the_decision_in_a_terminal_alone(instance: dg.DagsterInstance) -> None:
    runner = LayerRunner(instance, {}.__getitem__, *[Lake(), Tracker()], say=lambda _: None)  # type: ignore[arg-type]
    left = started(instance)
    with only_walk(runner) as walking, only_decision(runner) as deciding:
        alive = [started(instance, **{LOCK_TAG: held.tags[LOCK_TAG]}) for held in (walking, deciding)]
        start_server()
        assert [status_of(instance, run) for run in alive] == [dg.DagsterRunStatus.STARTED] * 2
    assert status_of(instance, left) is dg.DagsterRunStatus.FAILURE


def test_a_reloaded_server_ends_nothing_while_a_worker_lives(instance: dg.DagsterInstance) -> None:
    left = started(instance)
    path = settings.home() / code_location.CODE_LOCK
    path.touch()
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        worker.stdout.readline()
        start_server()
        assert status_of(instance, left) is dg.DagsterRunStatus.STARTED
        worker.kill()
        worker.wait()
    start_server()
    assert status_of(instance, left) is dg.DagsterRunStatus.FAILURE


def test_dagsters_own_server_does_so_when_it_loads_the_definitions(instance: dg.DagsterInstance) -> None:
    left = started(instance)
    (settings.home() / code_location.CODE_LOCK).touch()  # a server was here before
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "dagster", "api", "grpc", "-m", "orchestration.definitions", "--port", port]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            until = time.monotonic() + 60
            while status_of(instance, left) is dg.DagsterRunStatus.STARTED and time.monotonic() < until:
                assert server.poll() is None, server.stderr and server.stderr.read()
                time.sleep(0.2)
        finally:
            server.kill()
    assert status_of(instance, left) is dg.DagsterRunStatus.FAILURE
