"""How a policy learns: optimizer, budget, loss, and the negatives that are mined for it."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from contracts.config.identity import Frozen
from contracts.config.policy import ItemTokens, SemanticIds, Titles, candidates_in_prompt
from contracts.words import FULL_METRICS, MAIN_METRIC, OF_CANDIDATES, validation_metrics


class Descent(Frozen):
    """What every optimizer has in common: the learning rate and its course, decay, clipping."""

    lr: float = Field(gt=0, le=1)
    weight_decay: float = Field(default=0.0, ge=0)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Share of all steps over which the learning rate rises from zero."""
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient; a longer one is scaled down to it."""


class AdamW(Descent):
    """Adam with decoupled weight decay (https://arxiv.org/abs/1711.05101)."""

    kind: Literal["adamw"] = "adamw"


class Lion(Descent):
    """The sign of an interpolated momentum (https://arxiv.org/abs/2302.06675); half of Adam's memory.

    Every weight moves by the learning rate, so take one 3 to 10 times smaller than AdamW's, and a larger decay.
    """

    kind: Literal["lion"] = "lion"


Optimizer = Annotated[AdamW | Lion, Field(discriminator="kind")]


def _known_metric(name: str) -> str:
    if name in FULL_METRICS or OF_CANDIDATES.fullmatch(name):
        return name
    raise ValueError(
        f"must be one of {', '.join(FULL_METRICS)}, or, where a prompt lists n candidates, hit_ratio_at_1_of_<n> or "
        f"mrr_of_<n>, got {name!r}"
    )


SelectionMetric = Annotated[str, AfterValidator(_known_metric)]


class Budget(Frozen):
    """How long training goes on, and which of its weights are kept."""

    epochs: int = Field(default=3, ge=1)
    batch_size: int = Field(default=512, ge=1)
    """Training rows (history, target) that one optimizer step averages over, at least."""
    validations: int = Field(default=6, ge=1)
    """How often the validation rows are ranked during training, evenly spaced; the last one is at the last step."""
    validation_rows: int | None = Field(default=None, ge=1)
    """Validation rows that are ranked during training, drawn once; all, when absent. Predictions are of all rows."""
    select_by: SelectionMetric = MAIN_METRIC
    """The validation metric whose best value decides which weights are kept."""
    keep: Literal["best", "last"] = "best"
    """Weights of the best validation, or of the last step: for a study of whether training makes a policy worse."""
    patience: int | None = Field(default=None, ge=1)
    """Stop after this many validations without improvement; never, when absent."""
    stop_on_collapse: bool = False
    """Stop at the first validation that shows a collapse (`docs/collapse.md`); for preference experiments."""

    def require_protocol(self, representation: ItemTokens | SemanticIds | Titles) -> None:
        """Refuses a selection by ranks that a policy with these prompts does not give.

        Raises:
            ValueError: naming the metrics that it does give.
        """
        listed = candidates_in_prompt(representation)
        wanted = validation_metrics(0 if listed is None else listed.n)
        if self.select_by not in wanted:
            holds = "no candidates, so that the catalogue is ranked" if listed is None else f"{listed.n} candidates"
            raise ValueError(
                f"budget.select_by must be {', '.join(wanted[:-1])} or {wanted[-1]}, as the prompt lists {holds}, got "
                f"{self.select_by}. Name one of these."
            )


class Pool(Frozen):
    """How many negatives of each row a policy mines, by miner; shared by every experiment that starts from it."""

    hard: int = Field(default=20, ge=0)
    """The policy's highest-ranked items that the user did not touch in train."""
    uniform: int = Field(default=20, ge=0)
    """Items drawn uniformly from the rest of the catalogue."""
    popularity: int = Field(default=0, ge=0)
    """Items drawn in proportion to their train interactions, from all that the user did not touch in train."""
    in_batch: int = Field(default=0, ge=0)
    """Targets of other rows of a random batch, untouched by the user in train: what sharing a batch would give."""
    batch: int = Field(default=1024, ge=2)
    """Train rows of such a batch, at most; fixed in the table, however a training cuts its own."""
    scored: int | None = Field(default=None, ge=1)
    """Items drawn uniformly for each row, among which the hardest are looked for; the whole catalogue, when absent.

    With one token an item, the catalogue costs nothing; with several, each row would cost a walk through all of it.
    """

    @property
    def size(self) -> int:
        """Negatives of a row, over all miners."""
        return self.hard + self.uniform + self.popularity + self.in_batch

    @model_validator(mode="after")
    def _is_scored(self) -> "Pool":
        if self.scored is not None and self.scored < self.hard + self.uniform:
            raise ValueError(f"scored must be at least hard + uniform, {self.hard + self.uniform}, got {self.scored}")
        return self

    def require_from_list(self, n: int) -> None:
        """Refuses a pool that holds other items than those a prompt with n candidates lists.

        Raises:
            ValueError: saying what must be changed.
        """
        if (self.scored, self.popularity, self.in_batch) != (n - 1, 0, 0):
            raise ValueError(
                f"pool must be mined from the {n - 1} candidates that a row's prompt lists beside its target, got "
                f"scored: {self.scored}, popularity: {self.popularity}, in_batch: {self.in_batch}. Set scored to "
                f"{n - 1}, hard + uniform to at most that, and the others to 0."
            )

    @model_validator(mode="after")
    def _is_not_empty(self) -> "Pool":
        if self.size == 0:
            raise ValueError(
                "hard + uniform + popularity + in_batch must be at least 1, got 0. Ask for some negatives of any kind."
            )
        return self


class Negatives(Frozen):
    """Which negatives of the shared pool a preference experiment trains on."""

    n: int = Field(default=15, ge=1)
    miner: Literal["mixed", "hardest", "boundary", "uniform", "popularity", "in_batch"] = "mixed"
    """`mixed`: hard and uniform ones. `boundary`: those on the mining policy's decision boundary, by any miner."""
    hard_share: float = Field(default=0.5, ge=0, le=1)
    """Share of hard negatives under `mixed`; the others are uniform."""
    min_rank: int = Field(default=1, ge=1)
    """Passes over what the mining policy ranks before this: what it ranks first is often what the user takes next."""
    rounds: int = Field(default=1, ge=1, le=10)
    """Rounds of mining and training: each later one starts from the policy before it, which mines its pool and is its
    reference, as in SPIN (https://arxiv.org/abs/2401.01335)."""


class FullSoftmax(Frozen):
    """Cross-entropy against the whole catalogue; token by token, where an item is several."""

    kind: Literal["full_softmax"] = "full_softmax"


class SampledSoftmax(Frozen):
    """Cross-entropy against a sample of the catalogue, corrected for its draw."""

    kind: Literal["sampled_softmax"]
    n: int = Field(default=256, ge=1)
    """Items in the sample, which all rows of an optimizer step share."""
    draw: Literal["uniform", "popularity"] = "uniform"
    """Each item alike, or in proportion to how often it is a target in train, and once more."""


Loss = Annotated[FullSoftmax | SampledSoftmax, Field(discriminator="kind")]
