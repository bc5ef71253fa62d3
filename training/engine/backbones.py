"""The causal language model under a policy: a small Llama from scratch, or a checkpoint in Hugging Face format.

Models are used through `transformers` unchanged. Checkpoints are safetensors only, never run remote
code, and are pinned.
`transformers.models.auto` and `peft` are imported where they are needed: they cost seconds.
"""

import importlib.util
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaForCausalLM
from transformers.pytorch_utils import Conv1D

from contracts.config import CheckpointBackbone, LoraConfig, ScratchBackbone
from training.engine.attention import ATTENTION
from training.engine.device import CPU, Device
from training.engine.sharing import refuse_unshareable

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

INNER_MULTIPLE = 32
LAYERS = (torch.nn.Linear, Conv1D)
"""What an adapter can stand beside; layers in 4 bits are of the first class."""
HIDDEN_DROPOUT = "hidden_dropout"
"""A key of this project's own in a model's config.json, which others pass over."""


def scratch_model(config: ScratchBackbone, n_tokens: int, seed: int) -> LlamaForCausalLM:
    """A Llama-architecture model with random weights that depend on the seed alone."""
    # Three matrices of this width are as large as the usual two of 4 × hidden.
    inner = -(-8 * config.hidden // (3 * INNER_MULTIPLE)) * INNER_MULTIPLE
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
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
            **({HIDDEN_DROPOUT: config.hidden_dropout} if config.hidden_dropout else {}),
        )
    )
    _drop_hidden(model)
    return model


def _drop_hidden(model: Any) -> None:
    """Dropout in training mode, where the configuration says so: on the embeddings, and on what each layer adds.

    Hooks beside the modules: the architecture, its file and its weights are those of any other Llama.
    """
    share = getattr(model.config, HIDDEN_DROPOUT, 0.0)
    if not share:
        return

    def drop(module: torch.nn.Module, _: Any, output: Any) -> Any:
        if isinstance(output, tuple):  # of an attention, whose weights come second
            return torch.nn.functional.dropout(output[0], share, module.training), *output[1:]
        return torch.nn.functional.dropout(output, share, module.training)

    body = model.model
    for module in (body.embed_tokens, *(part for layer in body.layers for part in (layer.self_attn, layer.mlp))):
        module.register_forward_hook(drop)


def checkpoint_model(
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


def load_model(folder: Path) -> "PreTrainedModel":
    """A model as this project saved it: config.json and model.safetensors, every weight named in both."""
    import json

    from safetensors.torch import load_file

    description = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if description.get("model_type") == "llama":
        config: Any = LlamaConfig.from_dict(description)
        config._attn_implementation = ATTENTION
        model: PreTrainedModel = LlamaForCausalLM(config)
        _drop_hidden(model)
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


def attach_lora(model: "PreTrainedModel", config: LoraConfig, seed: int, *, trains_ends: bool) -> "PeftModel":
    """Low-rank adapters on the frozen model. With the adapters disabled, the frozen weights answer: the reference.

    Args:
        model: gets the adapters.
        config: of the experiment.
        seed: of the adapters.
        trains_ends: whether the embeddings at both ends train in full, through copies: a new vocabulary has to.

    Raises:
        ValueError: adapters on the output layer, past which log-probabilities are read, or on layers that do not exist.
    """
    import peft

    torch.manual_seed(seed)

    ends = [
        name
        for name, module in model.named_modules()
        if module in (model.get_input_embeddings(), model.get_output_embeddings())
    ]
    if any(_last(name) in config.targets for name in ends):
        raise ValueError(f"backbone.lora.targets must not name the embeddings at either end, got {config.targets}.")
    layers = {_last(name) for name, module in model.named_modules() if isinstance(module, LAYERS)} - {*map(_last, ends)}
    if unknown := sorted(set(config.targets) - layers):
        raise ValueError(
            f"backbone.lora.targets must be linear layers of {model.config.model_type}, got {', '.join(unknown)}. "
            f"Choose among {', '.join(sorted(layers))}."
        )
    settings = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # pyright: ignore[reportArgumentType]
        lora_dropout=config.dropout,
        target_modules=config.targets,
        modules_to_save=[*map(_last, ends)] if trains_ends else None,
    )
    with warnings.catch_warnings():  # peft 0.21 asks transformers 5 for a deprecated name; gone with the next peft
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
        return peft.get_peft_model(model, settings)  # pyright: ignore[reportReturnType]


def merged(adapted: "PeftModel") -> "PreTrainedModel":
    """The model with the adapters' change written into its weights, in float32 where these were in 4 bits.

    Rounded to 4 bits again, most of the change would be lost. What is given must not be used afterwards.
    """
    import peft

    if getattr(adapted, "is_quantized", False):
        trained = peft.get_peft_model_state_dict(adapted, save_embedding_layers=False)  # those that train are in it
        settings = adapted.peft_config["default"]
        model: Any = adapted.unload()  # pyright: ignore[reportCallIssue]
        model = model.dequantize(dtype=torch.float32).float()
        model.config.dtype = torch.float32
        adapted = peft.get_peft_model(model, settings)  # pyright: ignore[reportAssignmentType]
        peft.set_peft_model_state_dict(adapted, trained)
    return adapted.merge_and_unload()  # pyright: ignore[reportReturnType,reportCallIssue]


def _last(name: str) -> str:
    return name.rsplit(".", 1)[-1]
