"""The causal language model under a policy: a small Llama from scratch, or a checkpoint in Hugging Face format.

Models are used through `transformers` unchanged. Checkpoints are safetensors only, never run remote
code, and are pinned.
`transformers.models.auto` and `peft` are imported where they are needed: they cost seconds.
"""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaForCausalLM

from training.attention import ATTENTION
from training.config import CheckpointBackbone, LoraConfig, ScratchBackbone

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

INNER_MULTIPLE = 32


def scratch_model(config: ScratchBackbone, n_tokens: int, seed: int) -> LlamaForCausalLM:
    """A Llama-architecture model with random weights that depend on the seed alone."""
    # Three matrices of this width are as large as the usual two of 4 × hidden.
    inner = -(-8 * config.hidden // (3 * INNER_MULTIPLE)) * INNER_MULTIPLE
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=n_tokens,
            hidden_size=config.hidden,
            intermediate_size=inner,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.heads,
            max_position_embeddings=config.context,
            attention_dropout=config.dropout,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=None,
            use_cache=False,
            attn_implementation=ATTENTION,  # pyright: ignore[reportCallIssue]
        )
    )


def checkpoint_model(config: CheckpointBackbone, n_tokens: int, seed: int) -> "PreTrainedModel":
    """The body of a checkpoint under a new vocabulary of `n_tokens`: its words have no use where a token is an item.

    New embeddings have the standard deviation of the old ones, so that the body meets inputs of the size it knows.

    Raises:
        ValueError: a folder without safetensors, or a repository on the hub without a revision.
    """
    from transformers.models.auto.modeling_auto import AutoModelForCausalLM

    folder = Path(config.name)
    if folder.is_dir():
        if not any(folder.glob("*.safetensors")):
            raise ValueError(
                f"backbone.name must be a folder with *.safetensors, got {folder}. Convert its weights to safetensors."
            )
    elif folder.is_absolute() or config.name.startswith("."):
        raise ValueError(f"backbone.name must be a folder that exists, got {folder}. Check the path.")
    elif config.revision is None:
        raise ValueError(
            f"backbone.revision must be the 40-digit commit of a repository on the hub, got none for {config.name}. "
            "Copy it from the repository's history."
        )
    model = AutoModelForCausalLM.from_pretrained(
        config.name,
        revision=config.revision or "main",
        use_safetensors=True,
        trust_remote_code=False,
        attn_implementation=ATTENTION,
        dtype=torch.float32,
    )
    _replace_vocabulary(model, n_tokens, seed)
    return model


def _replace_vocabulary(model: Any, n_tokens: int, seed: int) -> None:
    old = model.get_input_embeddings().weight.detach()
    hidden, deviation = old.shape[1], float(old.float().std())
    generator = torch.Generator().manual_seed(seed)
    model.config.tie_word_embeddings = False
    model.config.vocab_size = n_tokens
    model.config.bos_token_id = model.config.eos_token_id = model.config.pad_token_id = None
    model.generation_config = None
    embeddings, head = torch.nn.Embedding(n_tokens, hidden), torch.nn.Linear(hidden, n_tokens, bias=False)
    with torch.no_grad():
        embeddings.weight.normal_(0.0, deviation, generator=generator)
        head.weight.normal_(0.0, deviation, generator=generator)
    model.set_input_embeddings(embeddings)
    model.set_output_embeddings(head)


def load_model(folder: Path) -> "PreTrainedModel":
    """A model as this project saved it: config.json and model.safetensors, every weight named in both."""
    import json

    from safetensors.torch import load_file

    description = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if description.get("model_type") == "llama":
        config: Any = LlamaConfig.from_dict(description)
        config._attn_implementation = ATTENTION
        model: PreTrainedModel = LlamaForCausalLM(config)
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


def attach_lora(model: "PreTrainedModel", config: LoraConfig, seed: int) -> "PeftModel":
    """Low-rank adapters on the frozen model; the item embeddings at both ends train in full, through copies.

    With the adapters disabled, the frozen weights answer: that is the reference.
    """
    import peft

    torch.manual_seed(seed)

    ends = [
        name
        for name, module in model.named_modules()
        if module in (model.get_input_embeddings(), model.get_output_embeddings())
    ]
    settings = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # pyright: ignore[reportArgumentType]
        lora_dropout=config.dropout,
        target_modules=config.targets,
        modules_to_save=[name.rsplit(".", 1)[-1] for name in ends],
    )
    with warnings.catch_warnings():  # peft 0.21 asks transformers 5 for a deprecated name; gone with the next peft
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
        return peft.get_peft_model(model, settings)  # pyright: ignore[reportReturnType]
