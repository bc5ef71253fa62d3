"""MC-PO draws by the softmax it states, and equals it in expectation."""

import pytest
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from training.objectives import OBJECTIVES, Preferences
from training.objectives.mcpo import kernel

POLICY = torch.tensor([-2.0, -3.5, -1.0, -2.5, -6.0], dtype=torch.float64)
REFERENCE = torch.tensor([-2.5, -2.0, -1.5, -2.0, -5.0], dtype=torch.float64)
IS_NEGATIVE = torch.tensor([True, True, True, False, True])
BETA, TEMPERATURE = 0.8, 1.5


def batch(rows: int, policy_rejected: torch.Tensor = POLICY) -> Preferences:
    """The same row many times: each is one draw."""
    one = torch.ones(rows, len(POLICY), dtype=torch.int64)
    zero = torch.zeros(rows, dtype=torch.float64)
    return Preferences(
        zero,
        policy_rejected.expand(rows, -1),
        zero,
        REFERENCE.expand(rows, -1),
        IS_NEGATIVE.expand(rows, -1),
        one[:, 0],
        one,
    )


@pytest.mark.parametrize("score", ["implicit_reward", "policy_logp"])
def test_negatives_are_drawn_as_often_as_the_softmax_says(score: str) -> None:
    rows = 40_000
    leaf = batch(rows).policy_rejected.clone().requires_grad_()
    prefs = Preferences(**{**vars(batch(rows)), "policy_rejected": leaf})
    generator = torch.Generator().manual_seed(0)
    loss = OBJECTIVES["mcpo"](prefs, beta=BETA, temperature=TEMPERATURE, score=score, generator=generator)
    loss.sum().backward()
    assert leaf.grad is not None
    drawn = leaf.grad != 0
    assert (drawn.sum(dim=-1) == 1).all()

    scores = (BETA * (POLICY - REFERENCE) if score == "implicit_reward" else POLICY)[IS_NEGATIVE]
    expected = (scores / TEMPERATURE).softmax(dim=-1)
    frequency = drawn.double().mean(dim=0)[IS_NEGATIVE]
    standard_error = (expected * (1 - expected) / rows).sqrt()
    assert ((frequency - expected).abs() <= 4 * standard_error).all()
    stated = kernel(batch(1), beta=BETA, temperature=TEMPERATURE, score=score)[0]  # type: ignore[arg-type]
    torch.testing.assert_close(stated[IS_NEGATIVE], expected)
    assert stated[~IS_NEGATIVE].item() == 0


def test_mean_gradient_is_that_of_the_expected_loss() -> None:
    rows = 40_000
    leaf = POLICY.clone().requires_grad_()
    hyperparameters = {"beta": BETA, "temperature": TEMPERATURE, "score": "implicit_reward"}
    generator = torch.Generator().manual_seed(1)
    OBJECTIVES["mcpo"](batch(rows, leaf), generator=generator, **hyperparameters).mean().backward()

    probabilities = kernel(batch(1), **hyperparameters)[0]  # type: ignore[arg-type]
    exact = POLICY.clone().requires_grad_()
    (probabilities * -F.logsigmoid(-BETA * (exact - REFERENCE))).sum().backward()
    assert leaf.grad is not None
    assert exact.grad is not None
    torch.testing.assert_close(leaf.grad, exact.grad, rtol=0.03, atol=0.003)


def test_padding_leaves_every_draw_as_it_was() -> None:
    """One uniform number a row, whatever the number of negatives is."""
    prefs, hyperparameters = batch(500), {"beta": BETA, "temperature": TEMPERATURE, "score": "policy_logp"}
    keep = IS_NEGATIVE.nonzero()[:, 0]
    narrow = Preferences(
        **{name: values[:, keep] if values.dim() == 2 else values for name, values in vars(prefs).items()}
    )
    losses = [
        OBJECTIVES["mcpo"](p, generator=torch.Generator().manual_seed(3), **hyperparameters) for p in (prefs, narrow)
    ]
    assert torch.equal(*losses)


def test_a_batch_cut_in_two_draws_what_it_would_draw_whole() -> None:
    """As a step does that is cut into several passes: one generator, which goes on from pass to pass."""
    hyperparameters = {"beta": BETA, "temperature": TEMPERATURE, "score": "policy_logp"}
    whole, passes = (torch.Generator().manual_seed(5) for _ in range(2))
    expected = OBJECTIVES["mcpo"](batch(50), generator=whole, **hyperparameters)
    parts = [OBJECTIVES["mcpo"](batch(rows), generator=passes, **hyperparameters) for rows in (7, 30, 13)]
    assert torch.equal(torch.cat(parts), expected)


def catalogue_preferences(
    policy_logp: Float[Tensor, "b i"],
    reference_logp: Float[Tensor, "b i"],
    chosen: Int[Tensor, " b"],
    is_excluded: Bool[Tensor, "b i"],
) -> Preferences:
    """The chosen item over every other one that is not excluded, where one token is one item."""
    at = chosen[:, None]
    is_other = torch.arange(policy_logp.shape[-1], device=policy_logp.device) != at
    one_token = torch.ones_like(policy_logp, dtype=torch.int64)
    return Preferences(
        policy_chosen=policy_logp.gather(-1, at)[:, 0],
        policy_rejected=policy_logp,
        reference_chosen=reference_logp.gather(-1, at)[:, 0],
        reference_rejected=reference_logp,
        is_negative=is_other & ~is_excluded,
        chosen_tokens=one_token[:, 0],
        rejected_tokens=one_token,
    )


def test_softmax_over_the_catalogue_is_the_control_of_one_draw() -> None:
    """S-DPO over every item that is left is the exact softmax; with the chosen item's own share it sums to 1."""
    policy, reference = (torch.randn(2, 6, generator=torch.Generator().manual_seed(s)).log_softmax(-1) for s in (0, 1))
    chosen, is_excluded = torch.tensor([1, 4]), torch.zeros(2, 6, dtype=torch.bool)
    is_excluded[0, 3] = True
    prefs = catalogue_preferences(policy, reference, chosen, is_excluded)
    rewards = (policy - reference).masked_fill(is_excluded, -torch.inf)
    expected = -rewards.log_softmax(dim=-1).gather(-1, chosen[:, None])[:, 0]
    torch.testing.assert_close(OBJECTIVES["sdpo"](prefs, beta=1.0), expected)
    assert prefs.is_negative.sum(dim=-1).tolist() == [4, 5]
