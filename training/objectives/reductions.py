"""Reductions that padding does not touch, the same to the bit on every run. Dimensions: b prompts, n negatives."""

import torch
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


def running_sum(values: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
    """Sum of each entry of the first dimension and all before it, as `torch.cumsum`.

    That one is refused on CUDA where algorithms must be deterministic.

    >>> running_sum(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]))
    tensor([ 1.,  3.,  6., 10., 15.])
    """
    step = 1
    while step < len(values):  # after it, each entry holds the sum of the last 2 × step
        values = torch.cat([values[:step], values[step:] + values[:-step]])
        step *= 2
    return values
