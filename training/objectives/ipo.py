r"""IPO: identity preference optimisation (https://arxiv.org/abs/2310.12036)."""

from jaxtyping import Float
from torch import Tensor

from training.objectives.reductions import mean_over_negatives
from training.objectives.types import Preferences


def ipo_loss(prefs: Preferences, *, beta: float | Float[Tensor, "b n"]) -> Float[Tensor, " b"]:
    r"""Squared distance of each margin from a target margin.

    .. math:: \frac{1}{n}\sum_j \Big(\bar r_w - \bar r_j - \frac{1}{2\beta_j}\Big)^2

    where :math:`\bar r` is the log-ratio per token. Gradient with respect to :math:`\bar r_j`:
    :math:`-2(\bar r_w - \bar r_j - 1/(2\beta_j))/n`, which changes sign past the target: there a negative is
    pulled back.

    Deviations: averaged over tokens, as TRL does on the authors' word, where the first DPO code sums. The published
    loss has one negative; with n it is the mean over the pairs (our extension). Under DynamicPO a smaller beta asks
    for a larger margin.

    >>> prefs = Preferences.of_row([0.0, 0.0, -2.0], tokens=2)
    >>> ipo_loss(prefs, beta=0.25)  # margins per token 0 and 1, target 2: mean of 4 and 1
    tensor([2.5000])
    """
    margins = prefs.chosen_mean_log_ratio[:, None] - prefs.rejected_mean_log_ratio
    return mean_over_negatives((margins - 1 / (2 * beta)).square(), prefs.is_negative)
