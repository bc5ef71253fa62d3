"""A base model in Hugging Face format: safetensors only, pinned, and never with code of its own.

`transformers.models.auto` is imported where it is needed: it costs seconds.
"""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from contracts.config import CheckpointBackbone
from training.backbones.sharing import refuse_unshareable
from training.engine.attention import ATTENTION
from training.engine.device import CPU, Device

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def pretrained_model(
    config: CheckpointBackbone, n_tokens: int | None, seed: int, device: Device = CPU
) -> "PreTrainedModel":
    """A checkpoint, or its body under a new vocabulary: its words have no use where a token is an item or a code.

    New embeddings have the standard deviation of the old ones, so that the body meets inputs of the size it knows.

    Args:
        config: which checkpoint.
        n_tokens: size of the new vocabulary; the checkpoint keeps its own, when absent.
        seed: of the new embeddings.
        device: where it will compute.

    Raises:
        ValueError: a folder without safetensors, a repository on the hub without a revision, 4-bit weights without
            CUDA, or an architecture that cannot share prefixes, see `refuse_unshareable`.
    """
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
    settings: dict[str, Any] = {"dtype": torch.float32}
    if config.quantization is not None:
        settings = _four_bit(device)
    model = _loaded(config, settings)
    if n_tokens is not None:
        _replace_vocabulary(model, n_tokens, seed)
    refuse_unshareable(model, config)
    return model


def _loaded(config: CheckpointBackbone, settings: dict[str, Any]) -> Any:
    """The model with every weight of its architecture; transformers would draw what is missing at random."""
    from safetensors import SafetensorError
    from transformers.models.auto.modeling_auto import AutoModelForCausalLM

    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            config.name,
            revision=config.revision or "main",
            use_safetensors=True,
            trust_remote_code=False,
            attn_implementation=ATTENTION,
            output_loading_info=True,
            **settings,
        )
        model, found = loaded
    except (OSError, SafetensorError) as error:
        raise ValueError(
            f"backbone.name must be a checkpoint with all its files, got {config.name}: {error}. Copy it again."
        ) from error
    except (ValueError, KeyError, AttributeError, RuntimeError) as error:
        if "trust_remote_code" in str(error):
            raise ValueError(
                f"backbone.name must be an architecture that transformers has, got {config.name}, which brings code of "
                "its own: that is never run. Choose another checkpoint."
            ) from error
        raise ValueError(
            f"backbone.name must be a decoder-only language model that this version of transformers knows, got "
            f"{config.name}: {error}"
        ) from error
    lacking = {*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])}
    if lacking:
        raise ValueError(
            f"backbone.name must be a checkpoint with all weights of its config.json, got {config.name}, where "
            f"{len(lacking)} are missing or of another shape, such as {min(lacking)}. Copy it again."
        )
    return model


def _four_bit(device: Device) -> dict[str, Any]:
    """How transformers is told to load weights in 4 bits."""
    if device.device.type != "cuda":
        raise ValueError(
            "backbone.quantization must be absent on a machine without CUDA, got nf4: that is for weights that do not "
            "fit a GPU. Remove it, or run on a GPU."
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ValueError("backbone.quantization needs bitsandbytes, which is not installed: pip install '.[cuda]'.")
    from transformers import BitsAndBytesConfig

    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return {"dtype": torch.bfloat16, "quantization_config": settings, "device_map": {"": device.device}}


def _replace_vocabulary(model: Any, n_tokens: int, seed: int) -> None:
    """New weights in the modules at both ends, which stay of their class: some scale what they embed."""
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    old = embeddings.weight.detach()
    deviation, generator = float(old.float().std()), torch.Generator().manual_seed(seed)
    model.config.tie_word_embeddings = False
    model.config.vocab_size = embeddings.num_embeddings = head.out_features = n_tokens
    model.config.bos_token_id = model.config.eos_token_id = model.config.pad_token_id = None
    embeddings.padding_idx = None
    model.generation_config = None
    for module in (embeddings, head):
        weight = torch.empty(n_tokens, old.shape[1]).normal_(0.0, deviation, generator=generator)
        module.weight = torch.nn.Parameter(weight.to(old.device))
