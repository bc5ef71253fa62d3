"""What is wrong with the file in which MLflow keeps its runs is named at once, before MLflow tries it for minutes."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from subprocess import PIPE

import pytest

from orchestration.resources import mlflow_store
from orchestration.resources.mlflow_runs import MlflowTracker
from orchestration.resources.mlflow_store import TrackerDown


def refusal(path: Path) -> str:
    with pytest.raises(TrackerDown) as refused:
        MlflowTracker(tracking_uri=f"sqlite:///{path}").prepare("demo")
    assert "Nothing was computed or moved." in str(refused.value)
    assert str(path) in str(refused.value)
    return str(refused.value)


def write_store(path: Path) -> None:
    with closing(sqlite3.connect(path)) as store:
        store.executescript("CREATE TABLE runs (run_id TEXT); INSERT INTO runs VALUES (hex(randomblob(20000)));")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as store:
        store.execute("BEGIN EXCLUSIVE")
        yield


def test_a_store_that_another_process_holds_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_store(tmp_path / "mlflow.db")
    monkeypatch.setattr(mlflow_store, "LOCKED_S", 0.1)
    with locked(tmp_path / "mlflow.db"):
        assert "cannot be written (database is locked)" in refusal(tmp_path / "mlflow.db")


def test_a_damaged_store_is_named_with_what_may_be_removed(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    path.write_bytes(b"no database at all" * 500)
    assert "(file is not a database)" in refusal(path)
    path.unlink()
    write_store(path)
    path.write_bytes(path.read_bytes()[:100] + b"x" * 8000)
    assert "remove it and mlartifacts/ from the home" in refusal(path)


def test_a_folder_in_its_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").mkdir()
    assert "unable to open database file" in refusal(tmp_path / "mlflow.db")


FIRST_COMMAND = """
import sys
from orchestration.resources.mlflow_runs import MlflowTracker
import mlflow
print("ready", flush=True)
sys.stdin.readline()
MlflowTracker(tracking_uri=sys.argv[1], artifact_root="file:///nowhere").prepare(sys.argv[2])
"""


def test_first_commands_at_once_all_find_a_whole_store(tmp_path: Path) -> None:
    uri, datasets = f"sqlite:///{tmp_path / 'home' / 'mlflow.db'}", ("one", "two", "three")
    commands = [
        subprocess.Popen([sys.executable, "-c", FIRST_COMMAND, uri, each], stdin=PIPE, stdout=PIPE, stderr=PIPE)
        for each in datasets
    ]
    for command in commands:
        assert command.stdout is not None
        assert command.stdout.readline() == b"ready\n"
    for command in commands:
        assert command.stdin is not None
        command.stdin.write(b"\n")
        command.stdin.flush()
    for command in commands:
        _, said = command.communicate(timeout=120)
        assert command.returncode == 0, said.decode()
    client = MlflowTracker(tracking_uri=uri).client()
    assert {f"borderline/{each}" for each in datasets} < {each.name for each in client.search_experiments()}


def test_a_first_command_that_is_killed_leaves_nothing_that_stops_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mlflow.db"
    half = tmp_path / ".mlflow.db.1234.tmp"
    with closing(sqlite3.connect(half)) as store:
        store.execute("CREATE TABLE budget_policies (id INTEGER)")
    assert MlflowTracker(tracking_uri=f"sqlite:///{path}").experiment_id("demo")
    assert not half.exists()


@pytest.fixture
def tracker(tmp_path: Path) -> MlflowTracker:
    return MlflowTracker(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}", artifact_root=tmp_path.as_uri())


def test_an_experiment_that_somebody_deleted_is_restored_with_its_runs(
    tracker: MlflowTracker, caplog: pytest.LogCaptureFixture
) -> None:
    with tracker.tracked("demo", "sft", params={}, tags={}) as first:
        pass
    tracker.client().delete_experiment(tracker.experiment_id("demo"))
    assert tracker.find(first.tracked.run_id) is None
    tracker.prepare("demo")
    with tracker.tracked("demo", "dpo", params={}, tags={}) as run:
        run.log({"loss": 1.0}, 1)
    assert tracker.client().get_run(run.tracked.run_id).data.metrics == {"loss": 1.0}
    assert tracker.find(first.tracked.run_id) == first.tracked
    assert "borderline/demo was deleted in MLflow; it is restored" in caplog.text


def test_a_run_that_somebody_deleted_is_not_found_and_not_ended(tracker: MlflowTracker) -> None:
    run = tracker.client().create_run(tracker.experiment_id("demo"))
    assert tracker.find(run.info.run_id) is not None
    tracker.client().delete_run(run.info.run_id)
    assert tracker.find(run.info.run_id) is None
    tracker.end(run.info.run_id)
