"""What a training takes beside its forward and backward passes: where the time of `training.loop.loop.fit` goes.

    python benchmarks/loop.py                 prints a line of JSON per workload; a minute on two CPU cores

`texts` has one history a step, of 32 items with eight random tokens each, under the model of `train_step.py`, and 5
negatives. `items` is what `experiments/dmpo-k15.yaml` does on MovieLens-1M: items of one token, histories of 100, 1,024
rows a step, 15 negatives. Methods of the loop are wrapped in clocks, nothing else is changed: *passes* are forward,
loss and backward, *optimizer* is clipping, AdamW and the clearing of gradients, *loop* is the rest: batches, their
layout, diagnostics, telemetry. Validations and checkpoints are left out. Means over the steps.
"""

import json
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from accelerate.optimizer import AcceleratedOptimizer
from transformers import LlamaConfig, LlamaForCausalLM

from contracts.config import AdamW, Budget, ComputeConfig, Dmpo, ScratchBackbone, SftExperiment
from training.backbones.scratch import scratch_model
from training.criteria.preferred import PreferenceBatch, PreferenceTable, Preferred
from training.criteria.win_rate_probe import WinRateProbe
from training.engine.attention import ATTENTION
from training.engine.policy import Policy
from training.engine.windows import find_windows
from training.io.ragged import Ragged
from training.io.rows import Rows
from training.loop import loop
from training.loop.accumulation import Scorer
from training.loop.telemetry import TelemetryWriter
from training.loop.workers import Workers
from training.representations.items import ItemVocabulary
from training.representations.token_lists import TokenLists

HISTORIES = 40
CLOCKED: dict[str, list[tuple[type, str]]] = {
    "passes": [(Scorer, "forward"), (PreferenceBatch, "losses"), (torch.Tensor, "backward")],
    "optimizer": [(Workers, "clip"), (AcceleratedOptimizer, "step"), (AcceleratedOptimizer, "zero_grad")],
    "step": [(loop._Training, "step")],  # pyright: ignore[reportPrivateUsage]
}


def texts() -> tuple[Policy, Rows, int, int]:
    """The policy, the rows, how many of them a step takes, and negatives."""
    random, n_items, vocabulary = np.random.default_rng(0), 2_000, 8_192
    tokens = Ragged(random.integers(vocabulary - 1, size=n_items * 8), np.arange(n_items + 1) * 8)
    lists = TokenLists(
        n_tokens=vocabulary,
        n_scored=vocabulary,
        pad=vocabulary - 1,
        start=np.array([0]),
        bridge=np.zeros(0, dtype=np.int64),
        pieces=tokens,
        completions=tokens,
    )
    shape = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=4,
        num_attention_heads=4,
        tie_word_embeddings=False,
        attn_implementation=ATTENTION,  # pyright: ignore[reportCallIssue]
    )
    histories = Ragged(random.integers(n_items, size=HISTORIES * 32), np.arange(HISTORIES + 1) * 32)
    users = np.arange(HISTORIES)
    rows = Rows(users, users, histories, random.integers(n_items, size=HISTORIES))
    return Policy(LlamaForCausalLM(shape), lists, context=512), rows, 1, 5


def items() -> tuple[Policy, Rows, int, int]:
    """Every prefix of 400 histories is a row."""
    random, n_items, length, users = np.random.default_rng(0), 3_706, 101, 400
    taken = np.stack([random.permutation(n_items)[:length] for _ in range(users)])
    prefixes = [of_user[:k].tolist() for of_user in taken for k in range(1, length)]
    n = len(prefixes)
    rows = Rows(np.arange(n), np.repeat(np.arange(users), length - 1), Ragged.of(prefixes), taken[:, 1:].reshape(-1))
    vocabulary = ItemVocabulary(n_items)
    backbone = ScratchBackbone(kind="scratch", hidden=64, layers=2, heads=2, context=101)
    return Policy(scratch_model(backbone, vocabulary.n_tokens, seed=0), vocabulary, context=101), rows, 1024, 15


@contextmanager
def clocks(spent: defaultdict[str, float], calls: Counter[str]) -> Iterator[None]:
    """Adds up seconds and calls of the wrapped methods, by what they are part of."""

    def clocked(method: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            try:
                return method(*arguments, **named)
            finally:
                spent[name] += time.perf_counter() - started
                calls[name] += 1

        return call

    with ExitStack() as stack:
        for name, methods in CLOCKED.items():
            for owner, method in methods:
                stack.enter_context(patch.object(owner, method, clocked(getattr(owner, method), name)))
        yield


def measure(workload: Callable[[], tuple[Policy, Rows, int, int]]) -> dict[str, Any]:
    """Where the seconds of a training's steps went."""
    torch.manual_seed(0)
    policy, rows, batch_size, n = workload()
    negatives = np.random.default_rng(1).integers(policy.vocabulary.n_items, size=(len(rows), n))
    asked = np.concatenate([rows.target[:, None], negatives], axis=1)
    criterion = Preferred(
        Dmpo(kind="dmpo"),
        PreferenceTable(
            np.arange(len(rows)), asked.astype(np.int32), np.full(len(rows), n), np.zeros(asked.shape, dtype=np.float32)
        ),
        policy.vocabulary.completions.lengths,
        None,
        WinRateProbe(policy, rows.take(np.arange(8))),
    )
    spent: defaultdict[str, float] = defaultdict(float)
    calls: Counter[str] = Counter()
    with (
        tempfile.TemporaryDirectory() as folder,
        TelemetryWriter(Path(folder, "telemetry.jsonl")) as telemetry,
        clocks(spent, calls),
    ):
        experiment = SftExperiment(  # of another kind only so that its start is not measured
            kind="sft",
            optimizer=AdamW(kind="adamw", lr=1e-4),
            budget=Budget(epochs=1, batch_size=batch_size, validations=1),
        )
        validation = rows.take(np.arange(8))
        loop.fit(loop.Run(policy, find_windows(rows), validation, criterion, experiment, ComputeConfig(), telemetry))
    spent["loop"] = spent["step"] - spent["passes"] - spent["optimizer"]
    return {
        "workload": workload.__name__,
        "threads": torch.get_num_threads(),
        "steps": calls["step"],
        "milliseconds": {name: round(1000 * of / calls["step"], 2) for name, of in spent.items()},
        "share_of_step": {name: round(spent[name] / spent["step"], 4) for name in ("passes", "optimizer", "loop")},
    }


if __name__ == "__main__":
    for workload in (texts, items):
        print(json.dumps(measure(workload)), flush=True)
