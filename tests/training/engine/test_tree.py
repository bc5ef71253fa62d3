"""A pass over shared prefixes gives what one pass per completion gives, gradients included, whatever the shapes."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaForCausalLM, LlamaRMSNorm

from training.engine import logps
from training.engine.attention import ATTENTION
from training.engine.device import Device
from training.engine.logps import path_logps
from training.engine.tree import grow, lay_out_pass
from training.io.ragged import Ragged

VOCABULARY = 5  # few tokens: completions often begin alike, or go on as their trunk does
CPU = torch.device("cpu")


def tiny_model(dtype: torch.dtype, dropout: float = 0.0, key_heads: int = 2) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=key_heads,
        max_position_embeddings=64,
        attention_dropout=dropout,
        attn_implementation=ATTENTION,  # pyright: ignore[reportCallIssue]
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(4.0)  # far from uniform predictions
    if dtype == torch.float64:  # transformers' own normalisation rounds to float32
        for module in list(model.modules()):
            for name, child in module.named_children():
                if isinstance(child, LlamaRMSNorm):
                    setattr(module, name, torch.nn.RMSNorm(16, eps=child.variance_epsilon))
    model.to(dtype)  # pyright: ignore[reportArgumentType]
    return model


MODELS = {dtype: tiny_model(dtype) for dtype in (torch.float32, torch.float64)}
MODEL_WITH_ALL_KEYS = tiny_model(torch.float64, key_heads=4)


@dataclass(frozen=True)
class Batch:
    trunks: list[list[int]]
    window: list[int]
    prompt_tokens: list[int]
    paths: list[list[int]]
    n_given: int


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    token = st.integers(0, VOCABULARY - 1)
    trunks = draw(st.lists(st.lists(token, min_size=1, max_size=9), min_size=1, max_size=3))
    n_given = draw(st.integers(0, 2))
    path = st.lists(token, min_size=n_given + 1, max_size=n_given + 4)
    n_paths = draw(st.integers(1, 8))
    window = [draw(st.integers(0, len(trunks) - 1)) for _ in range(n_paths)]
    prompt_tokens = [draw(st.integers(1, len(trunks[at]))) for at in window]
    return Batch(trunks, window, prompt_tokens, [draw(path) for _ in range(n_paths)], n_given)


def on_a_tree(model: LlamaForCausalLM, batch: Batch) -> Tensor:
    trunks = Ragged.of(batch.trunks)
    nodes, predictions = grow(
        trunks.values,
        trunks.offsets,
        np.array(batch.window),
        np.array(batch.prompt_tokens),
        Ragged.of(batch.paths),
        batch.n_given,
    )
    positions, layout = lay_out_pass(trunks.offsets, nodes, CPU)
    tokens = np.concatenate([trunks.values, nodes.tokens])
    hidden = model.model(
        input_ids=torch.from_numpy(tokens)[None],
        position_ids=torch.from_numpy(positions)[None],
        use_cache=False,
        layout=layout,
    ).last_hidden_state[0]
    return path_logps(hidden, model.lm_head.weight, predictions, len(batch.paths))


def one_by_one(model: LlamaForCausalLM, batch: Batch) -> Tensor:
    """Each completion behind a copy of its prompt, as `transformers` itself computes it, with its own attention."""
    model.config._attn_implementation = "sdpa"
    sums = []
    for at, prompt_tokens, path in zip(batch.window, batch.prompt_tokens, batch.paths, strict=True):
        tokens = torch.tensor([batch.trunks[at][:prompt_tokens] + path])
        logps = torch.log_softmax(model(input_ids=tokens, use_cache=False).logits[0, :-1], dim=-1)
        of_tokens = logps.gather(1, tokens[0, 1:, None])[:, 0]
        sums.append(of_tokens[prompt_tokens - 1 + batch.n_given :].sum())
    model.config._attn_implementation = ATTENTION
    return torch.stack(sums)


def gradients(model: LlamaForCausalLM, of: Tensor) -> dict[str, Tensor]:
    weight = torch.linspace(-1.0, 2.0, len(of), dtype=of.dtype)
    (of * weight).sum().backward()
    found = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()
    return found


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@settings(deadline=None, derandomize=True, max_examples=60)
@given(batch=batches())
def test_a_tree_equals_one_sequence_per_completion(dtype: torch.dtype, tolerance: float, batch: Batch) -> None:
    check_both_ways(MODELS[dtype], tolerance, batch)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(batch=batches())
def test_a_tree_equals_one_sequence_per_completion_where_each_head_has_keys_of_its_own(batch: Batch) -> None:
    check_both_ways(MODEL_WITH_ALL_KEYS, 1e-10, batch)


def check_both_ways(model: LlamaForCausalLM, tolerance: float, batch: Batch) -> None:
    tree, plain = on_a_tree(model, batch), one_by_one(model, batch)
    torch.testing.assert_close(tree, plain, rtol=10 * tolerance, atol=10 * tolerance)
    of_tree, of_plain = gradients(model, tree), gradients(model, plain)
    assert of_tree.keys() == of_plain.keys()
    largest = max(float(gradient.norm()) for gradient in of_plain.values())
    rounding = (
        8 * torch.finfo(tree.dtype).eps * largest
    )  # of a gradient that would be zero: a token that sees itself only
    for name, gradient in of_plain.items():
        assert (of_tree[name] - gradient).norm() <= tolerance * gradient.norm() + rounding, name


def grown(batch: Batch) -> tuple[int, int]:
    trunks = Ragged.of(batch.trunks)
    nodes, predictions = grow(
        trunks.values,
        trunks.offsets,
        np.array(batch.window),
        np.array(batch.prompt_tokens),
        Ragged.of(batch.paths),
        batch.n_given,
    )
    return len(nodes), len(np.unique(predictions.state))


def test_what_completions_have_in_common_is_fed_once_and_last_tokens_never() -> None:
    alike = [[1, 2, 3], [1, 2, 4], [1, 4], [1, 2, 3]]
    assert grown(Batch([[0, 0]], [0] * 4, [2] * 4, alike, 0)) == (2, 3)
    assert grown(Batch([[0, 0]], [0] * 3, [2] * 3, [[1], [2], [3]], 0)) == (0, 1)


def test_a_completion_that_goes_on_as_its_trunk_does_needs_no_nodes() -> None:
    assert grown(Batch([[0, 1, 2, 3]], [0], [1], [[1, 2, 3, 4]], 0)) == (0, 4)
    assert grown(Batch([[0, 1, 2, 3]], [0], [2], [[2, 4, 1, 1]], 0)) == (2, 4)


def test_a_given_token_is_fed_but_not_scored() -> None:
    assert grown(Batch([[0]], [0], [1], [[1, 2, 3]], 2)) == (2, 1)


@pytest.mark.parametrize("chunk", [1, 2, 1000])
def test_logits_in_chunks_give_the_same_values_and_gradients(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Batch([[0, 1, 2], [3, 1]], [0, 0, 1, 1], [3, 1, 2, 1], [[1, 2], [1, 4, 4], [0, 1, 2], [2]], 0)
    model = MODELS[torch.float64]
    plain = one_by_one(model, batch)
    of_plain = gradients(model, plain)
    monkeypatch.setattr(logps, "MAX_LOGITS", chunk * VOCABULARY)
    tree = on_a_tree(model, batch)
    torch.testing.assert_close(tree, plain, rtol=1e-10, atol=1e-10)
    for name, gradient in gradients(model, tree).items():
        torch.testing.assert_close(gradient, of_plain[name], rtol=1e-8, atol=1e-10)


def test_bf16_is_near_float32_and_log_probabilities_are_float32() -> None:
    batch = Batch([[0, 1, 2], [3, 1]], [0, 0, 1, 1], [3, 1, 2, 1], [[1, 2], [1, 4, 4], [0, 1, 2], [2]], 0)
    exact = on_a_tree(MODELS[torch.float32], batch)
    with Device(CPU, is_bf16=True).autocast():
        rounded = on_a_tree(MODELS[torch.float32], batch)
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)
    torch.testing.assert_close(rounded, exact, rtol=0.1, atol=0.3)


def test_dropout_reaches_trunks_and_branches_and_the_same_seed_drops_the_same() -> None:
    model = tiny_model(torch.float32, dropout=0.5).train()
    batch = Batch([[0, 1, 2]], [0, 0], [3, 3], [[1, 2, 3, 4], [4, 1]], 0)
    torch.manual_seed(1)
    first = on_a_tree(model, batch)
    torch.manual_seed(1)
    assert torch.equal(on_a_tree(model, batch), first)
    assert not torch.equal(on_a_tree(model, batch), first)
    assert not torch.allclose(on_a_tree(model.eval(), batch), first)
