"""How strongly each boundary negative is pushed: DynamicPO's dual-margin beta (https://arxiv.org/abs/2605.00327).

Dimensions: b prompts, n negatives.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from training.objectives.reductions import mean_over_negatives


@torch.no_grad()
def boundary_beta(
    chosen_score: Float[Tensor, " b"],
    rejected_scores: Float[Tensor, "b n"],
    boundary: Bool[Tensor, "b n"],
    is_negative: Bool[Tensor, "b n"],
    *,
    beta: float,
    margin: float,
    scale: float,
) -> Float[Tensor, "b n"]:
    r"""Beta of each negative from two margins: how far it is below the chosen item and above the other negatives.

    .. math:: \beta_j = \beta\Big(1 + s\tanh\frac{a_j - b_j - m}{|a_j| + |b_j|}\Big), \qquad
        a_j = x_w - x_j, \quad b_j = x_j - \bar x_D

    with D the negatives off the boundary, or all of them where none is off it. Never differentiated, as in the authors'
    code. A negative that outranks the chosen item gets less than :math:`0.62\,\beta` at :math:`s = 0.5`, unless all
    do: it is softened, not amplified. Outside the boundary the value has no meaning, but is finite.

    >>> scores = torch.tensor([[-7.0, -7.5, -12.0, -13.0, -20.0, -22.0]])
    >>> on_boundary = scores > -10
    >>> betas = boundary_beta(torch.tensor([-6.0]), scores, on_boundary, scores < 0, beta=1.0, margin=2.0, scale=0.5)
    >>> betas[on_boundary]
    tensor([0.6192, 0.6402])
    """
    scores = rejected_scores.masked_fill(~is_negative, 0.0)
    off_boundary = is_negative & ~boundary
    others = torch.where(off_boundary.any(dim=-1, keepdim=True), off_boundary, boundary)
    to_boundary = chosen_score[:, None] - scores
    to_others = scores - mean_over_negatives(scores, others)[:, None]
    size = (to_boundary.abs() + to_others.abs()).clamp(min=torch.finfo(scores.dtype).tiny)  # 0 / 0 at a margin of 0
    return beta * (1 + scale * torch.tanh((to_boundary - to_others - margin) / size))
