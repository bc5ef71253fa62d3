"""Attention of a pass: trunks one after the other, unpadded, then the nodes of the trees that hang on them.

A trunk is a sequence of its own. A node sees its trunk up to where its branch is attached, its ancestors and itself.
Installed through `transformers`' own attention interface: models stay as they are. Dimensions: t tokens of trunks,
n nodes, w windows, l longest trunk, m most nodes of a window, p paths, a longest path, q most nodes of a path in this
pass, h query heads, g key heads, d size of a head.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers.modeling_utils import AttentionInterface

ATTENTION = "borderline_tree"
"""`attn_implementation` of every model here."""
CHANGES_SCORES = ("softcap", "s_aux", "position_bias")
"""What some models ask of their attention beside scaling and dropout."""


@dataclass(frozen=True)
class Packing:
    """Where tokens go when the windows they belong to are the lines of a table."""

    n_windows: int
    longest: int
    place: Int[Tensor, " t"] | None
    """For each token, its cell in the table; none, when all windows are equally long and the table is full."""

    def table(self, packed: Float[Tensor, "t k d"]) -> Float[Tensor, "w k l d"]:
        """Tokens as lines, zeros behind each."""
        cells, width = self.n_windows * self.longest, packed.shape[1:]
        if self.place is not None:
            packed = packed.new_zeros(cells, *width).index_copy(0, self.place, packed)
        return packed.reshape(self.n_windows, self.longest, *width).transpose(1, 2)

    def packed(self, table: Float[Tensor, "w k l d"]) -> Float[Tensor, "t k d"]:
        """Lines as tokens, without what follows them."""
        flat = table.transpose(1, 2).reshape(self.n_windows * self.longest, *table.shape[1::2])
        return flat if self.place is None else flat.index_select(0, self.place)


def pack(offsets: Int[np.ndarray, " w+1"], device: torch.device) -> Packing:
    """The packing of windows that start and end at `offsets`."""
    lengths = np.diff(offsets)
    longest = int(lengths.max())
    if (lengths == longest).all():
        return Packing(len(lengths), longest, None)
    place = np.arange(offsets[-1]) + np.repeat(np.arange(len(lengths)) * longest - offsets[:-1], lengths)
    return Packing(len(lengths), longest, torch.from_numpy(place).to(device))


@dataclass(frozen=True)
class Branches:
    """What the nodes of a pass see.

    A path is a branch from its first node to its last one. Every node is on one path, and sees what is above it
    there: keys are gathered for each path, not for each node.
    """

    packing: Packing
    """Nodes are in the order of their windows."""
    is_hidden: Bool[Tensor, "w 1 m l"] | None
    """The tokens of a trunk that a node does not see; none, when every node sees all of its trunk."""
    paths: Int[Tensor, "p a"]
    """The nodes of each path, from the trunk on; behind a shorter one, its last again."""
    on_path: Packing
    """Where each node is: a line is a path, its cells are for those of its nodes that are in this pass."""
    is_below: Bool[Tensor, "n a"] | None
    """The places of its path that a node does not see; none, when every node sees all of its path."""
    n_nodes: int


@dataclass
class Memory:
    """Keys and values of earlier passes, by layer: what the nodes of later ones see. Without gradients."""

    trunks: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """Tables, as lines of windows."""
    nodes: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """All nodes so far; those of a pass come behind them, and `Branches.paths` counts on from them."""


@dataclass(frozen=True)
class PassLayout:
    """What the tokens of a pass are, for the attention of every layer."""

    trunks: Packing | None
    """None, when the trunks are in the memory."""
    branches: Branches | None = None
    memory: Memory | None = None


def attend(
    module: nn.Module,
    query: Float[Tensor, "1 h t+n d"],
    key: Float[Tensor, "1 g t+n d"],
    value: Float[Tensor, "1 g t+n d"],
    attention_mask: None,
    *,
    layout: PassLayout,
    scaling: float | None = None,
    dropout: float = 0.0,
    **others: Any,
) -> tuple[Float[Tensor, "1 t+n h d"], None]:
    """Causal attention of each trunk to itself, and of each node to what it sees."""
    assert attention_mask is None  # none is given, and none is made for an attention that transformers does not know
    for name in CHANGES_SCORES:
        if others.get(name) is not None:
            raise TypeError(f"its attention changes scores in a way that is not known here ({name})")
    branches, memory = layout.branches, layout.memory
    n_nodes = 0 if branches is None else branches.n_nodes
    (trunk_query, node_query), (trunk_keys, node_keys), (trunk_values, node_values) = (
        packed[0].transpose(0, 1).split([packed.shape[2] - n_nodes, n_nodes]) for packed in (query, key, value)
    )
    attended: list[Tensor] = []
    if layout.trunks is None:
        assert memory is not None
        trunk_keys, trunk_values = memory.trunks[_layer(module)]
    else:
        trunk_keys, trunk_values = layout.trunks.table(trunk_keys), layout.trunks.table(trunk_values)
        table = F.scaled_dot_product_attention(
            layout.trunks.table(trunk_query),
            trunk_keys,
            trunk_values,
            is_causal=True,  # padding is on the right, where no token looks
            dropout_p=dropout,
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        attended.append(layout.trunks.packed(table))
        if memory is not None:
            memory.trunks[_layer(module)] = (trunk_keys, trunk_values)
    if branches is not None:
        if memory is not None:
            if _layer(module) in memory.nodes:
                before = memory.nodes[_layer(module)]
                node_keys, node_values = torch.cat([before[0], node_keys]), torch.cat([before[1], node_values])
            memory.nodes[_layer(module)] = (node_keys, node_values)
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        attended.append(
            _attend_from_nodes(branches, node_query * scale, trunk_keys, trunk_values, node_keys, node_values, dropout)
        )
    return (attended[0] if len(attended) == 1 else torch.cat(attended))[None], None


def _attend_from_nodes(
    branches: Branches,
    query: Float[Tensor, "n h d"],
    trunk_keys: Float[Tensor, "w g l d"],
    trunk_values: Float[Tensor, "w g l d"],
    node_keys: Float[Tensor, "_ g d"],
    node_values: Float[Tensor, "_ g d"],
    dropout: float,
) -> Float[Tensor, "n h d"]:
    """One softmax over two blocks of scores, so that nothing is computed between branches that do not meet."""
    packing, on_path, n_heads = branches.packing, branches.on_path, query.shape[1]
    _, n_groups, longest, _ = trunk_keys.shape
    each = n_heads // n_groups  # query heads that share a key head
    lines = packing.table(query)
    of_trunk = (lines.unflatten(1, (n_groups, each)).flatten(2, 3) @ trunk_keys.mT).unflatten(2, (each, -1))
    of_trunk = of_trunk.flatten(1, 2)
    if branches.is_hidden is not None:
        of_trunk = of_trunk.masked_fill(branches.is_hidden, -torch.inf)
    seen_keys, seen_values = (  # [p, g, a, d]
        seen.index_select(0, branches.paths.flatten()).unflatten(0, branches.paths.shape).transpose(1, 2)
        for seen in (node_keys, node_values)
    )
    is_line = each * on_path.longest == 1  # a product of one line with a few is faster as a sum
    lines = on_path.table(query)
    if is_line:
        of_path = (lines * seen_keys).sum(dim=-1)[:, :, None]
    else:
        of_path = lines.unflatten(1, (n_groups, each)).flatten(2, 3) @ seen_keys.mT
        of_path = of_path.unflatten(2, (each, -1)).flatten(1, 2)
    of_path = on_path.packed(of_path)
    if branches.is_below is not None:
        of_path = of_path.masked_fill(branches.is_below[:, None], -torch.inf)
    scores = torch.cat([of_trunk, packing.table(of_path)], dim=-1)
    weights = torch.softmax(scores, dim=-1, dtype=torch.promote_types(scores.dtype, torch.float32))
    if dropout:
        weights = F.dropout(weights, dropout)
    weights = weights.to(trunk_values.dtype)
    on_trunk, along_path = weights.split([longest, branches.paths.shape[1]], dim=-1)
    from_trunk = on_trunk.unflatten(1, (n_groups, each)).flatten(2, 3) @ trunk_values
    from_trunk = packing.packed(from_trunk.unflatten(2, (each, -1)).flatten(1, 2))
    along_path = on_path.table(packing.packed(along_path))
    if is_line:
        from_path = (along_path[:, :, 0, :, None] * seen_values).sum(dim=-2, keepdim=True)
    else:
        from_path = along_path.unflatten(1, (n_groups, each)).flatten(2, 3) @ seen_values
        from_path = from_path.unflatten(2, (each, -1)).flatten(1, 2)
    return from_trunk + on_path.packed(from_path)


def _layer(module: nn.Module) -> int:
    layer: int = module.layer_idx  # pyright: ignore[reportAssignmentType]
    return layer


AttentionInterface.register(ATTENTION, attend)
