r"""LPO: linear preference optimisation (https://arxiv.org/abs/2508.14947, the form `lpo-ste` of the authors' code)."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from training.objectives.reductions import mean_over_negatives, zero_without_negatives
from training.objectives.types import Preferences


def lpo_loss(
    prefs: Preferences,
    *,
    beta: float | Float[Tensor, "b n"],
    chosen_weight: float,
    rejected_weight: float,
    positive_weight: float,
) -> Float[Tensor, " b"]:
    r"""Absolute distance of each margin from a target, with separate strengths for the chosen and the rejected item.

    .. math:: \frac{1}{n}\sum_j\frac{4\beta_j}{c + d}\Big(
        c\,\Big|\bar r_w - \mathrm{sg}(\bar r_j) - \frac{1}{2\beta_j}\Big| +
        d\,\Big|\mathrm{sg}(\bar r_w) - \bar r_j - \frac{1}{2\beta_j}\Big|\Big) + g\max(0, -\bar r_w)

    where :math:`\bar r` is the log-ratio per token, sg stops the gradient, and c, d, g are `chosen_weight`,
    `rejected_weight` and `positive_weight`. Gradients with respect to :math:`\bar r_w` and :math:`\bar r_j`: constant
    in size and as c to d; their sign flips past the target margin, so an easy negative is pulled back. The last term
    acts where the chosen item has become less probable than under the reference.

    Extension: the published loss has one negative; with n it is the mean over the pairs.

    >>> prefs = Preferences.of_row([0.0, -1.0])
    >>> lpo_loss(prefs, beta=0.25, chosen_weight=1.0, rejected_weight=0.5, positive_weight=10.0)  # margin 1, target 2
    tensor([1.])
    """
    chosen, rejected = prefs.chosen_mean_log_ratio, prefs.rejected_mean_log_ratio
    target = 1 / (2 * beta)
    pull = (chosen[:, None] - rejected.detach() - target).abs()
    push = (chosen.detach()[:, None] - rejected - target).abs()
    pairs = 4 * beta / (chosen_weight + rejected_weight) * (chosen_weight * pull + rejected_weight * push)
    displaced = F.relu(-chosen)  # at 0 its gradient is 0
    return mean_over_negatives(pairs, prefs.is_negative) + positive_weight * zero_without_negatives(displaced, prefs)
