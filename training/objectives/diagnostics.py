"""What a preference step does to its negatives: what tells learning from collapse while the loss falls either way.

Pure functions of one batch; no further forward pass of the policy. Dimensions: b prompts, n negatives.
"""

from dataclasses import fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from training.objectives import BASES, Preferences
from training.objectives.boundary import select_boundary
from training.objectives.dynamicpo import focus, scores_to_select_by

FOCUS = ("margin", "clusters", "scale", "selection", "weighting", "selection_score")
"""DynamicPO's own hyperparameters; beta is shared with its base, the others are the base's."""

EASY_MARGIN = 5.0
"""Nats of policy log-probability from which a negative counts as easy."""
PAIRWISE_SIGMOID = ("dpo", "simpo", "cpo", "rpo")
SETWISE_SIGMOID = ("dmpo", "sdpo", "mppo", "mcpo")
QUANTILES = {"q10": 0.1, "q50": 0.5, "q90": 0.9}


def diagnose(prefs: Preferences, kind: str, **hyperparameters: Any) -> dict[str, Float[Tensor, ""]]:
    """Every diagnostic of one batch, as scalars on the batch's device: nothing here waits for the device.

    With c_j the absolute gradient of the loss with respect to the policy's log-probability of negative j:

    - `grad_share_easy`: share of Σ c_j on negatives more than 5 nats below the chosen item; mean over rows.
    - `grad_boundary_abs`: mean c_j of the boundary negatives. DMPO's share never changes; this shows its saturation.
    - `effective_negatives`: (Σ c_j)² / Σ c_j², mean over rows.
    - `saturation`: the factor σ(−z) that scales the gradient, mean; 0 is a loss that teaches nothing any more. Absent
      where no sigmoid of preferences by itself scales it (`ipo`, `lpo`, `orpo`).
    - `violation_rate_policy`, `violation_rate_ratio`, `violation_disagreement`: share of the negatives at or above the
      chosen item by policy log-probability, by log-ratio, and by exactly one of them.
    - `boundary_fraction`: share of the negatives on the boundary; `branch_violation`, `branch_cluster`, `branch_all`:
      share of rows whose boundary are the violations, the highest cluster, or all negatives. For an objective without
      DynamicPO: what its selection would be, with three clusters.
    - `chosen_logp_drift`, `rejected_logp_drift`: mean log-ratio; a falling one of the chosen is likelihood
      displacement.
    - `margin_q10`, `_q50`, `_q90`: of beta × (chosen − rejected log-ratio).
    - `beta_mean`, `beta_q10`, `_q50`, `_q90`: of the negatives that the loss counts.
    - `win_rate_all`, `win_rate_pair`: share of rows whose chosen log-ratio beats all negatives, and of pairs.
      Comparable between runs on the same rows and negatives only, such as a fixed probe.

    A quantity that no row or negative of the batch has is NaN.

    Args:
        prefs: The batch.
        kind: The objective, one of `OBJECTIVES`.
        hyperparameters: The objective's. The state of a generator among them stays as it was.

    >>> prefs = Preferences.of_row([0.0, 0.0, -10.0])
    >>> {name: round(value.item(), 4) for name, value in diagnose(prefs, "dmpo", beta=1.0).items()}["grad_boundary_abs"]
    0.0033
    """
    prefs = _detached(prefs)
    is_negative, rows = prefs.is_negative, prefs.has_negatives
    base, is_dynamic = kind.removeprefix("dynamicpo-"), kind.startswith("dynamicpo-")
    of_focus = {name: hyperparameters[name] for name in FOCUS if name in hyperparameters}
    of_base = {name: value for name, value in hyperparameters.items() if name not in FOCUS and name != "beta"}
    beta = hyperparameters["beta"]

    chosen, rejected = scores_to_select_by(prefs, of_focus.get("selection_score", "policy_logp"))
    counted, betas = is_negative, torch.full_like(rejected, beta)
    if is_dynamic:
        counted, betas = focus(prefs, beta=beta, **of_focus)
    boundary = counted
    if not (is_dynamic and of_focus.get("selection", True)):
        boundary = select_boundary(chosen, rejected, is_negative, clusters=of_focus.get("clusters", 3))

    gradient = _negative_gradient(replace(prefs, is_negative=counted), base, betas, of_base).abs()
    total = gradient.sum(dim=-1)
    policy_margins = prefs.policy_chosen[:, None] - prefs.rejected_logp
    ratio_margins = prefs.chosen_log_ratio[:, None] - prefs.rejected_log_ratio
    is_easy = (policy_margins > EASY_MARGIN) & is_negative
    violates_policy, violates_ratio = policy_margins <= 0, ratio_margins <= 0
    has_violation = ((rejected >= chosen[:, None]) & is_negative).any(dim=-1)
    takes_all = (boundary == is_negative).all(dim=-1)

    diagnostics = {
        "grad_share_easy": _mean(gradient.masked_fill(~is_easy, 0.0).sum(dim=-1) / total, total > 0),
        "grad_boundary_abs": _mean(gradient, boundary),
        "effective_negatives": _mean(total.square() / gradient.square().sum(dim=-1), total > 0),
        "violation_rate_policy": _mean(violates_policy, is_negative),
        "violation_rate_ratio": _mean(violates_ratio, is_negative),
        "violation_disagreement": _mean(violates_policy != violates_ratio, is_negative),
        "boundary_fraction": _mean(boundary, is_negative),
        "branch_violation": _mean(has_violation & ~takes_all, rows),
        "branch_cluster": _mean(~has_violation & ~takes_all, rows),
        "branch_all": _mean(takes_all, rows),
        "chosen_logp_drift": _mean(prefs.chosen_log_ratio, rows),
        "rejected_logp_drift": _mean(prefs.rejected_log_ratio, is_negative),
        "beta_mean": _mean(betas, counted),
        "win_rate_all": _mean(~(violates_ratio & is_negative).any(dim=-1), rows),
        "win_rate_pair": _mean(~violates_ratio, is_negative),
    }
    diagnostics |= _quantiles("margin", beta * ratio_margins, is_negative) | _quantiles("beta", betas, counted)
    if base in PAIRWISE_SIGMOID + SETWISE_SIGMOID:
        diagnostics["saturation"] = _saturation(replace(prefs, is_negative=counted), base, betas, of_base)
    return diagnostics


def _negative_gradient(
    prefs: Preferences, base: str, betas: Float[Tensor, "b n"], hyperparameters: dict[str, Any]
) -> Float[Tensor, "b n"]:
    """Gradient of each row's loss with respect to the policy's log-probability of each of its negatives."""
    with torch.enable_grad():
        leaf = prefs.policy_rejected.clone().requires_grad_()
        loss = BASES[base](replace(prefs, policy_rejected=leaf), beta=betas, **_with_own_generator(hyperparameters))
        return torch.autograd.grad(loss.sum(), leaf)[0]


@torch.no_grad()
def _saturation(
    prefs: Preferences, base: str, betas: Float[Tensor, "b n"], hyperparameters: dict[str, Any]
) -> Float[Tensor, ""]:
    """Mean σ(−z), from the loss −log σ(z) of each row or, for a mean over pairs, of each pair."""
    if base in PAIRWISE_SIGMOID:
        prefs, betas = _as_pairs(prefs), betas.reshape(-1, 1)
    hyperparameters = _with_own_generator(hyperparameters) | {"nll_weight": 0.0}
    return _mean(-torch.expm1(-BASES[base](prefs, beta=betas, **hyperparameters)), prefs.has_negatives)


def _as_pairs(prefs: Preferences) -> Preferences:
    """The batch with a row for each negative."""
    n = prefs.is_negative.shape[-1]
    return Preferences(
        policy_chosen=prefs.policy_chosen.repeat_interleave(n),
        policy_rejected=prefs.policy_rejected.reshape(-1, 1),
        reference_chosen=prefs.reference_chosen.repeat_interleave(n),
        reference_rejected=prefs.reference_rejected.reshape(-1, 1),
        is_negative=prefs.is_negative.reshape(-1, 1),
        chosen_tokens=prefs.chosen_tokens.repeat_interleave(n),
        rejected_tokens=prefs.rejected_tokens.reshape(-1, 1),
    )


def _with_own_generator(hyperparameters: dict[str, Any]) -> dict[str, Any]:
    """A copy whose generator starts where the given one is: measuring must not change what is trained on next."""
    generator = hyperparameters.get("generator")
    return hyperparameters if generator is None else hyperparameters | {"generator": generator.clone_state()}


def _detached(prefs: Preferences) -> Preferences:
    return Preferences(**{field.name: getattr(prefs, field.name).detach() for field in fields(prefs)})


def _mean(values: Tensor, counts: Bool[Tensor, "..."]) -> Float[Tensor, ""]:
    return torch.where(counts, values, 0.0).sum() / counts.sum()


def _quantiles(name: str, values: Float[Tensor, "b n"], counts: Bool[Tensor, "b n"]) -> dict[str, Float[Tensor, ""]]:
    levels = values.new_tensor(list(QUANTILES.values()))
    quantiles = torch.nanquantile(values.masked_fill(~counts, torch.nan), levels)
    return {f"{name}_{level}": quantile for level, quantile in zip(QUANTILES, quantiles, strict=True)}
