"""DynamicPO on one row that can be checked by hand, with and without a violation, and its two halves apart."""

import math
from typing import Any

import pytest
import torch

from training.objectives import OBJECTIVES, Preferences
from training.objectives.dynamicpo import focus

REJECTED = [-7.0, -7.5, -12.0, -13.0, -20.0, -22.0]
RATIO = [0.2, -0.1, -1.0, 0.5, -1.0, -1.0]


def batch(chosen: float = -6.0) -> Preferences:
    """The chosen item's log-ratio is 0.5; two negatives are near, or above it at a chosen log-probability of -9."""
    rejected, ratio = (torch.tensor([values], dtype=torch.float64) for values in (REJECTED, RATIO))
    policy_chosen, four = torch.tensor([chosen], dtype=torch.float64), torch.full((1, 6), 4)
    return Preferences(policy_chosen, rejected, policy_chosen - 0.5, rejected - ratio, four == 4, four[:, 0], four)


def first_only(prefs: Preferences) -> Preferences:
    return Preferences(**{name: values[:, :1] if values.dim() == 2 else values for name, values in vars(prefs).items()})


@pytest.mark.parametrize(
    ("kind", "hyperparameters", "loss"),
    [
        ("dmpo", {}, 0.341154),
        ("sdpo", {}, 1.375997),
        ("mppo", {"probability": "joint"}, 0.686470),
        ("mppo", {"probability": "geometric_mean"}, 0.337624),
        ("dynamicpo-dmpo", {"margin": 2.0}, 0.560797),
        ("dynamicpo-dmpo", {"margin": 6.0}, 0.573480),
        ("dynamicpo-sdpo", {"margin": 2.0}, 0.920895),
        ("dynamicpo-sdpo", {"margin": 6.0}, 0.937972),
        ("dynamicpo-mppo", {"margin": 2.0, "probability": "joint"}, 0.692046),
        ("dynamicpo-mppo", {"margin": 6.0, "probability": "joint"}, 0.692158),
    ],
)
def test_without_a_violation(kind: str, hyperparameters: dict[str, Any], loss: float) -> None:
    assert OBJECTIVES[kind](batch(), beta=1.0, **hyperparameters).item() == pytest.approx(loss, abs=1e-6)


@pytest.mark.parametrize(
    ("kind", "margin", "loss"),
    [
        ("dynamicpo-dmpo", 2.0, 0.569933),
        ("dynamicpo-dmpo", 6.0, 0.578262),
        ("dynamicpo-sdpo", 2.0, 0.933019),
        ("dynamicpo-sdpo", 6.0, 0.944288),
    ],
)
def test_with_two_violations(kind: str, margin: float, loss: float) -> None:
    assert OBJECTIVES[kind](batch(-9.0), beta=1.0, margin=margin).item() == pytest.approx(loss, abs=1e-6)


@pytest.mark.parametrize(
    ("kind", "hyperparameters", "loss"),
    [
        ("dpo", {"beta": 1.0}, 0.554355),
        ("simpo", {"beta": 2.0, "gamma": 1.6}, 1.387335),
        ("lpo", {"beta": 0.2, "chosen_weight": 1.0, "rejected_weight": 0.8, "positive_weight": 0.0}, 1.94),
    ],
)
def test_on_the_first_negative_alone(kind: str, hyperparameters: dict[str, Any], loss: float) -> None:
    assert OBJECTIVES[kind](first_only(batch()), **hyperparameters).item() == pytest.approx(loss, abs=1e-6)


@pytest.mark.parametrize(("margin", "betas"), [(2.0, [0.619203, 0.640161]), (6.0, [0.560416, 0.571882])])
def test_boundary_and_betas(margin: float, betas: list[float]) -> None:
    boundary, of_all = focus(batch(), beta=1.0, margin=margin)
    assert boundary.tolist() == [[True, True, False, False, False, False]]
    assert of_all[boundary].tolist() == pytest.approx(betas, abs=1e-6)


def test_selection_alone_keeps_beta() -> None:
    """Margins of 0.3 and 0.6: DMPO of their mean."""
    loss = OBJECTIVES["dynamicpo-dmpo"](batch(), beta=1.0, margin=6.0, weighting=False)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-0.45)))


def test_beta_alone_keeps_every_negative_and_weighs_it_against_the_mean_of_all() -> None:
    boundary, betas = focus(batch(), beta=1.0, margin=6.0, selection=False)
    mean = sum(REJECTED) / 6
    expected = []
    for score in REJECTED:
        below, above = -6.0 - score, score - mean
        expected.append(1 + 0.5 * math.tanh((below - above - 6.0) / (abs(below) + abs(above))))
    assert boundary.all()
    assert betas[0].tolist() == pytest.approx(expected)


def test_the_log_ratio_selects_other_negatives_than_the_policy() -> None:
    """By log-ratio, the fourth reaches the chosen item's 0.5 exactly, so it violates; by policy none does."""
    boundary, _ = focus(batch(), beta=1.0, margin=6.0, selection_score="log_ratio")
    assert boundary.tolist() == [[False, False, False, True, False, False]]


def test_a_margin_of_zero_with_every_score_equal_leaves_beta() -> None:
    """0 / 0 in the equation."""
    rejected, one = torch.full((1, 4), -3.0), torch.ones(1, 4, dtype=torch.int64)
    prefs = Preferences(rejected[:, 0], rejected, rejected[:, 0], rejected, one == 1, one[:, 0], one)
    _, betas = focus(prefs, beta=1.0, margin=0.0)
    assert betas.tolist() == [[1.0] * 4]
