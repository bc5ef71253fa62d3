r"""DMPO: direct multi-preference optimisation (https://arxiv.org/abs/2405.16127)."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from training.objectives.reductions import mean_over_negatives, zero_without_negatives
from training.objectives.types import Preferences


def dmpo_loss(prefs: Preferences, *, beta: float | Float[Tensor, "b n"]) -> Float[Tensor, " b"]:
    r"""Loss of preferring the chosen item over the average of its negatives.

    .. math:: -\log\sigma\Big(\frac{1}{n}\sum_{j}\beta_j(r_w - r_j)\Big)

    where :math:`r = \log\pi_\theta - \log\pi_{ref}`, summed over tokens. Gradient with respect to every :math:`r_j`:
    :math:`\sigma(-z)\,\beta_j/n`, however easy the negative is. With one negative this is DPO.

    Deviation: this is the published formula. The authors' code trains n separate pairs in which the reference cancels.

    >>> prefs = Preferences.of_row([0.0, -1.0, -3.0])
    >>> dmpo_loss(prefs, beta=1.0)  # margins 1 and 3: log(1 + exp(-2))
    tensor([0.1269])
    """
    margins = beta * (prefs.chosen_log_ratio[:, None] - prefs.rejected_log_ratio)
    return zero_without_negatives(-F.logsigmoid(mean_over_negatives(margins, prefs.is_negative)), prefs)
