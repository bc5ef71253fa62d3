r"""S-DPO: softmax direct preference optimisation (https://arxiv.org/abs/2406.09215)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from training.objectives.types import Preferences


def sdpo_loss(prefs: Preferences, *, beta: float | Float[Tensor, "b n"]) -> Float[Tensor, " b"]:
    r"""Loss of preferring the chosen item over all of its negatives at once.

    .. math:: -\log\sigma\Big(-\log\sum_{j}\exp\big(\beta_j(r_j - r_w)\big)\Big)

    where :math:`r = \log\pi_\theta - \log\pi_{ref}`, summed over tokens. Gradient with respect to :math:`r_j`:
    :math:`\beta_j e_j/(1+\sum e)` with :math:`e_j = \exp(\beta_j(r_j - r_w))`, so the hardest negatives take it. With
    one negative this is DPO.

    Deviation: a logsumexp. The authors' exp-sum-log overflows from a margin of 89 nats in float32, and its
    gradient is NaN where the policy is right by 104.

    >>> prefs = Preferences.of_row([0.0, 0.0, 0.0, 0.0, 0.0])
    >>> sdpo_loss(prefs, beta=1.0)  # indifferent between 5 items: log(5)
    tensor([1.6094])
    """
    margins = beta * (prefs.rejected_log_ratio - prefs.chosen_log_ratio[:, None])
    margins = margins.masked_fill(~prefs.is_negative, -torch.inf)
    return -F.logsigmoid(-torch.logsumexp(margins, dim=-1))
