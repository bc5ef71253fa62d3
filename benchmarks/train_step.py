"""One preference step (forward and backward), against the ways in which others compute the same numbers.

    python benchmarks/train_step.py                    CPU: hidden 256, 4 layers, 8,192 tokens; minutes on two cores
    python benchmarks/train_step.py --device cuda      about 1B parameters, 32k tokens, LoRA, bf16

Every contestant has the same weights and data, and its log-probabilities are compared with ours before it is timed;
`one_plain_pass` is none but a floor: as many tokens in one causal sequence. Contestants are interleaved in one process,
times are medians; peak memory is that of a process of its own, weights and gradients included. P prompt tokens, K
negatives, C tokens of a completion, B histories. Prints a line of JSON for each workload and, with --output, writes
them to a file. `trl` takes part where it is installed (`pip install .[bench]`).
"""

import argparse
import gc
import json
import multiprocessing
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from opponents import Work, completion_logits_only, dmpo, official, one_plain_pass, trl_loss

from contracts.config import LoraConfig
from training.backbones.adapters import attach_lora
from training.engine.attention import ATTENTION
from training.engine.device import CPU, Device
from training.engine.policy import Policy
from training.engine.windows import Trunks
from training.io.ragged import Ragged


@dataclass(frozen=True)
class Size:
    """A Llama from random weights."""

    hidden: int
    layers: int
    heads: int
    vocabulary: int
    lora: bool


@dataclass(frozen=True)
class Workload:
    """P, K, C, B."""

    prompt: int
    negatives: int
    completion: int
    histories: int = 1

    @property
    def tokens(self) -> int:
        """That are computed when the prompt is computed once."""
        return self.histories * (self.prompt + (self.negatives + 1) * self.completion)

    @property
    def sharing_limit(self) -> float:
        """How many times fewer tokens are computed when the prompt is computed once."""
        p, n, c = self.prompt, self.negatives + 1, self.completion
        return n * (p + c) / (p + n * c)


def model_flops(size: Size, work: Workload) -> float:
    """Of one step that shares the prompt: what the products of matrices ask for, nothing computed twice.

    A multiplication and an addition for each weight and token, and for each pair of tokens that attention looks at; the
    output layer where a completion token is predicted. The backward pass asks for as much again for the activations'
    gradients, and again for those of weights, where they train; adapters are not counted.
    """
    p, n, c = work.prompt, work.negatives + 1, work.completion
    of_layers = size.layers * size.hidden * (4 * size.hidden + 3 * inner(size)) * work.tokens
    pairs = p * (p + 1) / 2 + n * (c * p + c * (c + 1) / 2)
    of_attention = 2 * size.layers * size.hidden * pairs * work.histories
    of_head = size.hidden * size.vocabulary * n * c * work.histories
    return 2 * (of_layers + of_attention + of_head) * (2 if size.lora else 3)


def inner(size: Size) -> int:
    """Width of the feed-forward layers."""
    return -(-8 * size.hidden // 96) * 32


def largest_flops(device: str) -> float:
    """What one product of large matrices reaches here, per second: the peak that utilisation is a share of."""
    n, dtype = (8192, torch.bfloat16) if device == "cuda" else (2048, torch.float32)
    left, right = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(8):
        started = time.perf_counter()
        torch.mm(left, right)
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2 * n**3 / best


SIZES = {
    "cpu": Size(hidden=256, layers=4, heads=4, vocabulary=8192, lora=False),
    "cuda": Size(hidden=2048, layers=18, heads=16, vocabulary=32_000, lora=True),
}
WORKLOADS = {
    "cpu": [Workload(512, 15, 8), Workload(256, 5, 8), Workload(256, 15, 8), Workload(512, 1, 8)],
    "cuda": [Workload(512, 15, 8), Workload(512, 15, 8, histories=4), Workload(512, 1, 8)],
}
FLOOR = "one_plain_pass"
"""Computes something else: how long the same number of tokens takes without branches."""
Step = Callable[[], torch.Tensor]


class RandomTexts:
    """A representation whose items are random tokens, `c` each, and whose only history is given."""

    def __init__(self, work: Work, vocabulary: int) -> None:
        n, c = work.completions.shape[0] * work.completions.shape[1], work.completions.shape[2]
        self.n_items, self.n_tokens, self.n_scored, self.pad = n, vocabulary, vocabulary, vocabulary - 1
        self.completions = Ragged(work.completions.reshape(-1).numpy(), np.arange(n + 1) * c)
        self.bridge = np.zeros(0, dtype=np.int64)


def contestants(size: Size, workload: Workload, device: str, only: str | None = None) -> dict[str, Step]:
    """The steps, each with gradients that start from zero; all of them, or one."""
    torch.manual_seed(0)
    work = Work(
        torch.randint(size.vocabulary, (workload.histories, workload.prompt)),
        torch.randint(size.vocabulary, (workload.histories, workload.negatives + 1, workload.completion)),
    )
    there = Work(work.prompts.to(device), work.completions.to(device))
    place = CPU if device == "cpu" else Device(torch.device(device), is_bf16=True)
    steps: dict[str, Step] = {}

    def step_of(model: Any, logps: Callable[[], tuple[torch.Tensor, torch.Tensor | None]]) -> Step:
        def step() -> torch.Tensor:
            model.zero_grad(set_to_none=True)
            with place.autocast():
                of_policy, of_reference = logps()
            loss = dmpo(
                of_policy.float(), torch.zeros_like(of_policy) if of_reference is None else of_reference.float()
            )
            loss.backward()
            if device != "cpu":
                torch.cuda.synchronize()
            return of_policy.detach()

        return step

    if only in (None, "ours"):
        texts: Any = RandomTexts(work, size.vocabulary)
        policy = Policy(_model(size, ATTENTION, lora=False), texts, 4096, device=place)
        trained = policy.model
        if size.lora:
            attach_lora(policy.model, LoraConfig(dropout=0.0), 0, trains_ends=False)
            trained = policy.model.to(torch.device(device))  # pyright: ignore[reportArgumentType]
        trunks = Trunks(
            work.prompts.reshape(-1).numpy(),
            np.arange(workload.histories + 1) * workload.prompt,
            np.arange(workload.histories),
            np.arange(workload.histories),
            np.full(workload.histories, workload.prompt),
        )
        items = np.arange(policy.vocabulary.n_items).reshape(workload.histories, -1)
        steps["ours"] = step_of(trained, lambda: (policy.item_logps(trunks, items), None))
    if only in (None, "official"):
        model, reference = _model(size, "sdpa", size.lora).to(device), _model(size, "sdpa", lora=False).to(device)
        reference.requires_grad_(False)
        steps["official"] = step_of(model, lambda: official(model, there, reference))
    if only in (None, "repeated_without_reference"):
        repeated = _model(size, "sdpa", size.lora).to(device)
        steps["repeated_without_reference"] = step_of(
            repeated, lambda: (completion_logits_only(_base(repeated), there), None)
        )
    if only in (None, FLOOR):
        plain = _model(size, "sdpa", size.lora).to(device)
        steps[FLOOR] = step_of(plain, lambda: (one_plain_pass(_base(plain), there), None))
    if workload.negatives == 1 and only in (None, "trl") and find_spec("trl"):
        judged = _model(size, "sdpa", size.lora).to(device)
        steps["trl"] = step_of(judged, trl_loss(judged, there))
    return steps


def measure(device: str, workload: Workload, repeats: int) -> dict[str, Any]:
    """Times, peak memory and ratios of one workload."""
    size = SIZES[device]
    steps = contestants(size, workload, device)
    ours = steps["ours"]()
    for name, step in steps.items():
        difference = float((step().float() - ours.float()).abs().max())
        limit = 1e-3 if device == "cpu" else 1.0  # bf16
        assert difference < limit or name == FLOOR, f"{name} computes something else: {difference} nats"
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - started)
    del steps
    gc.collect()
    seconds = {name: median(of_step) for name, of_step in times.items()}
    memory = {name: _peak_bytes(device, workload, name) for name in seconds}
    result: dict[str, Any] = {
        "workload": f"P{workload.prompt} K{workload.negatives} C{workload.completion} B{workload.histories}",
        "machine": torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "sharing_limit": round(workload.sharing_limit, 2),
        "milliseconds": {name: round(1000 * value, 2) for name, value in seconds.items()},
        "peak_mib": {name: round(value / 2**20, 1) for name, value in memory.items()},
        "faster_than": {name: round(value / seconds["ours"], 2) for name, value in seconds.items() if name != "ours"},
        "memory_share_of": {name: round(memory["ours"] / value, 3) for name, value in memory.items() if name != "ours"},
        "share_of_sharing_limit": round(
            seconds["repeated_without_reference"] / seconds["ours"] / workload.sharing_limit, 3
        ),
        "share_of_one_plain_pass": round(seconds[FLOOR] / seconds["ours"], 3),
        "tokens_per_s": round(workload.tokens / seconds["ours"]),
        "model_flop_utilisation": round(model_flops(size, workload) / seconds["ours"] / largest_flops(device), 3),
    }
    return result


def _model(size: Size, attention: str, lora: bool) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=size.vocabulary,
            hidden_size=size.hidden,
            intermediate_size=inner(size),
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            num_key_value_heads=size.heads,
            max_position_embeddings=4096,
            tie_word_embeddings=False,
            attn_implementation=attention,  # pyright: ignore[reportCallIssue]
        )
    )
    return attach_lora(model, LoraConfig(dropout=0.0), 0, trains_ends=False) if lora else model


def _base(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _peak_bytes(device: str, workload: Workload, name: str) -> int:
    """Of two steps in a process that has done nothing else."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_peak_in_child, (device, workload, name, torch.get_num_threads()))


def _peak_in_child(device: str, workload: Workload, name: str, threads: int) -> int:
    torch.set_num_threads(threads)
    torch.ones(8, 8).mm(torch.ones(8, 8))  # libraries load before the measurement begins
    before = _resident("VmRSS")
    step = contestants(SIZES[device], workload, device, only=name)[name]
    if device == "cuda":
        step()
        torch.cuda.reset_peak_memory_stats()
        step()
        return torch.cuda.max_memory_allocated()
    Path("/proc/self/clear_refs").write_text("5")  # forgets the highest mark so far
    step()
    step()
    return _resident("VmHWM") - before


def _resident(field: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=sorted(SIZES), default="cpu")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--output", type=Path, help="JSON lines")
    options = parser.parse_args()
    lines = []
    for workload in WORKLOADS[options.device]:
        lines.append(json.dumps(measure(options.device, workload, options.repeats)))
        print(lines[-1], flush=True)
    if options.output:
        options.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
