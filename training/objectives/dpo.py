r"""DPO: direct preference optimisation (https://arxiv.org/abs/2305.18290, equation 7)."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from training.objectives.reductions import mean_over_negatives
from training.objectives.types import Preferences


def dpo_loss(prefs: Preferences, *, beta: float | Float[Tensor, "b n"]) -> Float[Tensor, " b"]:
    r"""Loss of preferring the chosen item over each of its negatives by itself.

    .. math:: \frac{1}{n}\sum_j -\log\sigma\big(\beta_j(r_w - r_j)\big)

    where :math:`r = \log\pi_\theta - \log\pi_{ref}`, summed over tokens. Gradient with respect to :math:`r_j`:
    :math:`\beta_j\,\sigma(-\beta_j(r_w - r_j))/n`.

    Extension: the published loss has one negative; with n it is the mean over the pairs.

    >>> prefs = Preferences.of_row([0.0, 0.0, -1.0])
    >>> dpo_loss(prefs, beta=1.0)  # mean of log(2) and log(1 + exp(-1))
    tensor([0.5032])
    """
    margins = beta * (prefs.chosen_log_ratio[:, None] - prefs.rejected_log_ratio)
    return mean_over_negatives(-F.logsigmoid(margins), prefs.is_negative)
