"""The whole catalogue as negatives, where one token is one item and a forward pass scores them all.

Dimensions: b prompts, i items of the catalogue.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from training.objectives.types import Preferences


def catalogue_preferences(
    policy_logp: Float[Tensor, "b i"],
    reference_logp: Float[Tensor, "b i"],
    chosen: Int[Tensor, " b"],
    is_excluded: Bool[Tensor, "b i"],
) -> Preferences:
    """Preferences of the chosen item over every other that is not excluded (the items of the history, say).

    S-DPO over them is the exact softmax whose normaliser MC-PO estimates from one draw: its control.

    >>> from training.objectives import OBJECTIVES
    >>> logp = torch.zeros(1, 4).log_softmax(-1)
    >>> prefs = catalogue_preferences(logp, logp, torch.tensor([2]), torch.tensor([[True, False, False, False]]))
    >>> OBJECTIVES["sdpo"](prefs, beta=1.0)  # one of the three that are left: log(3)
    tensor([1.0986])
    """
    at = chosen[:, None]
    is_other = torch.arange(policy_logp.shape[-1], device=policy_logp.device) != at
    one_token = torch.ones_like(policy_logp, dtype=torch.int64)
    return Preferences(
        policy_chosen=policy_logp.gather(-1, at)[:, 0],
        policy_rejected=policy_logp,
        reference_chosen=reference_logp.gather(-1, at)[:, 0],
        reference_rejected=reference_logp,
        is_negative=is_other & ~is_excluded,
        chosen_tokens=one_token[:, 0],
        rejected_tokens=one_token,
    )
