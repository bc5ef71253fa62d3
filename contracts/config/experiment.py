"""An experiment: the whole scientific choice, of one of the three kinds."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, TypeAdapter, model_validator

from contracts.config.identity import Frozen, fingerprint_of
from contracts.config.learning import Budget, FullSoftmax, Loss, Negatives, Optimizer, Pool
from contracts.config.objective import Objective
from contracts.config.policy import Backbone, ItemTokens, Representation, ScratchBackbone, candidates_in_prompt


class SftExperiment(Frozen):
    """Supervised fine-tuning: next-item prediction over every position of a history."""

    kind: Literal["sft"]
    representation: Representation = ItemTokens()
    backbone: Backbone = ScratchBackbone()
    loss: Loss = FullSoftmax()
    optimizer: Optimizer
    budget: Budget = Budget()
    pool: Pool | None = Pool()
    """What it mines for the experiments that start from it; null: nothing, and none can."""
    seed: int = Field(default=0, ge=0, lt=2**31)

    @model_validator(mode="after")
    def _does_not_collapse(self) -> "SftExperiment":
        if self.budget.stop_on_collapse:
            raise ValueError(
                "budget.stop_on_collapse must be absent in an sft experiment, got true: there is no preference to "
                "collapse. Use budget.patience."
            )
        return self

    @model_validator(mode="after")
    def _ranks_what_it_lists(self) -> "SftExperiment":
        self.budget.require_protocol(self.representation)
        listed = candidates_in_prompt(self.representation)
        if listed is not None and self.pool is not None:
            self.pool.require_from_list(listed.n)
        return self

    @model_validator(mode="after")
    def _samples_items(self) -> "SftExperiment":
        if self.loss.kind == "sampled_softmax" and self.representation.kind != "items":
            raise ValueError(
                f"loss must be full_softmax where an item is several tokens, got {self.loss.kind} with "
                f"{self.representation.kind}. Remove loss, or set representation to items."
            )
        return self


class PreferenceExperiment(Frozen):
    """Preference optimisation of the policy of another experiment, which is also its reference."""

    kind: Literal["preference"]
    start_from: str
    objective: Objective
    negatives: Negatives = Negatives()
    optimizer: Optimizer
    budget: Budget = Budget()
    seed: int = Field(default=0, ge=0, lt=2**31)


class BaselineExperiment(Frozen):
    """A floor or baseline on the same rows and the same leaderboard; nothing is trained on a device."""

    ignores_user: ClassVar[bool] = False
    """Whether every user gets the same scores: then it is a floor, and marked as one."""

    kind: Literal["baseline"]
    baseline: str
    seed: int = Field(default=0, ge=0, lt=2**31)


class Popularity(BaselineExperiment):
    """Items by how often they occur in train."""

    ignores_user: ClassVar[bool] = True
    baseline: Literal["popularity"]


class RecentPopularity(BaselineExperiment):
    """Items by how often they occur in the latest part of train."""

    ignores_user: ClassVar[bool] = True
    baseline: Literal["recent_popularity"]
    share: float = Field(default=0.1, gt=0, le=1)
    """Of the train interactions, by time: smaller follows fashion more closely and counts fewer."""


class Chance(BaselineExperiment):
    """Items in an order drawn for each row."""

    ignores_user: ClassVar[bool] = True
    baseline: Literal["random"]


class ListFloor(BaselineExperiment):
    """Candidates by what other candidate lists give away; has nothing to say on the full catalogue."""

    ignores_user: ClassVar[bool] = True
    baseline: Literal["slot", "shared_list"]


class RepeatHistory(BaselineExperiment):
    """The items of the history again, the latest or the most frequent first. It learns nothing from anybody else."""

    baseline: Literal["repeat_last", "repeat_frequent"]


class ItemCooccurrence(BaselineExperiment):
    """Items that users took after those of the history."""

    baseline: Literal["item_cooccurrence"]
    reach: int | None = Field(default=1, ge=1, le=1000)
    """Steps within which a later item counts as taken after an earlier one; null: the whole log, in any order."""
    decay: float = Field(default=0.5, ge=0, le=1)
    """Weight of the history's last but one item against its last, and so on; 0: only the last item."""


class ItemKnn(BaselineExperiment):
    """Items taken by the same users as those of the history."""

    baseline: Literal["item_knn"]
    similarity: Literal["cosine", "tfidf", "bm25"] = "cosine"
    neighbours: int = Field(default=100, ge=1, le=10_000)
    """Kept for each item; more costs memory and seldom helps."""
    decay: float = Field(default=1.0, gt=0, le=1)
    """Weight of the history's last but one item against its last; 1: all count alike."""


class Als(BaselineExperiment):
    """Matrix factorisation by alternating least squares on implicit feedback; a history is folded in."""

    baseline: Literal["als"]
    factors: int = Field(default=64, ge=1, le=2048)
    regularization: float = Field(default=0.01, ge=0)
    alpha: float = Field(default=1.0, gt=0)
    """How much more a taken item weighs than one that was not."""
    iterations: int = Field(default=15, ge=1, le=10_000)


class Bpr(BaselineExperiment):
    """Matrix factorisation by Bayesian personalised ranking; users who are not in train get the items' biases."""

    baseline: Literal["bpr"]
    factors: int = Field(default=64, ge=1, le=2048)
    learning_rate: float = Field(default=0.05, gt=0, le=10)
    regularization: float = Field(default=0.01, ge=0)
    iterations: int = Field(default=100, ge=1, le=100_000)
    """Passes over the train interactions, on one thread so that the result is reproducible."""


Baseline = Annotated[
    Popularity | RecentPopularity | Chance | ListFloor | RepeatHistory | ItemCooccurrence | ItemKnn | Als | Bpr,
    Field(discriminator="baseline"),
]


Experiment = Annotated[SftExperiment | PreferenceExperiment | Baseline, Field(discriminator="kind")]
EXPERIMENT: TypeAdapter[Experiment] = TypeAdapter(Experiment)


def policy_identity(experiment: Experiment) -> str:
    """The identity of an experiment as its policy depends on it.

    `pool` does not belong to a policy: it says what it mines for others. Two sft experiments that differ in their
    pools share one policy.
    """
    return fingerprint_of(experiment.model_dump(mode="json", exclude={"pool"}))
