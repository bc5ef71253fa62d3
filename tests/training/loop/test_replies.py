"""A training waits for its parent's reply to a validation, and ends where the reply says so."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from assets.learning.stop_on_collapse import StopOnCollapse
from contracts.config import EXPERIMENT, PreferenceExperiment
from tests.training.loop.test_loop import BUDGET, Setting
from training.command import Stopped, StopRequest
from training.loop.loop import Kept
from training.loop.replies import Replies

PREFERENCE = {
    "kind": "preference",
    "start_from": "sft",
    "objective": {"kind": "dmpo"},
    "optimizer": {"kind": "adamw", "lr": 1e-3},
    "budget": {"stop_on_collapse": True},
}


@pytest.fixture
def setting(tables: Any, tmp_path: Path) -> Setting:
    return Setting(tables, tmp_path)


@pytest.fixture
def replies(tmp_path: Path) -> Replies:
    replies = Replies(tmp_path)
    replies.promise()
    return replies


def validated(setting: Setting, telemetry_lines: Callable[[Path], list[dict[str, Any]]]) -> list[int]:
    return [line["step"] for line in telemetry_lines(setting.output) if line["kind"] == "validation"]


@pytest.mark.parametrize("keep", ["best", "last"])
def test_a_training_that_is_told_to_ends_there_and_says_so(
    setting: Setting, replies: Replies, telemetry_lines: Callable[..., Any], keep: str
) -> None:
    total = _steps(setting)
    steps = [round(total * k / 4) for k in (1, 2)]
    replies.give(steps[0], end=False)
    replies.give(steps[1], end=True)
    kept = setting.fit(budget=BUDGET.model_copy(update={"keep": keep}), replies=replies)
    assert validated(setting, telemetry_lines) == steps
    said = [line for line in telemetry_lines(setting.output) if "stopped_on_collapse" in line["metrics"]]
    assert [line["step"] for line in said] == [steps[1]]
    assert kept.step == steps[1] if keep == "last" else kept.step in steps


def test_it_waits_for_an_answer_that_comes_late(setting: Setting, replies: Replies) -> None:
    total = _steps(setting)
    first, *others = [round(total * k / 4) for k in (1, 2, 3)]
    for step in others:
        replies.give(step, end=False)
    kept: list[Kept] = []
    training = threading.Thread(target=lambda: kept.append(setting.fit(replies=replies)))
    training.start()
    time.sleep(0.5)
    training.join(timeout=0.5)
    assert training.is_alive()
    replies.give(first, end=True)
    training.join(timeout=60)
    assert [k.step for k in kept] == [first]


def test_a_signal_ends_the_waiting_without_a_step_more(setting: Setting, replies: Replies) -> None:
    stop = StopRequest()
    stop.number = 15
    assert replies.wait(1, stop) == "interrupted"
    before = setting.policy.snapshot()
    with pytest.raises(Stopped, match="SIGTERM; no reply was awaited"):
        setting.fit(replies=Interrupted(setting.output))
    after = setting.policy.snapshot()
    assert any(not torch.equal(before[name], after[name]) for name in before)


class Interrupted(Replies):
    def wait(self, step: int, stop: StopRequest) -> Any:
        return "interrupted"


def _steps(setting: Setting) -> int:
    from training.engine.windows import plan_steps

    plan = plan_steps(setting.windows, batch_size=BUDGET.batch_size, epochs=BUDGET.epochs, seed=0)
    return sum(map(len, plan))


def test_the_parent_ends_a_training_at_the_first_validation_that_shows_a_collapse(tmp_path: Path) -> None:
    experiment = EXPERIMENT.validate_python(PREFERENCE)
    assert isinstance(experiment, PreferenceExperiment)
    said: list[str] = []
    judge = StopOnCollapse(experiment, tmp_path, said.append)
    curves: dict[str, list[tuple[int, float]]] = {
        "diagnostic/validation_users": [(0, 5000)],
        "train/loss": [],
        "validation/ndcg_at_10_full": [],
    }
    for step, loss, value in ((0, 0.7, 0.40), (10, 0.5, 0.41), (20, 0.3, 0.30), (30, 0.2, 0.2)):
        curves["train/loss"].append((max(step, 1), loss))
        curves["validation/ndcg_at_10_full"].append((step, value))
        judge(step, curves)
    answers = {path.stem: json.loads(path.read_text())["end"] for path in (tmp_path / "replies").iterdir()}
    assert answers == {
        "step-00000000": False,
        "step-00000010": False,
        "step-00000020": True,
        "step-00000030": True,
    }
    assert said[0].startswith("collapsed at step 20: ndcg_at_10_full fell from 0.4100 at step 10 to 0.3000")
    judge.close()
    assert list(tmp_path.iterdir()) == []


def test_where_no_answer_is_promised_none_is_awaited(tmp_path: Path) -> None:
    assert not Replies(tmp_path).are_promised


def test_supervised_training_has_nothing_to_collapse() -> None:
    sft = {"kind": "sft", "optimizer": {"kind": "adamw", "lr": 1e-3}, "budget": {"stop_on_collapse": True}}
    with pytest.raises(ValueError, match=r"stop_on_collapse must be absent .* Use budget\.patience"):
        EXPERIMENT.validate_python(sft)
