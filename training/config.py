"""What an experiment is, and what a training command reads: frozen models, validated before anything is computed.

An experiment is the whole scientific choice; `identity` hashes its meaning. Where it runs (device, precision, batch
that fits) is `ComputeConfig` and stays outside that hash: on another machine it is the same experiment.
Imports no torch: the orchestrator reads experiments without loading a deep-learning library.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, model_validator


class Frozen(BaseModel):
    """A configuration that cannot drift: immutable, a misspelt key is an error and no default, a number is finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def identity(config: BaseModel, *, exclude: set[str] | None = None) -> str:
    """Sixteen hexadecimal digits of the meaning of `config`: key order and spelling of numbers do not matter."""
    meaning = config.model_dump(mode="json", exclude=exclude)
    return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()[:16]


# Objectives


class PreferenceObjective(Frozen):
    """What every objective has in common; the formulas, gradients and sources are in `docs/objectives.md`."""

    reads_reference: ClassVar[bool] = True
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

    @property
    def needs_reference(self) -> bool:
        """Whether the loss reads the reference's log-probabilities."""
        return self.reads_reference


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

    reads_reference: ClassVar[bool] = False

    kind: Literal["simpo"]
    beta: float = Field(default=2.0, gt=0, le=100)
    gamma: float = Field(default=1.0, ge=0, le=100)
    """Target margin, subtracted after beta: the authors' `gamma_beta_ratio` times beta (0.5 × 2 for Llama-3 base)."""


class Cpo(PreferenceObjective):
    """Contrastive preference optimisation (https://arxiv.org/abs/2401.08417), no reference; mean over the negatives."""

    reads_reference: ClassVar[bool] = False

    kind: Literal["cpo"]
    beta: float = Field(default=0.1, gt=0, le=100)
    nll_weight: float = Field(default=1.0, ge=0, le=100)


class Orpo(PreferenceObjective):
    """Odds-ratio preference optimisation (https://arxiv.org/abs/2403.07691), no reference; mean over the negatives."""

    reads_reference: ClassVar[bool] = False

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

    reads_reference: ClassVar[bool] = False

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

    reads_reference: ClassVar[bool]

    margin: float = Field(default=6.0, ge=0, le=1000)
    """Nats by which beta's adjustment is shifted: 6 in the later release, 2 in the first."""
    clusters: int = Field(default=3, ge=2, le=10)
    """Into how many groups the negatives are split where none outranks the chosen item; the highest is the boundary."""
    scale: float = Field(default=0.5, ge=0, lt=1)
    """Largest relative change of beta."""
    selection: bool = True
    """False keeps every negative: beta alone, for an ablation."""
    weighting: bool = True
    """False keeps beta constant: selection alone, for an ablation."""
    selection_score: Literal["policy_logp", "log_ratio"] = "policy_logp"
    """What selection and weighting read: policy log-probability (the authors' code), or that over the reference."""

    @property
    def needs_reference(self) -> bool:
        """Whether the base's loss reads the reference's log-probabilities, or the selection does."""
        return self.reads_reference or self.selection_score == "log_ratio"


class DynamicDpo(DynamicBoundary, Dpo):
    """DynamicPO around Dpo."""

    kind: Literal["dynamicpo-dpo"]


class DynamicIpo(DynamicBoundary, Ipo):
    """DynamicPO around Ipo."""

    kind: Literal["dynamicpo-ipo"]


class DynamicSimpo(DynamicBoundary, Simpo):
    """DynamicPO around Simpo."""

    kind: Literal["dynamicpo-simpo"]


class DynamicCpo(DynamicBoundary, Cpo):
    """DynamicPO around Cpo."""

    kind: Literal["dynamicpo-cpo"]


class DynamicOrpo(DynamicBoundary, Orpo):
    """DynamicPO around Orpo."""

    kind: Literal["dynamicpo-orpo"]


class DynamicRpo(DynamicBoundary, Rpo):
    """DynamicPO around Rpo."""

    kind: Literal["dynamicpo-rpo"]


class DynamicDmpo(DynamicBoundary, Dmpo):
    """DynamicPO around Dmpo."""

    kind: Literal["dynamicpo-dmpo"]


class DynamicMppo(DynamicBoundary, Mppo):
    """DynamicPO around Mppo."""

    kind: Literal["dynamicpo-mppo"]


class DynamicSdpo(DynamicBoundary, Sdpo):
    """DynamicPO around Sdpo."""

    kind: Literal["dynamicpo-sdpo"]


class DynamicLpo(DynamicBoundary, Lpo):
    """DynamicPO around Lpo."""

    kind: Literal["dynamicpo-lpo"]


class DynamicMcpo(DynamicBoundary, Mcpo):
    """DynamicPO around Mcpo."""

    kind: Literal["dynamicpo-mcpo"]


Objective = Annotated[
    Dpo
    | Ipo
    | Simpo
    | Cpo
    | Orpo
    | Rpo
    | Dmpo
    | Mppo
    | Sdpo
    | Lpo
    | Mcpo
    | DynamicDpo
    | DynamicIpo
    | DynamicSimpo
    | DynamicCpo
    | DynamicOrpo
    | DynamicRpo
    | DynamicDmpo
    | DynamicMppo
    | DynamicSdpo
    | DynamicLpo
    | DynamicMcpo,
    Field(discriminator="kind"),
]


# The policy, and how it is trained


class ItemTokens(Frozen):
    """One token for each item of the catalogue."""

    kind: Literal["items"] = "items"


class SemanticIds(Frozen):
    """A few codes for each item, coarse to fine, from a given table."""

    kind: Literal["semantic_ids"]
    table: str
    """In the data set's raw folder: JSON (also gzipped), item → list of codes, or Parquet with columns item, codes."""
    keys: Literal["item", "rank"] = "item"
    """What the table calls an item: the publisher's id, or its 0-based rank among the sorted ids."""
    extend: bool = False
    """Adds a code that tells items with the same codes apart; without it, such items are refused."""


class CandidateList(Frozen):
    """The candidates that a prompt lists, one of which is the answer (LLaRA, https://arxiv.org/abs/2312.02445)."""

    n: int = Field(default=20, ge=2)
    """How many, the answer among them: as many as the candidate sets of the data set hold."""
    separator: str = Field(default="\n", min_length=1)
    """Between two titles of the list."""


class Titles(Frozen):
    """Items as text. Braces mark where text is cut before it becomes tokens."""

    kind: Literal["titles"]
    prompt: str = "Taken so far, oldest first:\n{history}"
    """What stands around the lines of a history; text behind {history} costs its tokens once for each training row."""
    candidates: CandidateList | None = None
    """What stands at {candidates} in the prompt; without that place none. Then rows share no part of their prompts."""
    line: str = "{title}\n"
    """One item of a history."""
    end: str | None = None
    """Text that ends a title and is scored with it; the tokeniser's end token, when absent."""
    repeated: Literal["refuse", "number"] = "refuse"
    """What happens to items with the same title: the experiment is refused, or each gets its id behind the title."""
    vocabulary: int = Field(default=2048, ge=300)
    """Size of the tokeniser that is made from the catalogue when the backbone is `scratch`."""

    @model_validator(mode="after")
    def _has_its_places(self) -> "Titles":
        for name, text, place in (("prompt", self.prompt, "{history}"), ("line", self.line, "{title}")):
            if text.count(place) != 1:
                raise ValueError(f"{name} must hold {place} once, got {text!r}")
        wanted = "once, as candidates is given" if self.candidates else "nowhere, as candidates is not given"
        if self.prompt.count("{candidates}") != (self.candidates is not None):
            raise ValueError(f"prompt must hold {{candidates}} {wanted}, got {self.prompt!r}")
        return self


Representation = Annotated[ItemTokens | SemanticIds | Titles, Field(discriminator="kind")]


def candidates_in_prompt(representation: ItemTokens | SemanticIds | Titles) -> CandidateList | None:
    """The candidates that its prompts list; none, where they hold a history alone."""
    return representation.candidates if isinstance(representation, Titles) else None


class ScratchBackbone(Frozen):
    """A small Llama-architecture causal language model with random initial weights."""

    kind: Literal["scratch"] = "scratch"
    hidden: int = Field(default=64, ge=8)
    layers: int = Field(default=2, ge=1)
    heads: int = Field(default=2, ge=1)
    context: int = Field(default=100, ge=2)
    """Longest prompt in tokens; of a longer history the oldest items are dropped, and counted."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout on the attention weights; Llama has no other."""
    hidden_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the embeddings, and on what every attention and feed-forward layer adds to them, as in SASRec."""

    @model_validator(mode="after")
    def _has_even_heads(self) -> "ScratchBackbone":
        if self.hidden % (2 * self.heads):  # positions turn pairs of numbers within each head
            raise ValueError(
                f"hidden must be a multiple of 2 × heads, {2 * self.heads}, got {self.hidden}. Change one of them."
            )
        return self


class LoraConfig(Frozen):
    """Low-rank adapters on a frozen checkpoint (https://arxiv.org/abs/2106.09685), through peft."""

    rank: int = Field(default=8, ge=1)
    alpha: float = Field(default=32, gt=0)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    targets: list[str] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class CheckpointBackbone(Frozen):
    """A decoder-only checkpoint in Hugging Face format: safetensors only, no remote code, pinned by revision."""

    kind: Literal["checkpoint"]
    name: str
    """A folder on this machine, or the name of a repository on the Hugging Face hub."""
    revision: str | None = Field(default=None, pattern=r"^[0-9a-f]{40}$")
    """The 40-digit commit; required for a repository on the hub."""
    lora: LoraConfig | None = LoraConfig()
    context: int = Field(default=512, ge=2)
    quantization: Literal["nf4"] | None = None
    """4-bit weights under the adapters (https://arxiv.org/abs/2305.14314); needs CUDA, bitsandbytes and `lora`."""

    @model_validator(mode="after")
    def _quantized_weights_do_not_train(self) -> "CheckpointBackbone":
        if self.quantization is not None and self.lora is None:
            raise ValueError("quantization must come with lora, got none: 4-bit weights cannot be trained themselves")
        return self

    def require_pinned(self) -> None:
        """Refuses what is on the hub and can change tomorrow; asked when a training is set up, not when one is read.

        Raises:
            ValueError: neither a folder on this machine nor a revision.
        """
        is_folder = Path(self.name).is_absolute() or self.name.startswith(".") or Path(self.name).is_dir()
        if self.revision is None and not is_folder:
            raise ValueError(
                f"backbone.revision must be the 40-digit commit of a repository on the hub, got none for {self.name}. "
                "Copy it from the repository's history, or name a folder that exists."
            )


Backbone = Annotated[ScratchBackbone | CheckpointBackbone, Field(discriminator="kind")]


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

FULL_METRICS = ("ndcg_at_10_full", "recall_at_10_full", "mrr_full")
OF_CANDIDATES = re.compile(r"(hit_ratio_at_1|mrr)_of_[1-9][0-9]*")


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
    select_by: SelectionMetric = "ndcg_at_10_full"
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
        wanted = FULL_METRICS if listed is None else (f"hit_ratio_at_1_of_{listed.n}", f"mrr_of_{listed.n}")
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
    """Cross-entropy against a sample of the catalogue, corrected for its draw: see `training/sampled_softmax.py`."""

    kind: Literal["sampled_softmax"]
    n: int = Field(default=256, ge=1)
    """Items in the sample, which all rows of an optimizer step share."""
    draw: Literal["uniform", "popularity"] = "uniform"
    """Each item alike, or in proportion to how often it is a target in train, and once more."""


Loss = Annotated[FullSoftmax | SampledSoftmax, Field(discriminator="kind")]


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


class ItemCooccurrence(BaselineExperiment):
    """Items that users took after those of the history."""

    baseline: Literal["item_cooccurrence"]
    reach: int | None = Field(default=1, ge=1, le=1000)
    """Steps within which a later item counts as taken after an earlier one; null: the whole log, in any order."""
    decay: float = Field(default=0.5, ge=0, le=1)
    """Weight of the history's last but one item against its last, and so on; 0: the last item alone."""


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
    Popularity | RecentPopularity | Chance | ListFloor | ItemCooccurrence | ItemKnn | Als | Bpr,
    Field(discriminator="baseline"),
]


Experiment = Annotated[SftExperiment | PreferenceExperiment | Baseline, Field(discriminator="kind")]
EXPERIMENT: TypeAdapter[Experiment] = TypeAdapter(Experiment)


# Where it runs, and what a command reads


class ComputeConfig(Frozen):
    """What is not science: none of it changes which experiment this is."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """`auto`: bf16 on CUDA, float32 elsewhere. Log-probabilities are float32 always."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads; all cores, when absent."""
    micro_batch_tokens: int = Field(default=16_384, ge=1)
    """Tokens in one forward pass; an optimizer step accumulates as many as its rows need."""
    gradient_checkpointing: bool = False
    """Computes activations again in the backward pass: a third more time, a fraction of the memory."""
    log_every: int = Field(default=10, ge=1)
    """Optimizer steps from one telemetry line with loss and diagnostics to the next."""
    checkpoint_every_s: float = Field(default=60.0, ge=0)
    """Seconds from one checkpoint of a training under way to the next; 0: after every step."""
    processes: int = Field(default=1, ge=1)
    """How many share each step of a training; on CUDA, one for each GPU."""


class Spec(Frozen):
    """What every command reads: paths are absolute, tables are Parquet with the columns of `assets/schemas.py`."""

    histories: Path
    """row_id, user_id, split, history, target."""
    items: Path
    """item_id (0 .. n-1, dense), title, …"""
    output: Path
    """A folder that exists and is empty; telemetry.jsonl and the results are written into it."""
    compute: ComputeConfig = ComputeConfig()


class TrainingSpec(Spec):
    """What the two commands that train have in common."""

    experiment: SftExperiment | PreferenceExperiment
    checkpoints: Path | None = None
    """Folder of this training alone, which survives a failed one; none: an interrupted training is lost."""
    awaits_verdicts: bool = False
    """Whether whoever starts it answers every validation, where the experiment stops on collapse."""
    interactions: Path | None = None
    """user_id, item_id, split; for prompts that list candidates: none that the user touched in train is drawn."""
    candidate_sets: Path | None = None
    """row_id, candidates (list); for prompts that list candidates: those of validation and test rows."""


class SftSpec(TrainingSpec):
    """`python -m training.sft SPEC.json` → `policy/`."""

    experiment: SftExperiment
    codes: Path | None = None
    """The code table of an experiment on semantic ids."""

    @model_validator(mode="after")
    def _is_pinned(self) -> "SftSpec":
        if self.experiment.backbone.kind == "checkpoint":
            self.experiment.backbone.require_pinned()
        return self


class PreferenceSpec(TrainingSpec):
    """`python -m training.preference SPEC.json` → `policy/`."""

    experiment: PreferenceExperiment
    start_policy: Path
    preference_rows: Path
    """row_id, chosen, rejected (list)."""
    reference_logps: Path
    """row_id, item_id, logp, tokens: complete for every chosen and rejected item of `preference_rows`, or refused."""


class MineSpec(Spec):
    """`python -m training.mine SPEC.json` → `mined_negatives.parquet`."""

    policy: Path
    policy_name: str
    interactions: Path
    """user_id, item_id, split: items touched in train are never mined, held-out ones neither forced in nor kept out."""
    pool: Pool
    round: int = 0
    seed: int
    shards: Path | None = None
    """Folder that survives an interrupted mining, whose finished shards are not mined again; none: all is lost."""


class ReferenceSpec(Spec):
    """`python -m training.reference SPEC.json` → `reference_logps.parquet`."""

    policy: Path
    preference_rows: Path
    interactions: Path | None = None
    """As for a training."""


class ScoreSpec(Spec):
    """`python -m training.score SPEC.json` → `predictions.parquet`, for every validation and test row."""

    policy: Path
    candidate_sets: Path
    """row_id, candidates (list)."""
    top_k: int = Field(default=50, ge=1)
    """Length of the stored full-catalogue list; the rank of the target does not depend on it."""
