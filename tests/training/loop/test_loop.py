"""The loop: learning rates, which weights are kept, when it stops, and what a loss that is no number does."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from contracts.config import (
    AdamW,
    Budget,
    ComputeConfig,
    Dmpo,
    Lion,
    PreferenceExperiment,
    ScratchBackbone,
    SftExperiment,
)
from training.backbones.scratch import scratch_model
from training.criteria.next_item import NextItem, Targets
from training.engine.policy import Policy
from training.engine.windows import Windows, find_windows
from training.io.readers import read_rows
from training.io.rows import Rows
from training.loop import loop
from training.loop.accumulation import accumulate
from training.loop.loop import Diverged, Kept, Run, fit, learning_rate
from training.loop.replies import Replies
from training.loop.telemetry import TelemetryWriter
from training.representations.items import ItemVocabulary

BUDGET = Budget(epochs=4, batch_size=32, validations=4)
BACKBONE = ScratchBackbone(hidden=16, layers=1, heads=2, context=16, dropout=0.0)
ADAMW = AdamW(kind="adamw", lr=0.01)


class Setting:
    """A small policy and its rows."""

    def __init__(self, tables: Any, folder: Path) -> None:
        self.windows: Windows = find_windows(read_rows(tables.histories, "train", tables.n_items))
        self.validation: Rows = read_rows(tables.histories, "validation", tables.n_items)
        vocabulary = ItemVocabulary(tables.n_items)
        self.policy = Policy(scratch_model(BACKBONE, vocabulary.n_tokens, seed=0), vocabulary, 16)
        self.output = folder

    def fit(
        self,
        criterion: Any = None,
        budget: Budget = BUDGET,
        *,
        measures_start: bool = False,
        optimizer: AdamW | Lion = ADAMW,
        replies: Replies | None = None,
    ) -> Kept:
        experiment = SftExperiment(kind="sft", optimizer=optimizer, budget=budget)
        if measures_start:
            experiment = PreferenceExperiment(
                kind="preference", start_from="sft", objective=Dmpo(kind="dmpo"), optimizer=optimizer, budget=budget
            )
        with TelemetryWriter(self.output / "telemetry.jsonl") as telemetry:
            run = Run(
                self.policy,
                self.windows,
                self.validation,
                criterion or NextItem(self.windows.rows),
                experiment,
                ComputeConfig(log_every=3),
                telemetry,
            )
            return fit(run, replies=replies)


Measured = tuple[dict[str, float], np.ndarray]


def measured(value: float) -> Measured:
    """What a validation finds."""
    return {"ndcg_at_10_full": value}, np.ones(40, dtype=np.int64)


@pytest.fixture
def setting(tables: Any, tmp_path: Path) -> Setting:
    return Setting(tables, tmp_path)


def test_the_schedules_warm_up_and_come_down() -> None:
    rates = {
        schedule: [
            learning_rate(AdamW(kind="adamw", lr=2.0e-1, schedule=schedule, warmup=0.2), k, 10) for k in range(1, 11)
        ]
        for schedule in ("constant", "linear", "cosine")
    }
    for of_schedule in rates.values():
        assert of_schedule[:3] == [0.1, 0.2, 0.2]
    assert rates["constant"][2:] == [0.2] * 8
    assert rates["linear"][2:] == pytest.approx([0.2 * (8 - k) / 8 for k in range(8)])
    assert rates["cosine"][2:] == pytest.approx([0.1 * (1 + math.cos(math.pi * k / 8)) for k in range(8)])


def test_validations_are_evenly_spaced_and_the_last_is_at_the_last_step(
    setting: Setting, telemetry_lines: Callable[[Path], list[dict[str, Any]]]
) -> None:
    setting.fit()
    lines = telemetry_lines(setting.output)
    total = next(line["metrics"]["steps_total"] for line in lines if line["kind"] == "progress")
    assert [line["step"] for line in lines if line["kind"] == "validation"] == [
        round(total * k / 4) for k in (1, 2, 3, 4)
    ]
    logged = [line["step"] for line in lines if line["kind"] == "train"]
    assert logged == [1, *[step for step in range(3, total, 3)], total]
    assert lines[-1]["epoch"] == BUDGET.epochs


def test_the_weights_of_the_best_validation_are_kept(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([0.9, 0.2, 0.5, 0.5, 0.1])  # the first is of the untrained policy: measured, never kept
    seen: list[dict[str, Tensor]] = []

    def measure(policy: Policy, *_: Any) -> Measured:
        seen.append(policy.snapshot())
        return measured(next(values))

    monkeypatch.setattr(loop, "validate", measure)
    best = setting.fit(measures_start=True)
    assert best.value == 0.5
    kept = setting.policy.snapshot()
    assert all(torch.equal(kept[name], seen[2][name]) for name in kept)  # of two equal ones the earlier
    assert any(not torch.equal(kept[name], seen[3][name]) for name in kept)


def test_the_weights_of_the_last_step_are_kept_where_the_budget_says_so(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([0.9, 0.5, 0.4, 0.2])
    monkeypatch.setattr(loop, "validate", lambda *_: measured(next(values)))
    last = setting.fit(budget=BUDGET.model_copy(update={"keep": "last"}))
    assert last.value == 0.2
    kept = setting.policy.snapshot()
    assert all(torch.equal(kept[name], last.weights[name]) for name in kept)
    other = Setting.__new__(Setting)
    other.__dict__ |= setting.__dict__
    other.policy = Policy(scratch_model(BACKBONE, ItemVocabulary(30).n_tokens, seed=0), ItemVocabulary(30), 16)
    values = iter([0.1, 0.2, 0.3, 0.4])  # the best is the last
    best = other.fit()
    assert best.step == last.step
    assert all(torch.equal(best.weights[name], last.weights[name]) for name in kept)


def test_patience_counts_from_the_best_and_the_last_weights_are_those_it_ended_at(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([0.3, 0.2, 0.25])
    monkeypatch.setattr(loop, "validate", lambda *_: measured(next(values)))
    assert setting.fit(budget=BUDGET.model_copy(update={"patience": 2, "keep": "last"})).value == 0.25


def test_lion_moves_every_weight_by_the_learning_rate(setting: Setting) -> None:
    before = setting.policy.snapshot()
    n_rows = len(setting.windows.rows)
    one_step = Budget(epochs=1, batch_size=n_rows, validations=1)
    setting.fit(budget=one_step, optimizer=Lion(lr=1e-3, schedule="constant", warmup=0.0))
    after = setting.policy.snapshot()
    moved = torch.cat([(after[name] - before[name]).abs().flatten() for name in before])
    # The first step is the sign of the gradient: a whole step, or none where the gradient is exactly 0.
    is_whole = torch.isclose(moved, torch.tensor(1e-3), rtol=1e-3)
    assert bool((is_whole | (moved == 0)).all())
    assert float(is_whole.float().mean()) > 0.5


def test_training_stops_when_patience_runs_out(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([0.3, 0.2, 0.25])
    monkeypatch.setattr(loop, "validate", lambda *_: measured(next(values)))
    best = setting.fit(budget=BUDGET.model_copy(update={"patience": 2, "validations": 4}))
    assert best.value == 0.3
    assert next(values, None) is None


class BreaksLater(NextItem):
    """A loss that is NaN for one row, from some step on."""

    def __init__(self, rows: Rows, row: int, after: int) -> None:
        super().__init__(rows)
        self.bad, self.calls_left = row, after

    def batch(self, row: np.ndarray) -> Targets:
        return Broken(super().batch(row).items, self, row)


@dataclass(frozen=True)
class Broken(Targets):
    criterion: BreaksLater
    row: np.ndarray

    def losses(self, logps: Tensor) -> Tensor:
        bad = self.criterion.bad
        self.criterion.calls_left -= bad in self.row
        losses = super().losses(logps)
        return (
            losses.masked_fill(torch.from_numpy(self.row == bad), math.nan) if self.criterion.calls_left < 0 else losses
        )


def test_a_loss_that_is_no_number_names_step_and_row_and_keeps_the_best_weights(setting: Setting) -> None:
    with pytest.raises(
        Diverged, match=r"from rows 7 at step \d+ of \d+ \(epoch 3\)\. The weights of step \d+ are kept"
    ) as caught:
        setting.fit(BreaksLater(setting.windows.rows, row=7, after=2))
    best = caught.value.best
    assert best is not None
    kept = setting.policy.snapshot()
    assert all(torch.equal(kept[name], best.weights[name]) for name in kept)
    assert all(torch.isfinite(weight).all() for weight in kept.values())


def test_a_loss_that_is_no_number_at_once_keeps_nothing(setting: Setting) -> None:
    with pytest.raises(Diverged, match=r"epoch 1\)\. No weights were measured before") as caught:
        setting.fit(BreaksLater(setting.windows.rows, row=7, after=0))
    assert caught.value.best is None


def test_the_reported_loss_is_the_mean_over_rows(setting: Setting, telemetry_lines: Callable[..., Any]) -> None:
    setting.fit(budget=Budget(epochs=1, batch_size=10_000, validations=1))
    line = next(line for line in telemetry_lines(setting.output) if line["kind"] == "train")
    fresh = Setting.__new__(Setting)
    fresh.policy = Policy(
        scratch_model(ScratchBackbone(hidden=16, layers=1, heads=2, context=16, dropout=0.0), 32, seed=0),
        ItemVocabulary(30),
        16,
    )
    loss, _ = accumulate(fresh.policy, setting.windows, NextItem(setting.windows.rows), ComputeConfig())
    assert line["metrics"]["loss"] == pytest.approx(float(loss))
