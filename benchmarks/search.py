"""The most likely items of a catalogue of semantic ids: our search against constrained beams of `transformers`.

    python benchmarks/search.py            prints a line of JSON per opponent; a minute on two CPU cores

10,000 items of three codes, hidden 64, two layers, trained for 200 steps on users who walk among items with similar
codes. 32 prompts of 20 items at once, whose ten most likely items outside the history are wanted. The opponent is
`generate` with `prefix_allowed_tokens_fn`, a key-value cache and a beam of 20 or 50; `recall` says which share of the
exact ten it found. Log-probabilities of what both find are held to each other. All calls are interleaved in one
process; times are medians per prompt.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
from transformers import LlamaForCausalLM

from contracts.config import ComputeConfig, ScratchBackbone
from training.backbones.scratch import scratch_model
from training.criteria.next_item import NextItem
from training.engine.decoding import search, trie_of
from training.engine.policy import Policy
from training.engine.windows import find_windows
from training.io.ragged import Ragged
from training.io.rows import Rows
from training.loop.accumulation import accumulate
from training.representations.token_lists import TokenLists

LEVELS, CODES, HISTORY, TOP_K = 3, 128, 20, 10
STEPS, STEP_USERS, REACH = 200, 32, 20
LARGEST_DIFFERENCE = 1e-3
"""Nats that rounding explains."""


def trained_policy(n_items: int, seed: int) -> Policy:
    """A catalogue of distinct codes, coarse to fine, and a policy that has seen some users."""
    random = np.random.default_rng(seed)
    cells = np.sort(random.choice(CODES**LEVELS, n_items, replace=False))
    codes = np.stack([cells // CODES ** (LEVELS - 1 - k) % CODES + k * CODES for k in range(LEVELS)], axis=1)
    lists = Ragged(codes.reshape(-1), np.arange(n_items + 1) * LEVELS)
    n, nothing = CODES * LEVELS, np.zeros(0, dtype=np.int64)
    vocabulary = TokenLists(n + 2, n, n + 1, np.array([n]), nothing, lists, lists)
    context = LEVELS * (HISTORY + 1) + 1
    policy = Policy(scratch_model(ScratchBackbone(context=context, dropout=0.0), n + 2, seed), vocabulary, context)
    optimizer = torch.optim.AdamW(policy.trained_parameters().values(), lr=5e-3)
    for step in range(STEPS):
        logs = walks(n_items, STEP_USERS, seed=seed + 1 + step)
        windows = find_windows(
            Rows(
                np.arange(logs[:, 1:].size),
                np.repeat(np.arange(len(logs)), HISTORY),
                Ragged.of([log[:end].tolist() for log in logs for end in range(1, HISTORY + 1)]),
                logs[:, 1:].reshape(-1),
            )
        )
        accumulate(policy, windows, NextItem(windows.rows), ComputeConfig())
        optimizer.step()
        optimizer.zero_grad()
    policy.model.eval()
    return policy


def walks(n_items: int, n_users: int, seed: int) -> np.ndarray:
    """Logs of HISTORY + 1 items, each near the one before."""
    random = np.random.default_rng(seed)
    steps = random.integers(-REACH, REACH + 1, size=(n_users, HISTORY + 1))
    return (random.integers(n_items, size=(n_users, 1)) + steps.cumsum(axis=1)) % n_items


def of_transformers(policy: Policy) -> LlamaForCausalLM:
    """The same model without this project: it gives probability to the tokens that stand in completions alone."""
    with tempfile.TemporaryDirectory() as folder:
        policy.model.save_pretrained(folder)
        model = LlamaForCausalLM.from_pretrained(folder, attn_implementation="sdpa")
    head = torch.nn.Linear(policy.head.shape[1], len(policy.head), bias=False)
    head.weight = torch.nn.Parameter(policy.head.detach().clone())
    model.lm_head = head
    return model.eval()


def constrained_beams(
    model: Any, policy: Policy, rows: Rows, n_beams: int, top_k: int
) -> list[list[tuple[int, float]]]:
    """Items and log-probabilities that a beam search of `transformers` finds, best first, outside the history."""
    lists = policy.vocabulary.completions
    item_of = {tuple(lists[item].tolist()): item for item in range(len(lists))}
    following: dict[tuple[int, ...], set[int]] = {}
    for tokens in item_of:
        for level, token in enumerate(tokens):
            following.setdefault(tokens[:level], set()).add(token)
    allowed = {prefix: sorted(tokens) for prefix, tokens in following.items()}
    prompts = policy.vocabulary.prompts(rows.history)
    length = int(prompts.lengths[0])
    ids = torch.from_numpy(prompts.values.reshape(len(rows), length))
    with torch.no_grad():
        found = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            num_beams=n_beams,
            num_return_sequences=n_beams,
            max_new_tokens=int(lists.lengths[0]),
            length_penalty=0.0,
            do_sample=False,
            use_cache=True,
            pad_token_id=policy.vocabulary.pad,
            prefix_allowed_tokens_fn=lambda _, seen: allowed[tuple(seen[length:].tolist())],
            return_dict_in_generate=True,
            output_scores=True,
        )
    completions = found.sequences[:, length:].view(len(rows), n_beams, -1).tolist()
    scores = found.sequences_scores.view(len(rows), n_beams).tolist()
    result = []
    for row in range(len(rows)):
        taken = set(rows.history[row].tolist()) - {int(rows.target[row])}
        items = [(item_of[tuple(c)], s) for c, s in zip(completions[row], scores[row], strict=True)]
        result.append([(item, score) for item, score in items if item not in taken][:top_k])
    return result


def exact(policy: Policy, rows: Rows, top_k: int) -> list[list[tuple[int, float]]]:
    """What our search finds, best first."""
    result: list[list[tuple[int, float]]] = [[]] * len(rows)
    for at, found in search(policy, trie_of(policy.vocabulary.completions), rows, rows.history, top_k):
        for line, row in enumerate(at.tolist()):
            chosen = np.flatnonzero(found.line == line)
            best = chosen[np.argsort(-found.logp[chosen], kind="stable")][:top_k]
            result[row] = list(zip(found.item[best].tolist(), found.logp[best].tolist(), strict=True))
    return result


def walked_rows(n_items: int, n_rows: int, seed: int) -> Rows:
    """Histories of one length, and what came next."""
    logs = walks(n_items, n_rows, seed)
    histories = Ragged.of([log[:-1].tolist() for log in logs])
    return Rows(np.arange(n_rows), np.arange(n_rows), histories, logs[:, -1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    policy, rows = trained_policy(options.items, seed=0), walked_rows(options.items, options.rows, seed=10_000)
    model = of_transformers(policy)
    calls: dict[str, Callable[[], list[list[tuple[int, float]]]]] = {
        "exact": lambda: exact(policy, rows, TOP_K),
        **{f"beam_{n}": lambda n=n: constrained_beams(model, policy, rows, n, TOP_K) for n in (20, 50)},
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    results: dict[str, list[list[tuple[int, float]]]] = {}
    for _ in range(options.repeats):
        for name, call in calls.items():
            started = time.perf_counter()
            results[name] = call()
            times[name].append(time.perf_counter() - started)
    wanted = [{item for item, _ in row} for row in results["exact"]]
    mass = np.mean([np.exp([logp for _, logp in row]).sum() for row in results["exact"]])
    for name, result in results.items():
        for ours, theirs in zip(results["exact"], result, strict=True):
            both = dict(ours).keys() & dict(theirs).keys()
            apart = max((abs(dict(ours)[item] - dict(theirs)[item]) for item in both), default=0.0)
            if apart > LARGEST_DIFFERENCE:
                raise SystemExit(f"{name} must give the log-probabilities of our search, got {apart:.2g} nats apart.")
    for name, of_call in times.items():
        hits = [len(of_row & {item for item, _ in row}) for of_row, row in zip(wanted, results[name], strict=True)]
        ms = 1000 * median(of_call) / options.rows
        print(
            json.dumps(
                {
                    "search": name,
                    "items": options.items,
                    "ms_per_prompt": round(ms, 2),
                    "recall": round(sum(hits) / (TOP_K * options.rows), 4),
                    "times_exact": round(median(of_call) / median(times["exact"]), 2),
                    "mass_of_top_k": round(float(mass), 4),
                    "threads": torch.get_num_threads(),
                }
            )
        )


if __name__ == "__main__":
    main()
