r"""RPO: regularised preference optimisation (https://arxiv.org/abs/2405.16436)."""

from jaxtyping import Float
from torch import Tensor

from training.objectives.dpo import dpo_loss
from training.objectives.nll import chosen_nll
from training.objectives.types import Preferences


def rpo_loss(prefs: Preferences, *, beta: float | Float[Tensor, "b n"], nll_weight: float) -> Float[Tensor, " b"]:
    r"""DPO plus the negative log-likelihood of the chosen item, which keeps its probability from falling.

    .. math:: \frac{1}{n}\sum_j -\log\sigma\big(\beta_j(r_w - r_j)\big) - \eta\bar L_w

    where :math:`r = \log\pi_\theta - \log\pi_{ref}`, summed over tokens, and :math:`\bar L` is the policy's
    log-probability per token. Gradient with respect to :math:`r_j`: DPO's.

    Deviation: the paper imitates a baseline policy's completions; in practice, and here, that is the chosen one. Its
    normalisation could not be read; ours is the mean over tokens. Extension: n negatives, as in DPO.

    >>> prefs = Preferences.of_row([-3.0, -3.0], tokens=2)
    >>> rpo_loss(prefs, beta=1.0, nll_weight=0.2)  # log(2) + 0.2 × 3 / 2
    tensor([0.9931])
    """
    return dpo_loss(prefs, beta=beta) + nll_weight * chosen_nll(prefs)
