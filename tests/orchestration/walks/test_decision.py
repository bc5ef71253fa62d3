"""A person's decision beside a run: it waits for no walk of hours, and for no process that is gone."""

import fcntl
import threading
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from orchestration.walks.dead_runs import LOCK_TAG
from orchestration.walks.decision import decide
from orchestration.walks.runner import LayerRunner

ROLLBACK = {"borderline/rollback": "true"}


class Tracker:
    """That answers."""

    def prepare(self, dataset: str) -> None:
        assert dataset == "shop"


@dg.op
def promotion(context: dg.OpExecutionContext) -> None:
    context.log.info("promoted")


@dg.job(
    partitions_def=dg.StaticPartitionsDefinition(["shop"]),
    logger_defs={"console": dg.colored_console_logger},
)
def promote() -> None:
    promotion()


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LayerRunner:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "shop.yaml").write_text("source: {kind: demo}\n")
    monkeypatch.setenv("BORDERLINE_PROJECT", str(tmp_path))
    monkeypatch.setenv("BORDERLINE_HOME", str(tmp_path))
    said: list[str] = []
    tracker: Any = Tracker()
    lake: Any = None
    return LayerRunner(dg.DagsterInstance.ephemeral(), {"promote": promote}.__getitem__, lake, tracker, say=said.append)


def said_by(runner: LayerRunner) -> list[str]:
    return runner.say.__self__  # type: ignore[attr-defined]


def test_a_decision_does_not_wait_for_a_walk(runner: LayerRunner, tmp_path: Path) -> None:
    with (tmp_path / "run.lock").open("w") as walk:
        fcntl.flock(walk, fcntl.LOCK_EX)
        decision = threading.Thread(target=decide, args=(runner, "shop", ROLLBACK), daemon=True)
        decision.start()
        decision.join(timeout=30)
        assert not decision.is_alive()
    [run] = runner.instance.get_runs()
    assert run.job_name == "promote"
    assert run.status is dg.DagsterRunStatus.SUCCESS
    assert run.tags["borderline/rollback"] == "true"
    assert run.tags["borderline/dataset"] == "shop"
    assert LOCK_TAG in run.tags


def test_it_says_nothing_and_leaves_the_home_free(runner: LayerRunner, tmp_path: Path) -> None:
    decide(runner, "shop", {})
    assert said_by(runner) == []
    for name in ("run.lock", "decision.lock"):
        with (tmp_path / name).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
