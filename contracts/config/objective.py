"""Preference objectives and their hyperparameters: one model for each kind, `dynamicpo-<base>` made from its base.

`training.objectives` holds the losses; `docs/objectives.md` has the formulas and their sources.
"""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Union, get_args

from pydantic import Field, create_model

from contracts.config.identity import Frozen


class PreferenceObjective(Frozen):
    """What every objective has in common; the formulas, gradients and sources are in `docs/objectives.md`."""

    needs_generator: ClassVar[bool] = False
    """Whether the loss draws at random, from a `generator` given to it."""

    kind: str
    beta: float = Field(default=1.0, gt=0, le=100)
    """Inverse temperature of the implicit reward: larger holds the policy closer to the reference."""
    nll_weight: float = Field(default=0.0, ge=0, le=100)
    """Weight of the chosen item's negative log-likelihood per token: keeps its probability from falling."""

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """Keyword arguments of `OBJECTIVES[kind]`; one that draws takes a `generator` beside them."""
        return self.model_dump(exclude={"kind"})


class Dpo(PreferenceObjective):
    """Direct preference optimisation (https://arxiv.org/abs/2305.18290); mean over the negatives."""

    kind: Literal["dpo"]


class Ipo(PreferenceObjective):
    """Identity preference optimisation (https://arxiv.org/abs/2310.12036), per token; mean over the negatives."""

    kind: Literal["ipo"]
    beta: float = Field(default=0.1, gt=0, le=100)
    """The target margin is 1 / (2 beta) nats per token."""


class Simpo(PreferenceObjective):
    """SimPO (https://arxiv.org/abs/2405.14734), per token, no reference; mean over the negatives."""

    kind: Literal["simpo"]
    beta: float = Field(default=2.0, gt=0, le=100)
    gamma: float = Field(default=1.0, ge=0, le=100)
    """Target margin, subtracted after beta: the authors' `gamma_beta_ratio` times beta (0.5 × 2 for Llama-3 base)."""


class Cpo(PreferenceObjective):
    """Contrastive preference optimisation (https://arxiv.org/abs/2401.08417), no reference; mean over the negatives."""

    kind: Literal["cpo"]
    beta: float = Field(default=0.1, gt=0, le=100)
    nll_weight: float = Field(default=1.0, ge=0, le=100)


class Orpo(PreferenceObjective):
    """Odds-ratio preference optimisation (https://arxiv.org/abs/2403.07691), no reference; mean over the negatives."""

    kind: Literal["orpo"]
    beta: float = Field(default=0.1, gt=0, le=100)
    """Weight of the odds-ratio term beside the chosen item's NLL (the paper's lambda)."""


class Rpo(PreferenceObjective):
    """Regularised preference optimisation (https://arxiv.org/abs/2405.16436): DPO plus the chosen item's NLL."""

    kind: Literal["rpo"]
    nll_weight: float = Field(default=0.2, ge=0, le=100)
    """Ours: the paper's default could not be verified."""


class Dmpo(PreferenceObjective):
    """Direct multi-preference optimisation (https://arxiv.org/abs/2405.16127)."""

    kind: Literal["dmpo"]


class Mppo(PreferenceObjective):
    """Multi pair-wise preference optimisation (https://arxiv.org/abs/2412.15244), Pair-MNM, no reference."""

    kind: Literal["mppo"]
    probability: Literal["geometric_mean", "joint"] = "geometric_mean"
    """Over a completion's tokens: `geometric_mean` is the paper's, `joint` that of DynamicPO's code."""


class Sdpo(PreferenceObjective):
    """Softmax-DPO (https://arxiv.org/abs/2406.09215)."""

    kind: Literal["sdpo"]


class Lpo(PreferenceObjective):
    """Linear preference optimisation (https://arxiv.org/abs/2508.14947), per token; mean over the negatives."""

    kind: Literal["lpo"]
    beta: float = Field(default=0.2, gt=0, le=100)
    """The target margin is 1 / (2 beta) nats per token; past it, a negative is pulled back."""
    chosen_weight: float = Field(default=1.0, gt=0, le=100)
    rejected_weight: float = Field(default=0.8, ge=0, le=100)
    """Relative to `chosen_weight`: smaller suppresses negatives less."""
    positive_weight: float = Field(default=10.0, ge=0, le=1000)
    """Cost per nat by which the chosen item has become less probable, per token, than under the reference."""


class Mcpo(PreferenceObjective):
    """MC-PO (https://arxiv.org/abs/2502.04567), a reconstruction: DPO on one negative, drawn by a softmax."""

    needs_generator: ClassVar[bool] = True

    kind: Literal["mcpo"]
    temperature: float = Field(default=1.0, gt=0, le=1000)
    """Of the softmax: nats of score per unit; small draws the highest-scored negative always."""
    score: Literal["implicit_reward", "policy_logp"] = "implicit_reward"
    """What the softmax reads: beta × log-ratio (the paper's first version) or policy log-probability (published)."""


class DynamicBoundary(Frozen):
    """DynamicPO's selection and weighting (https://arxiv.org/abs/2605.00327), around any base."""

    margin: float = Field(default=6.0, ge=0, le=1000)
    """Nats by which beta's adjustment is shifted: 6 in the later release, 2 in the first."""
    clusters: int = Field(default=3, ge=2, le=10)
    """Into how many groups the negatives are split where none outranks the chosen item; the highest is the boundary."""
    scale: float = Field(default=0.5, ge=0, lt=1)
    """Largest relative change of beta."""
    selection: bool = True
    """False keeps every negative: only beta, for an ablation."""
    weighting: bool = True
    """False keeps beta constant: only selection, for an ablation."""
    selection_score: Literal["policy_logp", "log_ratio"] = "policy_logp"
    """What selection and weighting read: policy log-probability (the authors' code), or that over the reference."""


_BASES = (Dpo, Ipo, Simpo, Cpo, Orpo, Rpo, Dmpo, Mppo, Sdpo, Lpo, Mcpo)


def _dynamicpo(base: type[PreferenceObjective]) -> type[PreferenceObjective]:
    """The model of `dynamicpo-<base>`: the fields and defaults of its base, and those of the boundary."""
    (of_base,) = get_args(base.model_fields["kind"].annotation)
    kind: Any = Literal[f"dynamicpo-{of_base}"]
    made: Any = create_model(
        f"Dynamic{base.__name__}",
        __base__=(DynamicBoundary, base),
        __doc__=f"DynamicPO around {base.__name__}.",
        __module__=__name__,
        kind=(kind, ...),
    )
    return made


if TYPE_CHECKING:
    Objective = PreferenceObjective
else:  # a type checker cannot follow a union made in a loop
    Objective = Annotated[Union[*_BASES, *map(_dynamicpo, _BASES)], Field(discriminator="kind")]
