"""Policies on disk: model.safetensors, config.json and policy.json in one folder that appears whole or not at all."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError
from safetensors.torch import load_file, save_file
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaForCausalLM

from contracts.config import Backbone, Frozen, PreferenceExperiment, Representation, SftExperiment, identity
from contracts.durable import commit, sha256_of, staging_path
from training.backbones.adapters import adapter_for, merged
from training.backbones.scratch import drop_hidden
from training.engine.attention import ATTENTION
from training.engine.device import CPU, Device
from training.engine.policy import Policy
from training.representations.token_lists import TOKENS, load_representation, save_representation

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WEIGHTS, ARCHITECTURE, CARD = "model.safetensors", "config.json", "policy.json"


class KeptWeights(Frozen):
    """Which weights of a run these are, and why."""

    metric: str
    value: float
    """Of the validation rows."""
    step: int


class PolicyCard(Frozen):
    """`policy.json`: all that is needed to use the weights, and where they come from."""

    format: Literal["borderline-policy-1"] = "borderline-policy-1"
    representation: Representation
    backbone: Backbone
    n_items: int
    context: int
    experiment: SftExperiment | PreferenceExperiment
    identity: str
    """Of the experiment, see `contracts.config.identity`."""
    start: str | None
    """SHA-256 of the weights that training started from, see `base_model`; none, when it was from scratch."""
    selection: KeptWeights
    files: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of the other files of the folder."""

    @classmethod
    def of(
        cls,
        experiment: SftExperiment | PreferenceExperiment,
        *,
        representation: Representation,
        backbone: Backbone,
        n_items: int,
        start: str | None,
    ) -> "PolicyCard":
        """The card of a policy whose weights are not selected yet."""
        return cls(
            representation=representation,
            backbone=backbone,
            n_items=n_items,
            context=backbone.context,
            experiment=experiment,
            identity=identity(experiment),
            start=start,
            selection=KeptWeights(metric=experiment.budget.select_by, value=0.0, step=0),
        )

    def selected(self, value: float, step: int) -> "PolicyCard":
        """The card of the weights of one step."""
        return self.model_copy(update={"selection": KeptWeights(metric=self.selection.metric, value=value, step=step)})


def save_policy(folder: Path, policy: Policy, card: PolicyCard) -> None:
    """Writes the policy beside `folder`, down to the disk, then renames it; an adapter is merged into the weights.

    The policy must not be trained any further: merging changes it.

    Raises:
        FileExistsError: `folder` exists.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} must not exist yet. A policy is never overwritten; write to a new folder.")
    model = policy.model if policy.adapter is None else merged(policy.adapter)
    weights = {name: weight.detach().cpu().contiguous() for name, weight in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        del weights[
            "lm_head.weight"
        ]  # the same memory as the input embedding, which safetensors refuses to store twice
    staging = staging_path(folder)
    staging.mkdir(parents=True)
    model.config.architectures = [type(model).__name__]  # by which transformers finds the class, without this project
    try:
        save_file(weights, staging / WEIGHTS, metadata={"format": "pt"})
        model.config.to_json_file(staging / ARCHITECTURE, use_diff=True)
        names = [WEIGHTS, ARCHITECTURE, *save_representation(policy.vocabulary, staging)]
        files = {name: sha256_of(staging / name) for name in names}
        text = card.model_copy(update={"files": files}).model_dump_json(indent=1)
        (staging / CARD).write_text(text + "\n", encoding="utf-8")
        commit(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)  # nothing is left of it after the rename


def read_card(folder: Path) -> PolicyCard:
    """`policy.json` of a folder whose files are those it was saved with.

    Raises:
        ValueError: not a policy, or a file is missing or was changed.
    """
    advice = "Train the policy again, or point to another folder."
    try:
        card = PolicyCard.model_validate_json((folder / CARD).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"{folder} must be the folder of a policy, it has no {CARD}. {advice}") from error
    except (ValidationError, UnicodeDecodeError) as error:
        raise ValueError(f"{folder / CARD} must describe a policy of this version of borderline. {advice}") from error
    wanted = {WEIGHTS, ARCHITECTURE} | ({TOKENS} if card.representation.kind != "items" else set())
    if not wanted <= set(card.files):
        raise ValueError(f"{folder / CARD} must list {sorted(wanted)}, got {sorted(card.files)}. {advice}")
    for name, sha256 in card.files.items():
        if not (folder / name).is_file():
            raise ValueError(f"{folder} must hold {name}, it is missing. {advice}")
        if sha256_of(folder / name) != sha256:
            raise ValueError(f"{folder / name} must be the file that {CARD} names, its content differs. {advice}")
    return card


def load_policy(folder: Path, device: Device = CPU, *, adapter_seed: int | None = None) -> Policy:
    """The policy in a folder, in evaluation mode.

    Args:
        folder: as `save_policy` wrote it.
        device: where it will compute.
        adapter_seed: to train it further: attaches a new adapter drawn from this seed, when the backbone is one that is
            trained through adapters; until it is trained it changes nothing.

    Raises:
        ValueError: the folder is torn or foreign, see `read_card`.
    """
    card = read_card(folder)
    vocabulary = load_representation(folder, card.n_items)
    model = _load_model(folder)
    if model.config.vocab_size != vocabulary.n_tokens:
        raise ValueError(
            f"{folder} must hold {vocabulary.n_tokens} tokens for {card.n_items} items, got {model.config.vocab_size}."
        )
    adapter = None
    if adapter_seed is not None:
        adapter = adapter_for(model, card.backbone, card.representation, adapter_seed)
    return Policy(model, vocabulary, card.context, adapter=adapter, device=device)


def _load_model(folder: Path) -> "PreTrainedModel":
    """A model as this project saved it: config.json and model.safetensors, every weight named in both."""
    description = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if description.get("model_type") == "llama":
        config: Any = LlamaConfig.from_dict(description)
        config._attn_implementation = ATTENTION
        model: PreTrainedModel = LlamaForCausalLM(config)
        drop_hidden(model)
    else:
        from transformers.models.auto.configuration_auto import AutoConfig
        from transformers.models.auto.modeling_auto import AutoModelForCausalLM

        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        model = AutoModelForCausalLM.from_config(config, attn_implementation=ATTENTION, trust_remote_code=False)
    missing, unexpected = model.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    if set(missing) - tied or unexpected:
        raise ValueError(
            f"weights in {folder} must be those of its config.json, got missing {missing}, unexpected {unexpected}."
        )
    return model
