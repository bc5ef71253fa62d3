r"""MC-PO: one negative drawn by a Monte-Carlo kernel (https://arxiv.org/abs/2502.04567).

A reconstruction: the body of the paper and its code could not be read. The first version draws by the reward, the
published one by the policy's log-likelihood; both are here. Dimensions: b prompts, n negatives.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from training.objectives.reductions import running_sum, zero_without_negatives
from training.objectives.types import Preferences

KernelScore = Literal["implicit_reward", "policy_logp"]


def mcpo_loss(
    prefs: Preferences,
    *,
    beta: float | Float[Tensor, "b n"],
    temperature: float,
    score: KernelScore,
    generator: torch.Generator,
) -> Float[Tensor, " b"]:
    r"""DPO on one negative of the row's pool, drawn where the policy errs most.

    .. math:: -\log\sigma\big(\beta_j(r_w - r_j)\big), \qquad j \sim \mathrm{softmax}(s/\tau)

    where :math:`r = \log\pi_\theta - \log\pi_{ref}`, summed over tokens, and s is :math:`\beta_j r_j`
    (`implicit_reward`) or :math:`\log\pi_\theta` (`policy_logp`); no gradient flows through the draw. Gradient with
    respect to the drawn :math:`r_j`: DPO's; the others have none.

    `generator` gives one uniform number for each row, in row order, whatever n is: the caller seeds it (by seed, step
    and pass, say) to make a run repeat. Padding never changes a draw; the order of the negatives does. The exact
    softmax that a draw estimates is S-DPO over the same negatives.

    >>> prefs = Preferences.of_row([0.0, 0.0, -50.0])
    >>> mcpo_loss(prefs, beta=1.0, temperature=1.0, score="implicit_reward", generator=torch.Generator())  # log(2)
    tensor([0.6931])
    """
    drawn = _draw(kernel(prefs, beta=beta, temperature=temperature, score=score), generator)[:, None]
    margins = beta * (prefs.chosen_log_ratio[:, None] - prefs.rejected_log_ratio)
    return zero_without_negatives(-F.logsigmoid(margins.gather(-1, drawn)[:, 0]), prefs)


@torch.no_grad()
def kernel(
    prefs: Preferences, *, beta: float | Float[Tensor, "b n"], temperature: float, score: KernelScore
) -> Float[Tensor, "b n"]:
    """Probability of drawing each negative, in float64; 0 in padding and in rows without negatives."""
    if score == "implicit_reward":
        scores = beta * prefs.rejected_log_ratio
    elif score == "policy_logp":
        scores = prefs.rejected_logp
    else:
        raise ValueError(f"score must be implicit_reward or policy_logp, got {score!r}.")
    logits = (scores.double() / temperature).masked_fill(~prefs.is_negative, -torch.inf)
    return logits.softmax(dim=-1).masked_fill(~prefs.is_negative, 0.0)  # an empty row is 0 / 0


@torch.no_grad()
def _draw(probabilities: Float[Tensor, "b n"], generator: torch.Generator) -> Int[Tensor, " b"]:
    """One index for each row by inverting the cumulative distribution; 0 for a row of zeros."""
    uniform = torch.rand(len(probabilities), dtype=torch.float64, generator=generator, device=generator.device)
    cumulative = running_sum(probabilities.t()).t().masked_fill(probabilities == 0, 0.0)
    # In (0, largest], so that some index reaches it, and only one with a probability above 0 can.
    target = (1 - uniform.to(cumulative.device)) * cumulative.amax(dim=-1)
    return (cumulative >= target[:, None]).int().argmax(dim=-1)
