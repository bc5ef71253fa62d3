r"""SimPO: simple preference optimisation without a reference (https://arxiv.org/abs/2405.14734)."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from training.objectives.reductions import mean_over_negatives
from training.objectives.types import Preferences


def simpo_loss(prefs: Preferences, *, beta: float | Float[Tensor, "b n"], gamma: float) -> Float[Tensor, " b"]:
    r"""Loss of giving the chosen item a higher log-probability per token than each negative, by a margin.

    .. math:: \frac{1}{n}\sum_j -\log\sigma\big(\beta_j(\bar L_w - \bar L_j) - \gamma\big)

    where :math:`\bar L` is the policy's log-probability per token; no reference. Gradient with respect to :math:`\bar
    L_j`:
    :math:`\beta_j\,\sigma(-z_j)/n`. `gamma` is subtracted after beta, as in the equation; the authors' code has
    `gamma_beta_ratio`, which is `gamma` / `beta`.

    Extension: the published loss has one negative; with n it is the mean over the pairs.

    >>> prefs = Preferences.of_row([-2.0, -2.0, -6.0], tokens=2)
    >>> simpo_loss(prefs, beta=2.0, gamma=4.0)  # per token -1 against -1 and -3: log(1 + e⁴) and log(2)
    tensor([2.3556])
    """
    margins = beta * (prefs.chosen_mean_logp[:, None] - prefs.rejected_mean_logp) - gamma
    return mean_over_negatives(-F.logsigmoid(margins), prefs.is_negative)
