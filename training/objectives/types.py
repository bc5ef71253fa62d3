"""The batch every objective reads. Dimensions: b prompts, n negatives."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Preferences:
    """One batch: a chosen item against n rejected ones. Log-probabilities are sums over completions, in nats.

    The properties put zeros into padding, so that no value in it (NaN too) reaches a loss or a gradient.

    >>> from dataclasses import replace
    >>> prefs = replace(Preferences.of_row([0.0, -3.0, torch.nan]), is_negative=torch.tensor([[True, False]]))
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

    @classmethod
    def of_row(
        cls, policy: Sequence[float], reference: Sequence[float] | None = None, *, tokens: int = 1
    ) -> "Preferences":
        """One row without padding, from plain numbers: to try an objective by hand.

        Args:
            policy: log-probability of the chosen item, then of each rejected one.
            reference: the same under the reference; zeros, when absent.
            tokens: the length of every completion.
        """
        of_policy = torch.tensor([policy])
        of_reference = torch.zeros_like(of_policy) if reference is None else torch.tensor([reference])
        lengths = torch.full(of_policy.shape, tokens)
        return cls(
            policy_chosen=of_policy[:, 0],
            policy_rejected=of_policy[:, 1:],
            reference_chosen=of_reference[:, 0],
            reference_rejected=of_reference[:, 1:],
            is_negative=torch.ones(of_policy[:, 1:].shape, dtype=torch.bool),
            chosen_tokens=lengths[:, 0],
            rejected_tokens=lengths[:, 1:],
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


Loss = Callable[..., Float[Tensor, " b"]]
"""Preferences and keyword-only hyperparameters in, the unreduced loss out: the caller decides how prompts weigh."""
