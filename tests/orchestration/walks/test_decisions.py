"""A person's decision beside a run: it waits for no walk of hours, and for no process that is gone."""

import fcntl
import threading
from pathlib import Path
from typing import Any

import pytest

from orchestration.walks import pipeline
from orchestration.walks.pipeline import Pipeline


@pytest.fixture
def deciding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Pipeline, list[str]]:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "shop.yaml").write_text("source: {kind: demo}\n")
    monkeypatch.setenv("BORDERLINE_PROJECT", str(tmp_path))
    monkeypatch.setenv("BORDERLINE_HOME", str(tmp_path))
    done: list[str] = []

    class Tracker:
        def prepare(self, dataset: str) -> None:
            done.append("prepared")

    def ended(_instance: Any, _tracker: Any) -> list[str]:
        done.append("dead runs ended")
        return ["1"]

    one = Pipeline.__new__(Pipeline)
    one.instance, one.tracker, one.tags = None, Tracker(), {}  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setattr(pipeline, "end_dead_runs", ended)
    monkeypatch.setattr(one, "layer", lambda job, _dataset: done.append(f"{job} {one.tags}"))
    monkeypatch.setattr(one, "say", done.append)
    return one, done


def test_a_decision_waits_neither_for_a_walk_nor_for_the_dead(
    deciding: tuple[Pipeline, list[str]], tmp_path: Path
) -> None:
    one, done = deciding
    with (tmp_path / "run.lock").open("w") as walk:
        fcntl.flock(walk, fcntl.LOCK_EX)
        decision = threading.Thread(target=one.decide, args=("shop", {"borderline/rollback": "true"}), daemon=True)
        decision.start()
        decision.join(timeout=30)
        assert not decision.is_alive()
    assert done[:2] == ["prepared", "dead runs ended"]
    assert done[2].startswith("run 1 was left by a process that is gone")
    assert f"another run is working in {tmp_path}" in done[3]
    assert done[4] == "promote {'borderline/rollback': 'true'}"


def test_alone_it_says_nothing_and_leaves_the_home_free(deciding: tuple[Pipeline, list[str]], tmp_path: Path) -> None:
    one, done = deciding
    one.decide("shop", {})
    assert not any("another run" in line for line in done)
    with (tmp_path / "run.lock").open("w") as walk:
        fcntl.flock(walk, fcntl.LOCK_EX | fcntl.LOCK_NB)
