"""Scores of the catalogue where an item is several tokens: a walk through the trie of all items after each prompt.

Dimensions: r rows, i items, w prompts of a pass.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from training.engine.attention import Memory, Packing, PassLayout
from training.engine.logps import path_logps
from training.engine.policy import Policy
from training.engine.tree import Nodes, Predictions, grow, lay_branches
from training.engine.windows import Windows, pass_widths
from training.io.ragged import Ragged

PASS_NODES = 8192
"""The most nodes of one pass, unless a single prompt needs more."""
TRIE_TOKENS = 8192
"""The most tokens of the items whose trie is one pass, counted as if they shared nothing."""
TRIE_LINES = 16
"""The most prompts of one pass."""


def trie_scores(policy: Policy, windows: Windows) -> Iterator[tuple[np.ndarray, Tensor]]:
    """As `catalogue_scores`: some prompts in one pass, then the catalogue's trie after each of them, part by part."""
    vocabulary = policy.vocabulary
    rows = windows.members.values
    asked = windows.rows.take(rows)
    prompts = vocabulary.prompts(asked.history, asked.candidates).followed(vocabulary.bridge)
    parts = list(trie_parts(vocabulary.completions))
    widths = pass_widths(prompts.lengths)
    n_nodes = max(len(part.nodes) for part in parts)
    lines = max(1, min(PASS_NODES // max(1, n_nodes), TRIE_LINES))
    for width in np.unique(widths)[::-1].tolist():
        chosen = np.flatnonzero(widths == width)
        for start in range(0, len(chosen), lines):
            at = chosen[start : start + lines]
            tokens = np.full((lines, width), vocabulary.pad, dtype=np.int64)
            tokens[: len(at)] = prompts.take(at).padded(vocabulary.pad, width)
            lengths = np.ones(lines, dtype=np.int64)
            lengths[: len(at)] = prompts.lengths[at]
            memory = Memory()
            positions = np.tile(np.arange(width), lines)
            trunks = PassLayout(Packing(lines, width, None), memory=memory)
            hidden = policy.run(tokens.reshape(-1), positions, trunks)
            ends = hidden[policy.tensor(np.arange(lines) * width + lengths - 1)]
            scores = ends.new_empty(lines, vocabulary.n_items, dtype=torch.float32)
            for part in parts:
                scores[:, policy.tensor(part.items)] = _part_logps(policy, part, ends, lengths, width, memory)
                memory.nodes.clear()
            yield rows[at], scores[: len(at)]


def _part_logps(
    policy: Policy, part: "TriePart", ends: Tensor, lengths: np.ndarray, width: int, memory: Memory
) -> Float[Tensor, "w i"]:
    """Log-probabilities of the items of one part after each prompt."""
    n_lines, n_nodes = len(lengths), len(part.nodes)
    states = ends
    if n_nodes:
        nodes = part.nodes.repeated(lengths)
        branches = lay_branches(nodes, np.full(n_lines, width), 0, policy.device.device)
        layout = PassLayout(None, branches, memory)
        states = torch.cat([ends, policy.run(nodes.tokens, nodes.positions, layout)])
    line, n_items = np.arange(n_lines)[:, None], len(part.items)
    predicting = np.where(part.predictions.state == 0, line, n_lines + line * n_nodes + part.predictions.state - 1)
    predictions = Predictions(
        predicting.reshape(-1),
        np.tile(part.predictions.token, n_lines),
        (line * n_items + part.predictions.path).reshape(-1),
    )
    return path_logps(states, policy.head, predictions, n_lines * n_items).view(n_lines, n_items).float()


@dataclass(frozen=True)
class TriePart:
    """The trie of some items of the catalogue, after any prompt."""

    items: Int[np.ndarray, " i"]
    nodes: Nodes
    predictions: Predictions
    """State 0 is the end of the prompt, state 1 + k that of node k; path k is that of the k-th item."""


def trie_parts(completions: Ragged) -> Iterator[TriePart]:
    """The catalogue in parts of few nodes: items in the order of their tokens, as neighbours share most."""
    order = np.lexsort(completions.padded(-1).T[::-1])
    ends = np.cumsum(completions.lengths[order])
    start = 0
    while start < len(order):
        before = ends[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(ends, before + TRIE_TOKENS, side="right")))
        items = order[start:end]
        one, none = np.ones(len(items), dtype=np.int64), np.zeros(len(items), dtype=np.int64)
        prompt = np.array([-1])  # no token, so that no completion goes on as it does
        nodes, predictions = grow(prompt, np.array([0, 1]), none, one, completions.take(items), 0)
        yield TriePart(items, nodes, predictions)
        start = end
