"""A policy on a GPU: the scores and gradients of the CPU, little memory, and weights in 4 bits. Skipped without one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from contracts.config import CheckpointBackbone, LoraConfig
from tests.training.backbones.test_backbones import card
from training.backbones.adapters import attach_lora
from training.backbones.pretrained import pretrained_model
from training.engine.attention import ATTENTION
from training.engine.device import CPU, Device
from training.engine.policy import Policy
from training.engine.windows import Trunks, find_windows, lay_out
from training.io.policy_folder import load_policy, save_policy
from training.io.ragged import Ragged
from training.io.rows import Rows
from training.representations.items import ItemVocabulary
from training.representations.token_lists import TokenLists

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
CUDA = torch.device("cuda")
VOCABULARY, ITEMS, CODES = 512, 200, 8


def lists() -> TokenLists:
    """Items of eight random tokens."""
    tokens = np.random.default_rng(0).integers(VOCABULARY - 1, size=ITEMS * CODES)
    pieces = Ragged(tokens, np.arange(ITEMS + 1) * CODES)
    nothing = np.zeros(0, dtype=np.int64)
    return TokenLists(VOCABULARY, VOCABULARY, VOCABULARY - 1, np.array([0]), nothing, pieces, pieces)


def policy_on(device: Device, hidden: int = 64) -> Policy:
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        attn_implementation=ATTENTION,  # pyright: ignore[reportCallIssue]
    )
    return Policy(LlamaForCausalLM(shape), lists(), 1024, device=device)


def asked(policy: Policy, n_items: int, longest: int = 20) -> tuple[Trunks, np.ndarray]:
    """Histories of unequal lengths, several of one user, and items to be scored after each."""
    random = np.random.default_rng(1)
    histories = [random.integers(ITEMS, size=longest).tolist()[:k] for k in (3, 7, longest)]
    histories += [[*histories[2], 5]]
    rows = Rows(np.arange(4), np.array([0, 1, 2, 2]), Ragged.of(histories), np.array([1, 2, 5, 9]))
    windows = find_windows(rows)
    return lay_out(windows, np.arange(len(windows)), policy.vocabulary), random.integers(ITEMS, size=(4, n_items))


def scored(device: Device) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    policy = policy_on(device)
    logps = policy.item_logps(*asked(policy, 16)).float()
    (logps[:, 0] - logps[:, 1:].mean(dim=1)).sum().backward()
    gradients = {
        name: weight.grad.cpu() for name, weight in policy.trained_parameters().items() if weight.grad is not None
    }
    return logps.detach().cpu(), gradients


@pytest.mark.parametrize(("is_bf16", "of_scores", "of_gradients"), [(False, 1e-3, 1e-3), (True, 0.5, 0.1)])
def test_scores_and_gradients_are_those_of_the_cpu(is_bf16: bool, of_scores: float, of_gradients: float) -> None:
    """The first within rounding of float32; in bf16 a sum of eight log-probabilities is off by some tenths of a nat."""
    wanted, found = scored(CPU), scored(Device(CUDA, is_bf16))
    torch.testing.assert_close(found[0], wanted[0], rtol=0.0, atol=of_scores)
    for name, gradient in wanted[1].items():
        assert float((found[1][name] - gradient).norm() / gradient.norm()) < of_gradients, name


def test_a_shared_prompt_takes_a_fraction_of_the_memory_of_repeated_ones() -> None:
    policy = policy_on(Device(CUDA, is_bf16=True), hidden=256)
    trunks, items = asked(policy, 16, longest=64)

    def shared() -> None:
        policy.item_logps(trunks, items).sum().backward()

    def repeated() -> None:
        """For the longest history alone, where the others share a pass with it."""
        prompt = trunks.tokens[trunks.offsets[trunks.window[-1]] :][: trunks.prompt_tokens[-1]]
        lines = np.stack([np.concatenate([prompt, policy.vocabulary.completions[item]]) for item in items[-1]])
        policy.model.set_attn_implementation("sdpa")
        with policy.device.autocast():
            logits = policy.model(input_ids=torch.from_numpy(lines).to(CUDA), use_cache=False).logits
        policy.model.set_attn_implementation(ATTENTION)
        logits.float().log_softmax(dim=-1).sum().backward()

    for warm_up in (shared, repeated):
        warm_up()
    assert peak_of(shared, policy) < peak_of(repeated, policy) / 2


def peak_of(step: Callable[[], None], policy: Policy) -> int:
    """Bytes beside weights."""
    policy.model.zero_grad(set_to_none=True)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    return torch.cuda.max_memory_allocated() - before


@pytest.mark.filterwarnings("ignore")
def test_weights_in_4_bits_load_train_and_are_saved_whole(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    LlamaForCausalLM(LlamaConfig(**sizes, vocab_size=50)).save_pretrained(tmp_path / "checkpoint")
    lora = LoraConfig(rank=4, dropout=0.0)
    backbone = CheckpointBackbone(
        kind="checkpoint", name=str(tmp_path / "checkpoint"), lora=lora, context=16, quantization="nf4"
    )
    place, vocabulary = Device(CUDA, is_bf16=True), ItemVocabulary(12)
    model = pretrained_model(backbone, vocabulary.n_tokens, seed=0, device=place)
    layer = model.get_submodule("model.layers.0.mlp.up_proj")
    assert layer.weight.numel() * layer.weight.element_size() <= 256 * 512 / 2  # pyright: ignore
    policy = Policy(model, vocabulary, 16, adapter=attach_lora(model, lora, 0, trains_ends=True), device=place)
    rows = Rows(np.arange(2), np.arange(2), Ragged.of([[1, 2], [4, 11, 0]]), np.array([3, 9]))
    trunks, items = lay_out(find_windows(rows), np.arange(2), vocabulary), np.array([[3, 5], [9, 0]])
    stepper = torch.optim.AdamW(policy.trained_parameters().values(), lr=0.01)
    losses = []
    for _ in range(5):
        loss = -policy.item_logps(trunks, items)[:, 0].float().mean()
        loss.backward()
        stepper.step()
        stepper.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    policy.model.eval()
    trained = policy.item_logps(trunks, items).detach().float().cpu()
    save_policy(tmp_path / "policy", policy, card(backbone))
    torch.testing.assert_close(
        load_policy(tmp_path / "policy").item_logps(trunks, items).detach(), trained, rtol=0, atol=0.3
    )
