"""One forward pass for histories and all their completions: what is common to several is computed once.

The trunks of some windows come one after the other. A row's completions are paths of tokens that begin at the end of
its prompt, anywhere on a trunk: where a path goes on as the trunk does, it runs on the trunk; where several paths begin
alike, they share nodes. The last token of a path predicts nothing and is not fed. A log-probability is a (state, token)
pair: the state at a token's parent predicts it, which is the next-token shift.
Dimensions: t tokens of trunks, n nodes, w windows, k paths, a nodes of the longest branch, p predictions.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int

from training.engine.attention import Branches, Packing, PassLayout, pack
from training.io.ragged import Ragged


@dataclass(frozen=True)
class Nodes:
    """The nodes that hang on the trunks of a pass, in the order of their windows."""

    tokens: Int[np.ndarray, " n"]
    window: Int[np.ndarray, " n"]
    attached: Int[np.ndarray, " n"]
    """How many tokens of its trunk a node sees."""
    ancestors: Int[np.ndarray, "n a"]
    """The node itself, then its parent, and so on; -1 behind the first node of its branch."""

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def positions(self) -> Int[np.ndarray, " n"]:
        """Position of each token in its sequence; the first token of a trunk has position 0."""
        return self.attached + (self.ancestors >= 0).sum(axis=1) - 1

    def repeated(self, attached: Int[np.ndarray, " w"]) -> "Nodes":
        """The nodes of one window, for several windows: there they hang behind so many tokens of the trunk."""
        n, window = len(self), np.repeat(np.arange(len(attached)), len(self))
        ancestors = np.tile(self.ancestors, (len(attached), 1))
        ancestors = np.where(ancestors < 0, -1, ancestors + n * window[:, None])
        return Nodes(np.tile(self.tokens, len(attached)), window, attached[window], ancestors)


@dataclass(frozen=True)
class Predictions:
    """What is read off the hidden states of a pass: trunk tokens first, then nodes."""

    state: Int[np.ndarray, " p"]
    """The state that predicts."""
    token: Int[np.ndarray, " p"]
    """What it predicts."""
    path: Int[np.ndarray, " p"]
    """The path that the token belongs to."""


def grow(
    tokens: Int[np.ndarray, " t"],
    offsets: Int[np.ndarray, " w+1"],
    window: Int[np.ndarray, " k"],
    prompt_tokens: Int[np.ndarray, " k"],
    paths: Ragged,
    n_given: int,
) -> tuple[Nodes, Predictions]:
    """The nodes that the paths need beside the trunks, and what predicts their tokens.

    Args:
        tokens, offsets: the trunks; window j is `tokens[offsets[j] : offsets[j + 1]]`.
        window: of each path.
        prompt_tokens: at which token of its window each path begins; at least 1.
        paths: tokens of each path.
        n_given: how many tokens at the start of each path are given, not predicted.
    """
    lengths, n_trunk = paths.lengths, len(tokens)
    size = int(max(tokens.max(initial=0), paths.values.max(initial=0))) + 1
    at = offsets[window] + prompt_tokens - 1  # the state that each path has come to: a token of a trunk, or a node
    ends = offsets[window + 1]
    alive = np.arange(len(paths))
    parents, node_tokens, node_windows = [], [], []
    states, predicted, owners = [], [], []
    n_nodes = 0
    for depth in range(int(lengths.max(initial=0))):
        alive = alive[lengths[alive] > depth]
        token = paths.values[paths.offsets[alive] + depth].astype(np.int64)
        if depth >= n_given:
            states.append(at[alive])
            predicted.append(token)
            owners.append(alive)
        is_fed = lengths[alive] > depth + 1
        fed, token = alive[is_fed], token[is_fed]
        following = at[fed] + 1
        on_trunk = following < ends[fed]  # never true of a node: they are numbered behind all trunks
        on_trunk[on_trunk] = tokens[following[on_trunk]] == token[on_trunk]
        at[fed[on_trunk]] = following[on_trunk]
        branching, token = fed[~on_trunk], token[~on_trunk]
        children, first, child = np.unique(at[branching] * size + token, return_index=True, return_inverse=True)
        parents.append(children // size)
        node_tokens.append(children % size)
        node_windows.append(window[branching[first]])
        at[branching] = n_trunk + n_nodes + child
        n_nodes += len(children)
    parent, node_token, node_window = (
        np.concatenate([np.zeros(0, dtype=np.int64), *parts]) for parts in (parents, node_tokens, node_windows)
    )
    order = np.argsort(node_window, kind="stable")
    renumbered = np.arange(n_trunk + n_nodes)
    renumbered[n_trunk + order] = n_trunk + np.arange(n_nodes)
    nodes = _with_ancestors(renumbered[parent[order]], node_token[order], node_window[order], offsets)
    state, token, path = (
        np.concatenate([np.zeros(0, dtype=np.int64), *parts]) for parts in (states, predicted, owners)
    )
    return nodes, Predictions(renumbered[state], token, path)


def _with_ancestors(parent: np.ndarray, tokens: np.ndarray, window: np.ndarray, offsets: np.ndarray) -> Nodes:
    """Nodes from the state above each, which is a token of a trunk or, counted on from those, another node."""
    n_trunk = int(offsets[-1])
    lines = [np.arange(len(parent))]
    root = lines[0]
    while True:
        above = np.where(lines[-1] >= 0, parent[np.maximum(lines[-1], 0)] - n_trunk, -1)
        above = np.maximum(above, -1)
        if not (above >= 0).any():
            break
        root = np.where(above >= 0, above, root)
        lines.append(above)
    attached = parent[root] - offsets[window] + 1 if len(parent) else np.zeros(0, dtype=np.int64)
    return Nodes(tokens, window, attached, np.stack(lines, axis=1))


def lay_branches(
    nodes: Nodes, trunk_lengths: Int[np.ndarray, " w"], n_earlier: int, device: torch.device
) -> Branches | None:
    """What the attention must know of the nodes; `n_earlier` of their ancestors are in a memory."""
    if not len(nodes):
        return None
    n_windows, longest = len(trunk_lengths), int(trunk_lengths.max())
    counts = np.bincount(nodes.window, minlength=n_windows)
    packing = pack(np.concatenate([[0], np.cumsum(counts)]), device)
    is_hidden = None
    if (nodes.attached != longest).any():
        cells = np.full(n_windows * packing.longest, longest)
        within = np.arange(len(nodes)) - np.repeat(np.cumsum(counts) - counts, counts)
        cells[nodes.window * packing.longest + within] = nodes.attached
        seen = _on(cells, device).view(n_windows, 1, packing.longest, 1)
        is_hidden = torch.arange(longest, device=device) >= seen
    paths, on_path, is_below = _paths(nodes, n_earlier, device)
    return Branches(packing, is_hidden, paths, on_path, is_below, len(nodes))


def _paths(nodes: Nodes, n_earlier: int, device: torch.device) -> tuple[torch.Tensor, Packing, torch.Tensor | None]:
    """The paths to the nodes that nothing hangs on, the place of each node on one of them, and what it does not see."""
    n, above = len(nodes), nodes.ancestors
    is_last = np.ones(n, dtype=bool)
    if above.shape[1] > 1:
        is_last[above[:, 1][above[:, 1] >= n_earlier] - n_earlier] = False
    to_last = above[is_last]
    lengths = (to_last >= 0).sum(axis=1)
    n_paths, longest = to_last.shape
    column = np.maximum(lengths[:, None] - 1 - np.arange(longest), 0)  # from the trunk on; behind the last node, itself
    paths = np.take_along_axis(to_last, column, axis=1)
    owner = np.empty(n, dtype=np.int64)
    line, at = np.nonzero(to_last >= n_earlier)
    owner[to_last[line, at] - n_earlier] = line  # a node of several paths is on one of them
    in_pass, depth = (above >= n_earlier).sum(axis=1), (above >= 0).sum(axis=1)
    width = int(in_pass.max())
    place = owner * width + in_pass - 1
    is_full = n == n_paths * width and (place == np.arange(n)).all()
    on_path = Packing(n_paths, width, None if is_full else _on(place, device))
    is_below = None if (depth == longest).all() else np.arange(longest) >= depth[:, None]
    return _on(paths, device), on_path, None if is_below is None else _on(is_below, device)


def lay_out_pass(
    offsets: Int[np.ndarray, " w+1"], nodes: Nodes | None, device: torch.device
) -> tuple[Int[np.ndarray, " t+n"], PassLayout]:
    """Positions of the tokens of a pass, and its layout."""
    lengths = np.diff(offsets)
    positions = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
    trunks: Packing = pack(offsets, device)
    if nodes is None or not len(nodes):
        return positions, PassLayout(trunks)
    return np.concatenate([positions, nodes.positions]), PassLayout(trunks, lay_branches(nodes, lengths, 0, device))


def _on(array: np.ndarray, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)
