r"""CPO: contrastive preference optimisation (https://arxiv.org/abs/2401.08417)."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from training.objectives.nll import chosen_nll
from training.objectives.reductions import mean_over_negatives
from training.objectives.types import Preferences


def cpo_loss(prefs: Preferences, *, beta: float | Float[Tensor, "b n"], nll_weight: float) -> Float[Tensor, " b"]:
    r"""DPO as if the reference were uniform, plus the negative log-likelihood of the chosen item.

    .. math:: \frac{1}{n}\sum_j -\log\sigma\big(\beta_j(L_w - L_j)\big) - \lambda\bar L_w

    where :math:`L` is the policy's log-probability summed over tokens and :math:`\bar L` that per token. Gradient with
    respect to :math:`L_j`: :math:`\beta_j\,\sigma(-\beta_j(L_w - L_j))/n`.

    Deviation: the NLL is averaged over each row's own tokens; TRL averages over the batch's, so that a row's loss
    depends on its neighbours. Extension: the published loss has one negative; with n it is the mean over the pairs.

    >>> prefs = Preferences.of_row([-3.0, -3.0], tokens=2)
    >>> cpo_loss(prefs, beta=0.1, nll_weight=1.0)  # log(2) + 3 / 2
    tensor([2.1931])
    """
    margins = beta * (prefs.policy_chosen[:, None] - prefs.rejected_logp)
    return mean_over_negatives(-F.logsigmoid(margins), prefs.is_negative) + nll_weight * chosen_nll(prefs)
