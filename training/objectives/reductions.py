"""Reductions that padding does not touch, the same to the bit on every run. Dimensions: b prompts, n negatives."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from training.objectives.types import Preferences


def mean_over_negatives(values: Float[Tensor, "b n"], is_negative: Bool[Tensor, "b n"]) -> Float[Tensor, " b"]:
    """Mean of `values` over each row's negatives; 0, with gradient 0, for a row without any.

    >>> mean_over_negatives(torch.tensor([[1.0, 3.0, 8.0]]), torch.tensor([[True, True, False]]))
    tensor([2.])
    """
    return values.masked_fill(~is_negative, 0.0).sum(dim=-1) / is_negative.sum(dim=-1).clamp(min=1)


def zero_without_negatives(loss: Float[Tensor, " b"], prefs: Preferences) -> Float[Tensor, " b"]:
    """`loss`, but 0, with gradient 0, for a row without negatives: nothing is preferred over nothing."""
    return torch.where(prefs.has_negatives, loss, 0.0)


def running_sum(values: Float[Tensor, "*rows n"]) -> Float[Tensor, "*rows n"]:
    """Sum of each entry and all before it. `torch.cumsum` is refused on CUDA where algorithms must be deterministic.

    >>> running_sum(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]))
    tensor([ 1.,  3.,  6., 10., 15.])
    """
    n, step = values.shape[-1], 1
    while step < n:  # after it, each entry holds the sum of the last 2 × step
        values = values + F.pad(values, (step, 0))[..., :n]
        step *= 2
    return values
