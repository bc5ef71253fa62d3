"""The likelihood of the chosen item as a regulariser of any objective. Dimensions: b prompts."""

from functools import wraps
from typing import Any

from jaxtyping import Float
from torch import Tensor

from training.objectives.reductions import zero_without_negatives
from training.objectives.types import Loss, Preferences


def chosen_nll(prefs: Preferences) -> Float[Tensor, " b"]:
    """Negative log-likelihood of the chosen completion per token, in nats; 0 for a row without negatives."""
    return zero_without_negatives(-prefs.chosen_mean_logp, prefs)


def with_nll(objective: Loss) -> Loss:
    """`objective` plus `nll_weight` (a further hyperparameter, 0 by default) times the chosen item's NLL per token.

    >>> from training.objectives.dpo import dpo_loss
    >>> prefs = Preferences.of_row([-3.0, -3.0], tokens=2)
    >>> with_nll(dpo_loss)(prefs, beta=1.0, nll_weight=0.1)  # log(2) + 0.1 × 3 / 2
    tensor([0.8431])
    """

    @wraps(objective)
    def loss(prefs: Preferences, *, nll_weight: float = 0.0, **hyperparameters: Any) -> Float[Tensor, " b"]:
        preference = objective(prefs, **hyperparameters)
        return preference + nll_weight * chosen_nll(prefs) if nll_weight else preference

    return loss
