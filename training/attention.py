"""Attention over several windows laid out one after the other, so that no other layer computes on padding.

Installed through `transformers`' own attention interface: models stay as they are. Dimensions: t tokens, w windows,
l longest window, h heads, d size of a head.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.modeling_utils import AttentionInterface

ATTENTION = "borderline_windows"
"""`attn_implementation` of every model here."""


@dataclass(frozen=True)
class Packing:
    """Where the tokens of a pass go when its windows are the lines of a table."""

    n_windows: int
    longest: int
    place: Int[Tensor, " t"] | None
    """For each token, its cell in the table; none, when all windows are equally long and the table is full."""


def pack(offsets: Int[np.ndarray, " w+1"], device: torch.device) -> Packing:
    """The packing of windows that start and end at `offsets`."""
    lengths = np.diff(offsets)
    longest = int(lengths.max())
    if (lengths == longest).all():
        return Packing(len(lengths), longest, None)
    place = np.arange(offsets[-1]) + np.repeat(np.arange(len(lengths)) * longest - offsets[:-1], lengths)
    return Packing(len(lengths), longest, torch.from_numpy(place).to(device))


def attend_within_windows(
    module: nn.Module,
    query: Float[Tensor, "1 h t d"],
    key: Float[Tensor, "1 g t d"],
    value: Float[Tensor, "1 g t d"],
    attention_mask: None,
    *,
    packing: Packing,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Float[Tensor, "1 t h d"], None]:
    """Causal attention of each window to itself. Padding is on the right, where no token looks."""
    assert attention_mask is None  # none is given, and none is made for an attention that transformers does not know
    lines, tokens = (packing.n_windows, packing.longest), query.shape[2]

    def unpacked(packed: Tensor) -> Tensor:
        flat = packed[0].transpose(0, 1)
        if packing.place is not None:
            flat = flat.new_zeros(lines[0] * lines[1], *flat.shape[1:]).index_copy(0, packing.place, flat)
        return flat.reshape(*lines, *flat.shape[1:]).transpose(1, 2)

    attended = F.scaled_dot_product_attention(
        unpacked(query),
        unpacked(key),
        unpacked(value),
        is_causal=True,
        dropout_p=dropout,
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    flat = attended.transpose(1, 2).reshape(lines[0] * lines[1], *attended.shape[1::2])
    if packing.place is not None:
        flat = flat.index_select(0, packing.place)
    assert flat.shape[0] == tokens
    return flat[None], None


AttentionInterface.register(ATTENTION, attend_within_windows)
