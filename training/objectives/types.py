"""The batch every objective reads. Dimensions: b prompts, n negatives."""

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Preferences:
    """One batch: a chosen item against n rejected ones. Log-probabilities are sums over completions, in nats.

    What stands in padding (NaN too) reaches neither a loss nor a gradient: the properties below put zeros in its place.

    >>> zero, two, one = torch.zeros(1), torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.int64)
    >>> prefs = Preferences(zero, two - 3, zero, two, torch.tensor([[True, False]]), one[:, 0], one)
    >>> prefs.rejected_log_ratio
    tensor([[-3.,  0.]])
    """

    policy_chosen: Float[Tensor, " b"]
    policy_rejected: Float[Tensor, "b n"]
    reference_chosen: Float[Tensor, " b"]
    reference_rejected: Float[Tensor, "b n"]
    is_negative: Bool[Tensor, "b n"]
    """False marks padding, where a prompt has fewer than n negatives."""
    chosen_tokens: Int[Tensor, " b"]
    """Length of the chosen completion, by which the objectives that average over tokens divide."""
    rejected_tokens: Int[Tensor, "b n"]

    def __post_init__(self) -> None:
        b, n = self.is_negative.shape
        if n == 0:
            raise ValueError("is_negative must have at least 1 column, got 0. A row without negatives is all False.")
        for field in fields(self):
            shape = tuple(getattr(self, field.name).shape)
            wanted = (b,) if field.name.endswith(("_chosen", "chosen_tokens")) else (b, n)
            if shape != wanted:  # broadcasting would compute something else, silently
                raise ValueError(f"{field.name} must be of shape {wanted}, got {shape}. is_negative sets b and n.")
        if self.is_negative.dtype != torch.bool:
            raise ValueError(
                f"is_negative must be of dtype bool, got {self.is_negative.dtype}. Compare with != 0 first."
            )

    @property
    def has_negatives(self) -> Bool[Tensor, " b"]:
        """False where a row has no negative left: its loss and gradient are 0."""
        return self.is_negative.any(dim=-1)

    @property
    def chosen_log_ratio(self) -> Float[Tensor, " b"]:
        """Policy over reference, summed over the tokens."""
        return self.policy_chosen - self.reference_chosen

    @property
    def rejected_log_ratio(self) -> Float[Tensor, "b n"]:
        """Policy over reference, summed over the tokens; 0 in padding."""
        return self.rejected_logp - self.reference_rejected.masked_fill(~self.is_negative, 0.0)

    @property
    def rejected_logp(self) -> Float[Tensor, "b n"]:
        """Summed policy log-probability; 0 in padding."""
        return self.policy_rejected.masked_fill(~self.is_negative, 0.0)

    @property
    def chosen_mean_logp(self) -> Float[Tensor, " b"]:
        """Policy log-probability per token."""
        return self.policy_chosen / self.chosen_tokens

    @property
    def rejected_mean_logp(self) -> Float[Tensor, "b n"]:
        """Policy log-probability per token; 0 in padding."""
        return self.rejected_logp / self._rejected_tokens

    @property
    def chosen_mean_log_ratio(self) -> Float[Tensor, " b"]:
        """Policy over reference, per token."""
        return self.chosen_log_ratio / self.chosen_tokens

    @property
    def rejected_mean_log_ratio(self) -> Float[Tensor, "b n"]:
        """Policy over reference, per token; 0 in padding."""
        return self.rejected_log_ratio / self._rejected_tokens

    @property
    def _rejected_tokens(self) -> Int[Tensor, "b n"]:
        return self.rejected_tokens.masked_fill(~self.is_negative, 1)  # padding has length 0; 0 / 0 is NaN


Objective = Callable[..., Float[Tensor, " b"]]
"""Preferences and keyword-only hyperparameters in, the unreduced loss out: the caller decides how prompts weigh."""
