"""Low-rank adapters on a base model. `peft` is imported where it is needed: it costs seconds."""

import warnings
from typing import TYPE_CHECKING, Any

import torch
from transformers.pytorch_utils import Conv1D

from contracts.config import Backbone, LoraConfig, Representation

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

LAYERS = (torch.nn.Linear, Conv1D)
"""Layers that an adapter can be attached to; layers in 4 bits are of the first class."""


def adapter_for(
    model: "PreTrainedModel", backbone: Backbone, representation: Representation, seed: int
) -> "PeftModel | None":
    """Attaches the adapter through which a backbone is trained; None for one whose weights all train."""
    if backbone.kind != "checkpoint" or backbone.lora is None:
        return None
    return attach_lora(model, backbone.lora, seed, trains_ends=representation.kind != "titles")


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
