"""Hidden states to log-probabilities, in float32. The next-token shift happens here, once.

Dimensions: r rows, i items, c items scored per row, t tokens, v vocabulary, k paths, d hidden.
"""

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from training.engine.tree import Predictions

MAX_LOGITS = 2**24
"""Most logits held at once (64 MiB in float32), where completions have several tokens."""


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


def item_logits(
    states: Float[Tensor, "r d"], item_head: Float[Tensor, "i d"], items: Int[Tensor, "r c"]
) -> Float[Tensor, "r c"]:
    """Scores of the given items before any normalisation; one product with all items that some row asks for."""
    dtype = torch.promote_types(states.dtype, torch.float32)
    is_asked = torch.zeros(len(item_head), dtype=torch.bool, device=states.device)
    is_asked[items] = True
    column = (is_asked.cumsum(0) - 1)[items]
    asked = item_head.index_select(0, is_asked.nonzero()[:, 0])
    return (states.to(dtype) @ asked.to(dtype).T).gather(1, column)


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


def path_logps(
    hidden: Float[Tensor, "t d"], head: Float[Tensor, "v d"], predictions: Predictions, n_paths: int
) -> Float[Tensor, " k"]:
    """Log-probability of each path, summed over its predicted tokens, in nats; differentiable.

    Args:
        hidden: states of all tokens of a pass.
        head: rows of the output embedding that are tokens a path can hold; the others get nothing.
        predictions: which state predicts which token of which path.
        n_paths: number of paths.
    """
    order = np.argsort(predictions.state, kind="stable")  # chunks of states are then chunks of predictions
    states, local = np.unique(predictions.state[order], return_inverse=True)
    bounds = np.searchsorted(local, np.arange(0, len(states) + _chunk(head), _chunk(head))).tolist()
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    index, local, token, path = (
        torch.from_numpy(array).to(hidden.device)
        for array in (states, local, predictions.token[order], predictions.path[order])
    )
    chosen = hidden.index_select(0, index)
    logps: Tensor = _TokenLogps.apply(chosen.to(dtype), head.to(dtype), local, token, bounds)  # pyright: ignore[reportAssignmentType]
    return logps.new_zeros(n_paths).index_add(0, path, logps)


def _chunk(head: Tensor) -> int:
    return max(1, MAX_LOGITS // len(head))


class _TokenLogps(torch.autograd.Function):
    """Log-softmax of a product, gathered at (state, token) pairs in the order of their states, chunk by chunk.

    Logits that fit one chunk are kept for the gradient, which overwrites them; others are computed again.
    """

    @staticmethod
    def forward(ctx: Any, states: Tensor, head: Tensor, state: Tensor, token: Tensor, bounds: list[int]) -> Tensor:
        step, result, normalisers = _chunk(head), states.new_empty(len(state)), []
        ctx.logits = None
        for chunk, (first, last) in enumerate(pairwise(bounds)):
            logits = states[chunk * step : (chunk + 1) * step] @ head.T
            normalisers.append(torch.logsumexp(logits, dim=-1))
            at = state[first:last] - chunk * step
            result[first:last] = logits[at, token[first:last]] - normalisers[-1][at]
            if len(bounds) == 2:
                ctx.logits = logits
        ctx.save_for_backward(states, head, state, token, *normalisers)
        ctx.bounds = bounds
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        states, head, state, token, *normalisers = ctx.saved_tensors
        step = _chunk(head)
        of_states = torch.empty_like(states) if ctx.needs_input_grad[0] else None
        of_head: Tensor | None = None
        for chunk, (first, last) in enumerate(pairwise(ctx.bounds)):
            part = states[chunk * step : (chunk + 1) * step]
            logits, ctx.logits = (part @ head.T if ctx.logits is None else ctx.logits), None
            at, of_pairs = state[first:last] - chunk * step, gradient[first:last]
            softmax = logits.sub_(normalisers[chunk][:, None]).exp_()
            of_logits = softmax.mul_(-of_pairs.new_zeros(len(part)).index_add(0, at, of_pairs)[:, None])
            of_logits.view(-1).index_add_(0, at * len(head) + token[first:last], of_pairs)
            if of_states is not None:
                of_states[chunk * step : (chunk + 1) * step] = of_logits @ head
            if ctx.needs_input_grad[1]:
                of_head = of_logits.T @ part if of_head is None else of_head.addmm_(of_logits.T, part)
        return of_states, of_head, None, None, None
