"""Hidden states to log-probabilities, in float32. The next-token shift happens here, once.

Dimensions: r rows, i items, c items scored per row, t tokens, d hidden.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable


def prompt_ends(
    hidden: Float[Tensor, "t d"], starts: Int[Tensor, " r"], prompt_tokens: Int[Tensor, " r"]
) -> Float[Tensor, "r d"]:
    """The states that predict each row's completion: those at the last token of its prompt, which is the shift.

    Args:
        hidden: of all tokens of a pass.
        starts: where the window of each row starts in `hidden`.
        prompt_tokens: how many of its window's tokens are the row's prompt.
    """
    return hidden.index_select(0, starts + prompt_tokens - 1)


def catalogue_logps(states: Float[Tensor, "r d"], item_head: Float[Tensor, "i d"]) -> Float[Tensor, "r i"]:
    """Log-probability of every item as the next one: the vocabulary is the catalogue, special tokens get nothing."""
    dtype = torch.promote_types(states.dtype, torch.float32)
    return torch.log_softmax(states.to(dtype) @ item_head.to(dtype).T, dim=-1)


def item_logps(
    states: Float[Tensor, "r d"], item_head: Float[Tensor, "i d"], items: Int[Tensor, "r c"]
) -> Float[Tensor, "r c"]:
    """`catalogue_logps` at the given items only, differentiable, holding one array of shape [r, i] instead of four."""
    dtype = torch.promote_types(states.dtype, torch.float32)
    result: Tensor = _ItemLogps.apply(states.to(dtype), item_head.to(dtype), items)  # pyright: ignore[reportAssignmentType]
    return result


class _ItemLogps(torch.autograd.Function):
    """Gather of a log-softmax of a product, whose gradient overwrites the logits."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, item_head: Tensor, items: Tensor) -> Tensor:
        logits = states @ item_head.T
        normaliser = torch.logsumexp(logits, dim=-1, keepdim=True)
        ctx.save_for_backward(states, item_head, items, normaliser)
        ctx.logits = logits
        return logits.gather(1, items) - normaliser

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        states, item_head, items, normaliser = ctx.saved_tensors
        assert ctx.logits is not None  # overwritten below: a second backward through one forward is never asked for
        softmax, ctx.logits = ctx.logits.sub_(normaliser).exp_(), None
        of_logits = softmax.mul_(-gradient.sum(dim=1, keepdim=True)).scatter_add_(1, items, gradient)
        of_states = of_logits @ item_head if ctx.needs_input_grad[0] else None
        of_head = of_logits.T @ states if ctx.needs_input_grad[1] else None
        return of_states, of_head, None
