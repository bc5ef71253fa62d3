r"""MPPO: multi pair-wise preference optimisation (https://arxiv.org/abs/2412.15244, equations 4 and 10, Pair-MNM)."""

from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from training.objectives.reductions import zero_without_negatives
from training.objectives.types import Preferences

Probability = Literal["geometric_mean", "joint"]


def mppo_loss(
    prefs: Preferences, *, beta: float | Float[Tensor, "b n"], probability: Probability
) -> Float[Tensor, " b"]:
    r"""Loss of giving the chosen item a higher probability than its negatives, summed inside the sigmoid.

    .. math:: -\log\sigma\Big(\sum_j\beta_j(p_w - p_j)\Big)

    where :math:`p = e^{\bar L}` (`geometric_mean` over the tokens, the paper's) or :math:`p = e^{L}` (`joint`, as in
    DynamicPO's code); no reference. Gradient with respect to :math:`\log p_j`: :math:`\beta_j p_j\,\sigma(-z)`, so an
    improbable negative is hardly pushed, and neither is an improbable chosen item pulled.

    Deviations: beta is DynamicPO's, 1 in the paper. A log-probability above 0 (which none has) counts as 0.

    >>> from math import log
    >>> prefs = Preferences.of_row([log(0.5), log(0.5), log(0.25)])
    >>> mppo_loss(prefs, beta=1.0, probability="joint")  # 2 × 0.5 - 0.75: log(1 + exp(-0.25))
    tensor([0.5759])
    """
    if probability == "geometric_mean":
        chosen, rejected = prefs.chosen_mean_logp, prefs.rejected_mean_logp
    elif probability == "joint":
        chosen, rejected = prefs.policy_chosen, prefs.rejected_logp
    else:
        raise ValueError(f"probability must be geometric_mean or joint, got {probability!r}.")
    margins = beta * (chosen.clamp(max=0).exp()[:, None] - rejected.clamp(max=0).exp())
    total = margins.masked_fill(~prefs.is_negative, 0.0).sum(dim=-1)
    return zero_without_negatives(-F.logsigmoid(total), prefs)
