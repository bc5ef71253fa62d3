"""Losses and gradients of 64 examples under 17 settings, from an implementation that shares no code with this one."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from training.objectives import OBJECTIVES, Preferences

GOLDEN = json.loads(Path(__file__).with_name("objectives.json").read_text(encoding="utf-8"))
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4}  # of 1 + |expected|


def batch_of_all(dtype: torch.dtype) -> Preferences:
    """The examples as one batch: ragged rows, NaN padding."""
    examples = GOLDEN["examples"]

    def vector(key: str) -> Tensor:
        return torch.tensor([example[key] for example in examples], dtype=dtype)

    def padded(key: str, fill: float) -> Tensor:
        width = 1 + max(len(example[key]) for example in examples)
        return torch.tensor(
            [[*example[key], *[fill] * (width - len(example[key]))] for example in examples], dtype=dtype
        )

    rejected = padded("policy_rejected", torch.nan)
    return Preferences(
        policy_chosen=vector("policy_chosen").requires_grad_(),
        policy_rejected=rejected.requires_grad_(),
        reference_chosen=vector("reference_chosen"),
        reference_rejected=padded("reference_rejected", torch.nan),
        is_negative=~rejected.isnan(),
        chosen_tokens=vector("chosen_length").long(),
        rejected_tokens=padded("rejected_length", 0).long(),
    )


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(
    "setting", GOLDEN["vectors"], ids=lambda setting: f"{setting['kind']} {setting['hyperparameters']}"
)
def test_losses_and_gradients_are_those_of_the_independent_implementation(
    setting: dict[str, Any], dtype: torch.dtype
) -> None:
    prefs = batch_of_all(dtype)
    loss = OBJECTIVES[setting["kind"]](prefs, **setting["hyperparameters"])
    loss.sum().backward()

    expected = setting["expected"]
    assert len(expected) == len(loss) == 64
    tolerance = TOLERANCE[dtype]
    compare: dict[str, Any] = {"rtol": tolerance, "atol": tolerance}
    loss, expected_loss = loss.detach().double(), torch.tensor([e["loss"] for e in expected], dtype=torch.float64)
    torch.testing.assert_close(loss, expected_loss, **compare)
    assert prefs.policy_chosen.grad is not None
    assert prefs.policy_rejected.grad is not None
    expected_chosen = torch.tensor([e["grad_chosen"] for e in expected], dtype=torch.float64)
    torch.testing.assert_close(prefs.policy_chosen.grad.double(), expected_chosen, **compare)
    expected_rejected = torch.tensor([g for e in expected for g in e["grad_rejected"]], dtype=torch.float64)
    torch.testing.assert_close(prefs.policy_rejected.grad[prefs.is_negative].double(), expected_rejected, **compare)
    assert not prefs.policy_rejected.grad[~prefs.is_negative].any()
