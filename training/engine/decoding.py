"""Search in the trie of the catalogue: the most likely items, without scoring what cannot be among them.

A prefix bounds what follows: later tokens only lower a log-probability. So when a beam has found k items, a prefix
less likely than the k-th of them leads to no better one. Where the beam left out none that is as likely, its k best are
those of the catalogue; elsewhere a second walk follows every prefix that is. The search is exact.
Dimensions: w lines (one prompt each), f prefixes, e edges.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from training.engine.attention import Memory, Packing, PassLayout
from training.engine.logps import path_logps
from training.engine.policy import Policy
from training.engine.tree import Nodes, Predictions, grow, lay_branches
from training.engine.windows import pass_widths
from training.io.ragged import Ragged
from training.io.rows import Rows

LINES = 32
"""Prompts searched behind at once."""
BEAM = 1.5
"""Prefixes that the first walk follows, for each item that is wanted: with fewer, more lines need a second walk."""
PASS_NODES = 16_384
"""Most nodes of one pass."""
SLACK = 1e-3
"""Nats below the bound that are searched too: another pass rounds the same log-probability differently."""

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
    """Items found behind some prompts."""

    line: Int[np.ndarray, " i"]
    item: Int[np.ndarray, " i"]
    logp: Float[np.ndarray, " i"]

    def where(self, chosen: Bool[np.ndarray, " i"]) -> "Found":
        """Some of them."""
        return Found(self.line[chosen], self.item[chosen], self.logp[chosen])

    @classmethod
    def joined(cls, parts: "Sequence[Found]") -> "Found":
        """Those of all parts."""
        return cls(
            np.concatenate([part.line for part in parts]),
            np.concatenate([part.item for part in parts]),
            np.concatenate([part.logp for part in parts]),
        )


@torch.no_grad()
def search(
    policy: Policy, trie: Trie, rows: Rows, history: Ragged, depth: int, *, is_exact: bool = True
) -> Iterator[tuple[Int[np.ndarray, " w"], Found]]:
    """For all rows, a few at a time: their indices, and items outside the history, the `depth` most likely among them.

    Down to the least likely one found none is missing, if the search is exact. It walks through most of the trie for a
    policy that hardly prefers any item, as one does before it is trained: then only a beam is a matter of seconds.

    Args:
        policy: in evaluation mode.
        trie: of its catalogue.
        rows: histories fit the context.
        history: of each row the items that are left out, unless one is its target.
        depth: how many of the best are wanted.
        is_exact: whether to walk again where the beam may have missed one of them.
    """
    vocabulary = policy.vocabulary
    prompts = vocabulary.prompts(rows.history, rows.candidates).followed(vocabulary.bridge)
    widths = pass_widths(prompts.lengths)
    order = np.argsort(widths, kind="stable")
    start = 0
    while start < len(order):
        at = order[start : start + LINES]
        at = at[widths[at] == widths[at[0]]]
        start += len(at)
        excluded = history.take(at)
        hidden = np.setdiff1d(
            excluded.owners * vocabulary.n_items + excluded.values,
            np.arange(len(at)) * vocabulary.n_items + rows.target[at].astype(np.int64),
        )
        walk = _Walk(policy, trie, prompts.take(at), int(widths[at[0]]))
        beam = math.ceil(BEAM * depth) + int(excluded.lengths.max())
        yield at, _most_likely(walk, hidden, vocabulary.n_items, depth, beam, is_exact)


def _most_likely(
    walk: "_Walk", hidden: Int[np.ndarray, " _"], n_items: int, depth: int, beam: int, is_exact: bool
) -> Found:
    """`search` behind the prompts of a walk; `hidden` are line × n_items + item."""

    def outside(found: Found) -> Found:
        return found.where(~np.isin(found.line * n_items + found.item, hidden))

    lines = np.arange(len(walk.lengths))
    found, left_out = walk.to_the_end(lines, lambda line, logp: _best(line, logp, beam))
    found = outside(found)
    best = found.where(_best(found.line, found.logp, depth))
    bound = np.full(len(lines), np.inf)
    np.minimum.at(bound, best.line, best.logp)
    bound[np.bincount(best.line, minlength=len(lines)) < depth] = -np.inf
    bound -= SLACK
    again = left_out >= bound
    if is_exact and again.any():
        more, _ = walk.to_the_end(lines[again], lambda line, logp: logp >= bound[line])
        found = Found.joined([found.where(~again[found.line]), outside(more)])
    return found.where(found.logp >= bound[found.line])


class _Walk:
    """The prompts of some lines, read once, and walks through the trie behind them."""

    def __init__(self, policy: Policy, trie: Trie, prompts: Ragged, width: int) -> None:
        self.policy, self.trie, self.width = policy, trie, width
        self.lengths = prompts.lengths
        n = len(prompts)
        tokens = prompts.padded(policy.vocabulary.pad, width).reshape(-1)
        memory = Memory()
        layout = PassLayout(Packing(n, width, None), memory=memory)
        hidden = policy.run(tokens, np.tile(np.arange(width), n), layout)
        self.trunks = memory.trunks
        self.ends = hidden[policy.tensor(np.arange(n) * width + self.lengths - 1)]

    def to_the_end(self, lines: Int[np.ndarray, " _"], keep: Keep) -> tuple[Found, Float[np.ndarray, " w"]]:
        """All items on the way behind some lines, level by level, where `keep` says which prefixes to go on with.

        Also, for each line, the log-probability of the likeliest prefix that was left out; minus infinity, if none was.
        """
        line, node, logp = lines, np.zeros(len(lines), dtype=np.int64), np.zeros(len(lines))
        states, left_out = self.ends[self.policy.tensor(lines)], np.full(len(self.lengths), -np.inf)
        above = np.zeros((len(lines), 0), dtype=np.int64)
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
            is_kept = keep(line[owner[going]], of_edges[going])
            np.maximum.at(left_out, line[owner[going[~is_kept]]], of_edges[going[~is_kept]])
            going = going[is_kept]
            owner, edge, logp = owner[going], edge[going], of_edges[going]
            line, node = line[owner], self.trie.child[edge]
            slots = n_earlier + np.arange(len(line))
            above = np.concatenate([slots[:, None], above[owner]], axis=1)
            states = self._states(line, self.trie.token[edge], above, memory, n_earlier)
            n_earlier += len(line)
        return Found.joined(found), left_out

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
            parts.append(self.policy.run(nodes.tokens, nodes.positions, PassLayout(None, branches, memory)))
        return torch.cat(parts)


def _best(line: Int[np.ndarray, " e"], logp: Float[np.ndarray, " e"], n: int) -> Bool[np.ndarray, " e"]:
    """The n most likely of each line."""
    order = np.lexsort((-logp, line))
    starts = np.flatnonzero(np.diff(line[order], prepend=-1))
    place = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    chosen = np.zeros(len(line), dtype=bool)
    chosen[order] = place < n
    return chosen
