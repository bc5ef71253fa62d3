"""What a GPU computes is what the CPU computes. Skipped without a device."""

import pytest
import torch

from contracts.config import EXPERIMENT, PreferenceExperiment
from training.objectives import OBJECTIVES, Preferences

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def batch(device: str, *, rows: int = 64, n: int = 15) -> Preferences:
    draws = torch.Generator().manual_seed(0)

    def logps(*shape: int) -> torch.Tensor:
        return (-8 * torch.rand(*shape, generator=draws, dtype=torch.float64)).float().to(device)

    return Preferences(
        policy_chosen=logps(rows),
        policy_rejected=logps(rows, n),
        reference_chosen=logps(rows),
        reference_rejected=logps(rows, n),
        is_negative=(torch.rand(rows, n, generator=draws) < 0.9).to(device),
        chosen_tokens=torch.randint(1, 5, (rows,), generator=draws).to(device),
        rejected_tokens=torch.randint(1, 5, (rows, n), generator=draws).to(device),
    )


@pytest.mark.parametrize("kind", sorted(OBJECTIVES))
def test_every_objective_is_the_same_on_the_device(kind: str) -> None:
    settings = {"kind": "preference", "start_from": "sft", "objective": {"kind": kind}}
    experiment = EXPERIMENT.validate_python({**settings, "optimizer": {"kind": "adamw", "lr": 1e-3}})
    assert isinstance(experiment, PreferenceExperiment)
    losses = []
    torch.use_deterministic_algorithms(True)
    try:
        for device in ("cpu", "cuda"):
            hyperparameters = experiment.objective.hyperparameters
            if experiment.objective.needs_generator:
                hyperparameters["generator"] = torch.Generator().manual_seed(1)
            losses.append(OBJECTIVES[kind](batch(device), **hyperparameters).cpu())
    finally:
        torch.use_deterministic_algorithms(False)
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-4, atol=1e-5)
