"""A backbone whose architecture cannot share prefixes is refused by name when it is loaded, and the others are not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from contracts.config import CheckpointBackbone
from tests.training.backbones.test_backbones import N_ITEMS, card
from training.backbones.pretrained import pretrained_model
from training.engine import attention
from training.engine.policy import Policy
from training.engine.windows import find_windows, lay_out
from training.io.policy_folder import load_policy, save_policy
from training.io.ragged import Ragged
from training.io.rows import Rows
from training.representations.items import ItemVocabulary

SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "vocab_size": 50, "num_attention_heads": 4}
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "vocab_size": 50}
GQA = {**SIZES, "num_key_value_heads": 2, "head_dim": 4}


def saved(folder: Path, architecture: str, **settings: Any) -> CheckpointBackbone:
    torch.manual_seed(0)
    config = getattr(transformers, f"{architecture}Config")(**settings)
    suffix = "LMHeadModel" if architecture in ("GPT2", "OpenAIGPT") else "ForCausalLM"
    model = getattr(transformers, f"{architecture.removesuffix('Text')}{suffix}")(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() >= 2:
                weight.mul_(5.0)  # at random weights are so small that attention hardly matters
            elif name == "lm_head.bias":
                weight.copy_(torch.linspace(-1, 1, len(weight)))
    model.save_pretrained(folder)
    return CheckpointBackbone(kind="checkpoint", name=str(folder), context=32)


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        ("Llama", GQA),
        ("Qwen2", GQA),
        ("Qwen3", GQA),
        ("Mistral", {**GQA, "sliding_window": None}),
        ("Mistral", {**GQA, "sliding_window": 32}),
        ("GPT2", {"n_embd": 16, "n_layer": 2, "n_head": 4, "vocab_size": 50, "n_positions": 40}),
        ("GPTNeoX", SIZES),
        ("Phi3", {**GQA, "pad_token_id": 0}),
    ],
)
def test_full_causal_attention_is_accepted(architecture: str, settings: dict[str, Any], tmp_path: Path) -> None:
    model = pretrained_model(saved(tmp_path, architecture, **settings), None, seed=0)
    assert model.get_input_embeddings().get_parameter("weight").shape[0] == 50


@pytest.mark.parametrize(
    ("architecture", "settings", "message"),
    [
        (
            "Mistral",
            {**GQA, "sliding_window": 8},
            r"\(mistral\) with a sliding window of 8\. Lower",
        ),
        (
            "GPT2",
            {"n_embd": 16, "n_layer": 1, "n_head": 4, "vocab_size": 50, "n_positions": 20},
            r"at most the 20",
        ),
        (
            "Mamba",
            {"hidden_size": 16, "num_hidden_layers": 1, "vocab_size": 50, "state_size": 4},
            r"\(mamba\), which differs by",
        ),
        ("Rwkv", {"hidden_size": 16, "num_hidden_layers": 2, "vocab_size": 50, "attention_hidden_size": 16}, r"rwkv"),
        ("Bloom", {"hidden_size": 16, "n_layer": 2, "n_head": 4, "vocab_size": 50}, r"bloom"),
        (
            "Gemma2",
            {**GQA, "attn_logit_softcapping": None, "final_logit_softcapping": 0.5, "sliding_window": 64},
            r"\(gemma2\), which differs by",
        ),
        ("Cohere", {**GQA, "logit_scale": 0.0625}, r"\(cohere\), which differs by"),
        ("Phi", SIZES, r"output layer must be without bias, got .*\(phi\)"),
        (
            "Gemma2",
            {**GQA, "attn_logit_softcapping": 5.0, "final_logit_softcapping": None, "sliding_window": 64},
            r"\(gemma2\): its attention changes scores .*\(softcap\)",
        ),
        (
            "Phi3",
            {
                **GQA,
                "pad_token_id": 0,
                "max_position_embeddings": 64,
                "original_max_position_embeddings": 16,
                "rope_parameters": {
                    "rope_type": "longrope",
                    "rope_theta": 10000.0,
                    "short_factor": [1.0, 1.0],
                    "long_factor": [4.0, 4.0],
                    "original_max_position_embeddings": 16,
                },
            },
            r"at most 16 tokens for .*\(phi3\), got 32: .*longrope",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_breaks_the_equality_is_refused_by_name(
    architecture: str, settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    backbone = saved(tmp_path, architecture, **settings)
    with pytest.raises(ValueError, match=message):
        pretrained_model(backbone, None, seed=0)


def test_equal_scores_with_other_gradients_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attend = attention._attend_from_nodes  # pyright: ignore[reportPrivateUsage]

    def without_gradient_of_prompts(branches: Any, query: Any, keys: Any, values: Any, *others: Any) -> Any:
        return attend(branches, query, keys.detach(), values.detach(), *others)

    monkeypatch.setattr(attention, "_attend_from_nodes", without_gradient_of_prompts)
    with pytest.raises(ValueError, match="the gradients that they have alone"):
        pretrained_model(saved(tmp_path, "Llama", **GQA), None, seed=0)


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        ("Llama", {**GQA, "tie_word_embeddings": True}),
        ("Gemma", GQA),
        ("Gemma2", {**GQA, "attn_logit_softcapping": None, "final_logit_softcapping": None, "sliding_window": 64}),
        ("Gemma3Text", {**GQA, "sliding_window": 64, "pad_token_id": 0, "max_position_embeddings": 64}),
        ("GPT2", {"n_embd": 16, "n_layer": 2, "n_head": 4, "vocab_size": 50, "n_positions": 40}),
        ("GPTNeoX", SIZES),
    ],
)
def test_under_a_new_vocabulary_a_saved_policy_scores_as_before(
    architecture: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    backbone = saved(tmp_path / "checkpoint", architecture, **settings)
    vocabulary = ItemVocabulary(N_ITEMS)
    policy = Policy(pretrained_model(backbone, vocabulary.n_tokens, seed=0), vocabulary, 32)
    rows = Rows(np.arange(2), np.arange(2), Ragged.of([[1, 2], [4, 11, 0]]), np.array([3, 9]))
    trunks = lay_out(find_windows(rows), np.arange(2), vocabulary)
    asked = np.array([[3, 5], [9, 0]])
    before = policy.item_logps(trunks, asked)
    save_policy(tmp_path / "policy", policy, card(backbone))
    assert torch.equal(load_policy(tmp_path / "policy").item_logps(trunks, asked), before)
