"""Diagnostics on the toy in which the collapse can be computed by hand, and on batches against their definitions."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

from contracts.config import Objective
from training.objectives import OBJECTIVES, Preferences, diagnostics
from training.objectives.diagnostics import diagnose

CONFIGS = {kind: TypeAdapter(Objective).validate_python({"kind": kind}) for kind in OBJECTIVES}
WITHOUT_SATURATION = {"ipo", "lpo", "orpo"}


def hyperparameters(kind: str) -> dict[str, Any]:
    generator = {"generator": torch.Generator().manual_seed(0)} if CONFIGS[kind].needs_generator else {}
    return CONFIGS[kind].hyperparameters | generator


def toy(n: int) -> Preferences:
    """One boundary negative with margin 0, the others easy with margin 10; policy and log-ratio are the same."""
    rejected = torch.full((1, n), -10.0, dtype=torch.float64)
    rejected[0, 0] = 0.0
    zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, n, dtype=torch.int64)
    return Preferences(zero, rejected, zero, torch.zeros_like(rejected), one == 1, one[:, 0], one)


def ragged(rows: int = 40, n: int = 6) -> Preferences:
    generator = torch.Generator().manual_seed(7)

    def logp(*shape: int) -> torch.Tensor:
        return -8 + 3 * torch.randn(*shape, generator=generator, dtype=torch.float64)

    is_negative = torch.rand(rows, n, generator=generator) < 0.8
    is_negative[0] = False
    rejected = logp(rows, n).masked_fill(~is_negative, torch.nan)
    tokens = torch.randint(1, 4, (rows, n), generator=generator)
    return Preferences(logp(rows), rejected, logp(rows), logp(rows, n), is_negative, tokens[:, 0], tokens)


def measured(prefs: Preferences, kind: str, **changed: Any) -> dict[str, float]:
    return {name: value.item() for name, value in diagnose(prefs, kind, **(hyperparameters(kind) | changed)).items()}


@pytest.mark.parametrize("n", [1, 2, 3, 5, 10, 15, 19])
def test_the_toy_collapses_under_dmpo_and_not_under_sdpo(n: int) -> None:
    easy = n - 1
    dmpo, sdpo, dpo = (measured(toy(n), kind, beta=1.0) for kind in ("dmpo", "sdpo", "dpo"))

    factor = 1 / (1 + math.exp(10 * easy / n))  # sigma(-mean margin)
    assert dmpo["grad_boundary_abs"] == pytest.approx(factor / n)
    assert dmpo["grad_share_easy"] == pytest.approx(easy / n)
    assert dmpo["effective_negatives"] == pytest.approx(n)
    assert dmpo["saturation"] == pytest.approx(factor)

    total = 1 + easy * math.exp(-10)
    assert sdpo["grad_boundary_abs"] == pytest.approx(1 / (1 + total))
    assert sdpo["grad_share_easy"] == pytest.approx(easy * math.exp(-10) / total)
    assert sdpo["saturation"] == pytest.approx(total / (1 + total))

    assert dpo["grad_boundary_abs"] == pytest.approx(0.5 / n)
    assert dpo["saturation"] == pytest.approx((0.5 + easy / (1 + math.exp(10))) / n)


def test_the_loss_falls_four_orders_of_magnitude_and_boundary_learning_five() -> None:
    one, nineteen = toy(1), toy(19)
    loss = [OBJECTIVES["dmpo"](prefs, beta=1.0).item() for prefs in (one, nineteen)]
    learning = [measured(prefs, "dmpo", beta=1.0)["grad_boundary_abs"] for prefs in (one, nineteen)]
    assert loss == [pytest.approx(0.693, rel=1e-3), pytest.approx(7.68e-5, rel=1e-3)]
    assert learning == [pytest.approx(0.5), pytest.approx(4.04e-6, rel=2e-3)]


def test_dynamicpo_leaves_the_easy_negatives_of_the_toy_alone() -> None:
    values = measured(toy(19), "dynamicpo-dmpo", beta=1.0)
    beta = 1 + 0.5 * math.tanh((0 - 10 - 6) / 10)
    assert values["grad_share_easy"] == 0
    assert values["effective_negatives"] == 1
    assert values["boundary_fraction"] == pytest.approx(1 / 19)
    assert values["grad_boundary_abs"] == pytest.approx(beta / 2)
    assert values["saturation"] == pytest.approx(0.5)
    for name in ("beta_mean", "beta_q10", "beta_q50", "beta_q90"):
        assert values[name] == pytest.approx(beta)
    assert (values["branch_violation"], values["branch_cluster"], values["branch_all"]) == (1, 0, 0)


def test_rates_count_by_policy_and_by_log_ratio() -> None:
    """Row 1: policy margins 1, -1, 6, log-ratio margins 1, 1, -2. Row 2: one negative, below in both."""
    one = torch.ones(2, 3, dtype=torch.int64)
    policy = torch.tensor([[-3.0, -1.0, -8.0], [-4.0, torch.nan, torch.nan]])
    ratio = torch.tensor([[-1.0, -1.0, 2.0], [-3.0, torch.nan, torch.nan]])
    is_negative = torch.tensor([[True, True, True], [True, False, False]])
    prefs = Preferences(
        torch.full((2,), -2.0), policy, torch.full((2,), -2.0), policy - ratio, is_negative, one[:, 0], one
    )
    values = measured(prefs, "dmpo", beta=2.0)
    assert values["violation_rate_policy"] == pytest.approx(1 / 4)
    assert values["violation_rate_ratio"] == pytest.approx(1 / 4)
    assert values["violation_disagreement"] == pytest.approx(2 / 4)
    assert values["win_rate_pair"] == pytest.approx(3 / 4)
    assert values["win_rate_all"] == pytest.approx(1 / 2)
    assert values["boundary_fraction"] == pytest.approx(2 / 4)
    assert (values["branch_violation"], values["branch_cluster"], values["branch_all"]) == (0.5, 0.0, 0.5)
    assert values["chosen_logp_drift"] == 0
    assert values["rejected_logp_drift"] == pytest.approx(-3 / 4)
    assert values["margin_q50"] == pytest.approx(2.0)  # of -4, 2, 2, 6
    assert values["grad_share_easy"] == pytest.approx((1 / 3 + 0) / 2)  # only the margin of 6 nats is easy


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_gradients_are_those_of_the_loss(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same numbers, computed from the objective itself and row by row."""
    prefs = ragged()
    leaf = prefs.policy_rejected.clone().requires_grad_()
    OBJECTIVES[kind](replace(prefs, policy_rejected=leaf), **hyperparameters(kind)).sum().backward()
    assert leaf.grad is not None
    shares, effective = [], []
    for row in range(len(leaf)):
        size = leaf.grad[row].abs()
        if size.sum() > 0:
            is_easy = (prefs.policy_chosen[row] - prefs.policy_rejected[row] > 2.0) & prefs.is_negative[row]
            shares.append((size[is_easy].sum() / size.sum()).item())
            effective.append((size.sum() ** 2 / size.square().sum()).item())
    monkeypatch.setattr(diagnostics, "EASY_MARGIN", 2.0)
    values = measured(prefs, kind)
    assert values["grad_share_easy"] == pytest.approx(sum(shares) / len(shares))
    assert values["effective_negatives"] == pytest.approx(sum(effective) / len(effective))


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_every_value_is_a_finite_scalar(kind: str) -> None:
    values = diagnose(ragged(), kind, **hyperparameters(kind))
    assert all(value.shape == () and value.isfinite() for value in values.values())
    assert ("saturation" in values) == (kind.removeprefix("dynamicpo-") not in WITHOUT_SATURATION)


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_measuring_changes_neither_the_batch_nor_a_generator(kind: str) -> None:
    leaf = ragged().policy_rejected.requires_grad_()
    prefs, given = replace(ragged(), policy_rejected=leaf), hyperparameters(kind)
    before = given["generator"].get_state() if "generator" in given else None
    with torch.no_grad():
        values = diagnose(prefs, kind, **given)
    assert leaf.grad is None
    assert not any(value.requires_grad for value in values.values())
    assert before is None or torch.equal(given["generator"].get_state(), before)


def test_what_no_row_has_is_not_a_number() -> None:
    empty = replace(toy(3), is_negative=torch.zeros(1, 3, dtype=torch.bool))
    assert all(math.isnan(value) for value in measured(empty, "dynamicpo-sdpo").values())


def test_ablations_report_the_boundary_that_selection_would_take() -> None:
    selected, kept = (measured(ragged(), "dynamicpo-dmpo", selection=selection) for selection in (True, False))
    assert selected["boundary_fraction"] == kept["boundary_fraction"] < 1
    assert kept["effective_negatives"] > selected["effective_negatives"]
    assert measured(ragged(), "dynamicpo-dmpo", weighting=False)["beta_mean"] == 1.0
