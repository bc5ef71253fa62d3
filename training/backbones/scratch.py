"""A small Llama with random weights."""

from typing import Any

import torch
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaForCausalLM

from contracts.config import ScratchBackbone
from training.engine.attention import ATTENTION

INNER_MULTIPLE = 32
HIDDEN_DROPOUT = "hidden_dropout"
"""A key of this project's own in a model's config.json, which others pass over."""


def scratch_model(config: ScratchBackbone, n_tokens: int, seed: int) -> LlamaForCausalLM:
    """A Llama-architecture model with random weights that depend only on the seed."""
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
    drop_hidden(model)
    return model


def drop_hidden(model: Any) -> None:
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
