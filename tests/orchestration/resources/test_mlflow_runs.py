"""What is wrong with the file in which MLflow keeps its runs is named at once, before MLflow tries it for minutes."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from orchestration.resources import mlflow_runs as tracking
from orchestration.resources.mlflow_runs import MlflowTracker, TrackerDown


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
    monkeypatch.setattr(tracking, "LOCKED_S", 0.1)
    with locked(tmp_path / "mlflow.db"):
        assert "can be written, it is not (database is locked)" in refusal(tmp_path / "mlflow.db")


def test_a_damaged_store_is_named_with_what_may_be_removed(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    path.write_bytes(b"no database at all" * 500)
    assert "must be the database of MLflow, it is not (file is not a database)" in refusal(path)
    path.unlink()
    write_store(path)
    path.write_bytes(path.read_bytes()[:100] + b"x" * 8000)
    assert "remove it and mlartifacts/ from the home" in refusal(path)


def test_a_folder_in_its_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").mkdir()
    assert "unable to open database file" in refusal(tmp_path / "mlflow.db")
