r"""ORPO: odds-ratio preference optimisation, without a reference (https://arxiv.org/abs/2403.07691)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from training.objectives.nll import chosen_nll
from training.objectives.reductions import mean_over_negatives
from training.objectives.types import Preferences

CERTAIN = -1e-6
"""Log-probability per token above which odds are no longer told apart: at 0 they are infinite."""


def orpo_loss(prefs: Preferences, *, beta: float | Float[Tensor, "b n"]) -> Float[Tensor, " b"]:
    r"""Negative log-likelihood of the chosen item, plus beta times the loss of higher odds than each negative.

    .. math:: -\bar L_w - \frac{1}{n}\sum_j\beta_j\log\sigma\big(o_w - o_j\big), \qquad
        o = \bar L - \log\big(1 - e^{\bar L}\big)

    where :math:`\bar L` is the policy's log-probability per token; no reference. Gradient with respect to
    :math:`\bar L_j`: :math:`\beta_j\,\sigma(o_j - o_w)/(n(1 - e^{\bar L_j}))`. Here beta is the weight that the paper
    calls lambda, so under DynamicPO it weighs a negative without changing the shape of its loss.

    Deviation: odds stop growing at 1e-6 nats per token from certainty, where they would overflow. Extension: the
    published loss has one negative; with n it is the mean over the pairs.

    >>> from math import log
    >>> prefs = Preferences.of_row([-log(2), -log(2)])
    >>> orpo_loss(prefs, beta=0.5)  # equal odds: log(2) + 0.5 × log(2)
    tensor([1.0397])
    """
    ratios = _log_odds(prefs.chosen_mean_logp)[:, None] - _log_odds(prefs.rejected_mean_logp)
    return chosen_nll(prefs) + mean_over_negatives(-beta * F.logsigmoid(ratios), prefs.is_negative)


def _log_odds(mean_logp: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    mean_logp = mean_logp.clamp(max=CERTAIN)
    return mean_logp - torch.log(-torch.expm1(mean_logp))
