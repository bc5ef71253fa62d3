"""Search in the trie of the catalogue: the best items, and the rank of one, without scoring what cannot matter.

A prefix bounds what follows: later tokens only lower a log-probability. So when a beam has found k items, a prefix
less likely than the k-th of them leads to no better one, and one less likely than the target to no item above it. The
search is exact. Dimensions: w lines (one prompt each), f prefixes, e edges.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from training.attention import Layout, Memory, Packing
from training.logps import path_logps
from training.policy import Policy
from training.tables import Ragged, Rows
from training.tree import Nodes, Predictions, grow, lay_branches

LINES = 8
"""Prompts searched behind at once."""
PASS_NODES = 16_384
"""Most nodes of one pass."""
SLACK = 1e-3
"""Nats below the bound that are searched too: another pass rounds the same log-probability differently."""
WIDTH_STEP = 8
"""Prompts are padded to the next multiple of this many tokens."""

Keep = Callable[[Int[np.ndarray, " e"], Float[np.ndarray, " e"]], Bool[np.ndarray, " e"]]
"""Line and log-probability of prefixes → which to go on with."""


@dataclass(frozen=True)
class Trie:
    """The catalogue's tokens as a graph: node 0 is the end of a prompt; edges in the order of the nodes they leave."""

    first: Int[np.ndarray, " n+1"]
    """The edges of node k are `first[k] : first[k + 1]`."""
    token: Int[np.ndarray, " e"]
    child: Int[np.ndarray, " e"]
    """The node an edge leads to; -1, when it ends an item."""
    item: Int[np.ndarray, " e"]
    """The item an edge ends; -1, when it goes on."""


def trie_of(completions: Ragged) -> Trie:
    """The trie of all items."""
    n = len(completions)
    one, none = np.ones(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    nodes, predictions = grow(np.array([-1]), np.array([0, 1]), none, one, completions, 0)
    last = np.zeros(n, dtype=np.int64)
    last[predictions.path] = np.arange(len(predictions.path))  # in the order of depth: the last one stays
    above = nodes.ancestors[:, 1] + 1 if nodes.ancestors.shape[1] > 1 else np.zeros(len(nodes), dtype=np.int64)
    parent = np.concatenate([above, predictions.state[last]])
    order = np.argsort(parent, kind="stable")
    absent_nodes, absent_items = np.full(n, -1), np.full(len(nodes), -1)
    return Trie(
        np.searchsorted(parent[order], np.arange(len(nodes) + 2)),
        np.concatenate([nodes.tokens, predictions.token[last]])[order],
        np.concatenate([1 + np.arange(len(nodes)), absent_nodes])[order],
        np.concatenate([absent_items, np.arange(n)])[order],
    )


@dataclass(frozen=True)
class Found:
    """Items found behind some prompts, with every item at least as likely as the bound among them."""

    line: Int[np.ndarray, " i"]
    item: Int[np.ndarray, " i"]
    logp: Float[np.ndarray, " i"]

    def where(self, chosen: Bool[np.ndarray, " i"]) -> "Found":
        """Some of them."""
        return Found(self.line[chosen], self.item[chosen], self.logp[chosen])


@torch.no_grad()
def search(
    policy: Policy, trie: Trie, rows: Rows, history: Ragged, target_logp: Float[np.ndarray, " r"], top_k: int
) -> Iterator[tuple[Int[np.ndarray, " w"], Found]]:
    """For all rows, a few at a time: their indices, and every item outside the history that matters to their ranking.

    Found are all items at least as likely as the target, the `top_k` most likely, and the target.

    Args:
        policy: in evaluation mode.
        trie: of its catalogue.
        rows: histories fit the context.
        history: of each row the items that are left out, unless one is its target.
        target_logp: of each row's target.
        top_k: how many of the best are wanted.
    """
    vocabulary = policy.vocabulary
    prompts = vocabulary.prompts(rows.history).followed(vocabulary.bridge)
    widths = -(-prompts.lengths // WIDTH_STEP) * WIDTH_STEP
    order = np.lexsort((-target_logp, widths))  # rows of similar cost together
    start = 0
    while start < len(order):
        at = order[start : start + LINES]
        at = at[widths[at] == widths[at[0]]]
        start += len(at)
        walk = _Walk(policy, trie, prompts.take(at), int(widths[at[0]]))
        excluded = history.take(at)
        target = rows.target[at].astype(np.int64)
        hidden = np.setdiff1d(
            excluded.owners * vocabulary.n_items + excluded.values, np.arange(len(at)) * vocabulary.n_items + target
        )

        def outside(found: Found, hidden: np.ndarray = hidden) -> Found:
            return found.where(~np.isin(found.line * vocabulary.n_items + found.item, hidden))

        bound = target_logp[at].astype(np.float64)
        if top_k:
            beam = max(2 * top_k, 32)
            found = outside(walk.to_the_end(lambda line, logp, beam=beam: _best(line, logp, beam)))
            best = found.where(_best(found.line, found.logp, top_k))
            counts = np.bincount(best.line, minlength=len(at))
            lowest = np.full(len(at), np.inf)
            np.minimum.at(lowest, best.line, best.logp)
            bound = np.minimum(bound, np.where(counts < top_k, -np.inf, lowest))
        bound = bound - SLACK
        found = outside(walk.to_the_end(lambda line, logp, bound=bound: logp >= bound[line]))
        yield at, found.where(found.logp >= bound[found.line])


class _Walk:
    """The prompts of some lines, read once, and walks through the trie behind them."""

    def __init__(self, policy: Policy, trie: Trie, prompts: Ragged, width: int) -> None:
        self.policy, self.trie, self.width = policy, trie, width
        self.lengths = prompts.lengths
        n = len(prompts)
        tokens = prompts.padded(policy.vocabulary.pad, width).reshape(-1)
        memory = Memory()
        layout = Layout(Packing(n, width, None), memory=memory)
        hidden = policy.run(tokens, np.tile(np.arange(width), n), layout)
        self.trunks = memory.trunks
        self.ends = hidden[policy.tensor(np.arange(n) * width + self.lengths - 1)]

    def to_the_end(self, keep: Keep) -> Found:
        """All items on the way, level by level, where `keep` says which prefixes to go on with."""
        n = len(self.lengths)
        line, node, logp, states = np.arange(n), np.zeros(n, dtype=np.int64), np.zeros(n), self.ends
        above = np.zeros((n, 0), dtype=np.int64)
        memory, n_earlier = Memory(self.trunks), 0
        found: list[Found] = []
        while len(line):
            counts = self.trie.first[node + 1] - self.trie.first[node]
            owner = np.repeat(np.arange(len(node)), counts)
            edge = np.repeat(self.trie.first[node] - np.cumsum(counts) + counts, counts) + np.arange(len(owner))
            of_edges = logp[owner] + self._logps(states, owner, self.trie.token[edge])
            is_item = self.trie.item[edge] >= 0
            found.append(Found(line[owner[is_item]], self.trie.item[edge[is_item]], of_edges[is_item]))
            going = np.flatnonzero(~is_item)
            going = going[keep(line[owner[going]], of_edges[going])]
            owner, edge, logp = owner[going], edge[going], of_edges[going]
            line, node = line[owner], self.trie.child[edge]
            slots = n_earlier + np.arange(len(line))
            above = np.concatenate([slots[:, None], above[owner]], axis=1)
            states = self._states(line, self.trie.token[edge], above, memory, n_earlier)
            n_earlier += len(line)
        return Found(
            np.concatenate([part.line for part in found]),
            np.concatenate([part.item for part in found]),
            np.concatenate([part.logp for part in found]),
        )

    def _logps(self, states: Tensor, owner: np.ndarray, token: np.ndarray) -> np.ndarray:
        predictions = Predictions(owner, token, np.arange(len(owner)))
        return path_logps(states, self.policy.head, predictions, len(owner)).double().cpu().numpy()

    def _states(
        self, line: np.ndarray, tokens: np.ndarray, above: np.ndarray, memory: Memory, n_earlier: int
    ) -> Tensor:
        parts = [self.ends.new_zeros(0, self.ends.shape[1])]
        widths = np.full(len(self.lengths), self.width)
        for start in range(0, len(line), PASS_NODES):
            part = slice(start, start + PASS_NODES)
            nodes = Nodes(tokens[part], line[part], self.lengths[line[part]], above[part])
            branches = lay_branches(nodes, widths, n_earlier + start, self.policy.device.device)
            parts.append(self.policy.run(nodes.tokens, nodes.positions, Layout(None, branches, memory)))
        return torch.cat(parts)


def _best(line: Int[np.ndarray, " e"], logp: Float[np.ndarray, " e"], n: int) -> Bool[np.ndarray, " e"]:
    """The n most likely of each line."""
    order = np.lexsort((-logp, line))
    starts = np.flatnonzero(np.diff(line[order], prepend=-1))
    place = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    chosen = np.zeros(len(line), dtype=bool)
    chosen[order] = place < n
    return chosen
