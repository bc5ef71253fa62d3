"""One pass over shared trunks gives what one pass per row would give, gradients included."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from contracts.config import ComputeConfig, ScratchBackbone
from training.backbones.scratch import scratch_model
from training.criteria.next_item import NextItem
from training.engine.attention import ATTENTION
from training.engine.logps import catalogue_logps, item_logps
from training.engine.policy import Policy
from training.engine.windows import Windows, find_windows, lay_out
from training.io.readers import read_rows
from training.loop.accumulation import accumulate
from training.representations.items import ItemVocabulary
from training.representations.prompted_rows import fit_context

TINY = ScratchBackbone(hidden=16, layers=2, heads=2, context=32, dropout=0.0)


def tiny_policy(n_items: int, dtype: torch.dtype = torch.float32) -> Policy:
    model = scratch_model(TINY, ItemVocabulary(n_items).n_tokens, seed=1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(3.0)  # far from uniform predictions
    if dtype == torch.float64:  # transformers' own normalisation rounds to float32
        for module in list(model.modules()):
            for name, child in module.named_children():
                if isinstance(child, LlamaRMSNorm):
                    setattr(module, name, torch.nn.RMSNorm(TINY.hidden, eps=child.variance_epsilon))
    model.to(dtype)  # pyright: ignore[reportArgumentType]
    return Policy(model, ItemVocabulary(n_items), TINY.context)


@pytest.fixture
def windows(simulate: Callable[..., Any], tmp_path: Any) -> Windows:
    tables = simulate(tmp_path, users=12, items=20)
    return find_windows(read_rows(tables.histories, "train", tables.n_items))


def repeat_the_prompt(policy: Policy, windows: Windows, row: int, items: list[int]) -> Tensor:
    """Each item appended to a copy of the prompt, as `transformers` itself computes it, with its own attention."""
    assert isinstance(policy.vocabulary, ItemVocabulary)
    prompt = [policy.vocabulary.begin, *windows.rows.history[row].tolist()]
    policy.model.config._attn_implementation = "sdpa"
    logits = policy.model(input_ids=torch.tensor([[*prompt, item] for item in items])).logits
    policy.model.config._attn_implementation = ATTENTION
    shifted = torch.log_softmax(logits[:, :-1, : policy.vocabulary.n_items], dim=-1)
    return shifted[torch.arange(len(items)), -1, torch.tensor(items)]


def gradients(policy: Policy) -> dict[str, Tensor]:
    found = {name: weight.grad.clone() for name, weight in policy.model.named_parameters() if weight.grad is not None}
    policy.model.zero_grad()
    return found


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_a_shared_trunk_equals_one_prompt_per_item(windows: Windows, dtype: torch.dtype, tolerance: float) -> None:
    policy = tiny_policy(20, dtype)
    trunks = lay_out(windows, np.arange(len(windows)), policy.vocabulary)
    items = torch.randint(20, (len(trunks.row), 3), generator=torch.Generator().manual_seed(0))
    weight = torch.randn(items.shape, generator=torch.Generator().manual_seed(1), dtype=dtype)
    shared = policy.item_logps(trunks, items.numpy())
    (shared * weight).sum().backward()
    of_shared = gradients(policy)
    repeated = torch.stack(
        [
            repeat_the_prompt(policy, windows, row, chosen.tolist())
            for row, chosen in zip(trunks.row, items, strict=True)
        ]
    )
    (repeated * weight).sum().backward()
    of_repeated = gradients(policy)
    torch.testing.assert_close(shared, repeated, rtol=tolerance, atol=tolerance)
    assert of_shared.keys() == of_repeated.keys()
    for name, gradient in of_repeated.items():
        assert (of_shared[name] - gradient).norm() <= tolerance * gradient.norm(), name


def test_item_logps_are_those_of_the_whole_catalogue_and_so_are_their_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(5, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    head = torch.randn(7, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    items = torch.tensor([[1, 1], [0, 6], [3, 2], [5, 5], [4, 0]])
    weight = torch.randn(items.shape, dtype=torch.float64, generator=generator)
    some, every = item_logps(states, head, items), catalogue_logps(states, head).gather(1, items)
    torch.testing.assert_close(some, every)
    wanted = torch.autograd.grad((every * weight).sum(), (states, head))
    torch.testing.assert_close(torch.autograd.grad((some * weight).sum(), (states, head)), wanted)


def test_log_probabilities_are_float32_under_a_half_precision_state() -> None:
    states, head = torch.randn(2, 4).bfloat16(), torch.randn(7, 4).bfloat16()
    assert item_logps(states, head, torch.tensor([[1], [2]])).dtype == torch.float32
    assert catalogue_logps(states, head).dtype == torch.float32


def test_items_share_all_the_probability(windows: Windows) -> None:
    policy = tiny_policy(20)
    states = policy.states(lay_out(windows, np.array([0]), policy.vocabulary))
    total = catalogue_logps(states, policy.head).exp().sum(dim=1)
    torch.testing.assert_close(total, torch.ones_like(total))


@pytest.mark.parametrize("tokens", [1, 40, 16_384])
def test_how_a_step_is_cut_changes_neither_its_loss_nor_its_gradient(windows: Windows, tokens: int) -> None:
    policy = tiny_policy(20, torch.float64)
    whole, _ = accumulate(policy, windows, NextItem(windows.rows), ComputeConfig())
    of_whole = gradients(policy)
    cut, scored = accumulate(policy, windows, NextItem(windows.rows), ComputeConfig(micro_batch_tokens=tokens))
    assert len(scored) == 1 if tokens == 16_384 else len(scored) > 1
    assert float(cut) == pytest.approx(float(whole), rel=1e-12)
    for name, gradient in gradients(policy).items():
        torch.testing.assert_close(gradient, of_whole[name], rtol=1e-9, atol=1e-12)


def test_a_history_longer_than_the_context_loses_its_oldest_items_and_is_counted(windows: Windows) -> None:
    longest = int(windows.rows.history.lengths.max())
    rows, n_cut = fit_context(windows.rows, ItemVocabulary(20), context=longest)
    assert n_cut == (windows.rows.history.lengths == longest).sum() > 0
    row = int(windows.rows.history.lengths.argmax())
    assert rows.history[row].tolist() == windows.rows.history[row].tolist()[1:]
    assert fit_context(windows.rows, ItemVocabulary(20), context=longest + 1)[1] == 0
