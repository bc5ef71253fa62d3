"""DynamicPO around any objective (https://arxiv.org/abs/2605.00327): boundary negatives only, each with its own beta.

Deviations: one selection serves every base (the authors have one for each of DMPO, MPPO and S-DPO; the other bases are
our extension), clusters are exact (see `boundary`), and the authors' 1e-8 in S-DPO is not needed.
Dimensions: b prompts, n negatives.
"""

from dataclasses import replace
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from training.objectives.boundary import select_boundary
from training.objectives.types import Loss, Preferences
from training.objectives.weighting import boundary_beta

Score = Literal["policy_logp", "log_ratio"]


def dynamicpo(base: Loss) -> Loss:
    """`base` on the boundary negatives only, each with a beta of its own.

    >>> from training.objectives.dmpo import dmpo_loss
    >>> policy = [-6.0, -7.0, -7.5, -12.0, -13.0, -20.0, -22.0]  # the chosen item, then six negatives
    >>> reference = [-6.5, -7.2, -7.4, -11.0, -13.5, -19.0, -21.0]
    >>> prefs = Preferences.of_row(policy, reference, tokens=4)
    >>> dynamicpo(dmpo_loss)(prefs, beta=1.0, margin=6.0)  # log(1 + exp(-mean(0.5604 × 0.3, 0.5719 × 0.6)))
    tensor([0.5735])
    """

    def dynamicpo_loss(
        prefs: Preferences,
        *,
        beta: float,
        margin: float,
        clusters: int = 3,
        scale: float = 0.5,
        selection: bool = True,
        weighting: bool = True,
        selection_score: Score = "policy_logp",
        **base_hyperparameters: Any,
    ) -> Float[Tensor, " b"]:
        boundary, betas = focus(
            prefs,
            beta=beta,
            margin=margin,
            clusters=clusters,
            scale=scale,
            selection=selection,
            weighting=weighting,
            selection_score=selection_score,
        )
        return base(replace(prefs, is_negative=boundary), beta=betas, **base_hyperparameters)

    return dynamicpo_loss


@torch.no_grad()
def focus(
    prefs: Preferences,
    *,
    beta: float,
    margin: float,
    clusters: int = 3,
    scale: float = 0.5,
    selection: bool = True,
    weighting: bool = True,
    selection_score: Score = "policy_logp",
) -> tuple[Bool[Tensor, "b n"], Float[Tensor, "b n"]]:
    """Which negatives count, and the beta of each (finite everywhere, without meaning where it does not count).

    Args:
        prefs: The batch.
        beta: The base's own; each negative's lies within a factor 1 ± `scale` of it.
        margin: Nats by which beta's adjustment is shifted.
        clusters: Into how many groups the negatives are split where none outranks the chosen item.
        scale: Largest relative change of beta.
        selection: False keeps every negative, which leaves only the effect of beta.
        weighting: False keeps `beta` for every negative, which leaves only the effect of the selection.
        selection_score: What both read: `policy_logp`, the policy's summed log-probability, as in the authors' code, or
            `log_ratio`, that over the reference, which at the first step is 0 for every item.
    """
    chosen, rejected = scores_to_select_by(prefs, selection_score)
    boundary = prefs.is_negative
    if selection:
        boundary = select_boundary(chosen, rejected, prefs.is_negative, clusters=clusters)
    betas = torch.full_like(rejected, beta)
    if weighting:
        betas = boundary_beta(chosen, rejected, boundary, prefs.is_negative, beta=beta, margin=margin, scale=scale)
    return boundary, betas


def scores_to_select_by(prefs: Preferences, score: Score) -> tuple[Float[Tensor, " b"], Float[Tensor, "b n"]]:
    """The chosen item's score and those of its negatives (0 in padding), which selection and weighting read."""
    if score == "policy_logp":
        return prefs.policy_chosen, prefs.rejected_logp
    if score == "log_ratio":
        return prefs.chosen_log_ratio, prefs.rejected_log_ratio
    raise ValueError(f"selection_score must be policy_logp or log_ratio, got {score!r}.")
