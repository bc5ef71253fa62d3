"""What a training command reads: files and experiment, and where it runs."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from contracts.config.experiment import PreferenceExperiment, SftExperiment
from contracts.config.identity import Frozen
from contracts.config.learning import Pool


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
    """What every command reads: paths are absolute, tables are Parquet with the columns of `contracts/tables.py`."""

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
    """Folder only of this training, which survives a failed one; none: an interrupted training is lost."""
    awaits_replies: bool = False
    """Whether the parent replies to every validation, where the experiment stops on collapse."""
    interactions: Path | None = None
    """user_id, item_id, split; for prompts that list candidates: none that the user touched in train is drawn."""
    candidate_sets: Path | None = None
    """row_id, candidates (list); for prompts that list candidates: those of validation and test rows."""
    keeps_repeats: bool = False
    """Whether users take items again: validations then rank the whole catalogue, items of the history included."""


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
    keeps_repeats: bool = False
    """Whether users take items again: full lists and ranks then leave out nothing of the row's history."""
