"""What the training loop asks of a criterion. Dimensions: r rows, c items scored per row."""

from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from training.criteria.win_rate_probe import WinRateProbe


class Batch(Protocol):
    """The rows of one forward pass."""

    @property
    def items(self) -> Int[np.ndarray, "r c"]:
        """The items that the policy must score after each row's history."""
        ...

    def losses(self, logps: Float[Tensor, "r c"]) -> Float[Tensor, " r"]:
        """The loss of each row, not reduced, from the log-probabilities of `items`."""
        ...

    def diagnostics(self, logps: Float[Tensor, "r c"]) -> dict[str, float]:
        """Numbers that tell how training goes on these rows."""
        ...


class Criterion(Protocol):
    """The only difference between supervised fine-tuning and preference optimisation inside the loop."""

    @property
    def generator(self) -> torch.Generator | None:
        """The source of the losses' random draws; None where they draw nothing."""
        ...

    @property
    def needs_normaliser(self) -> bool:
        """Whether losses need log-probabilities over the whole catalogue; False where logits of `items` suffice."""
        ...

    @property
    def probe(self) -> WinRateProbe | None:
        """The rows on which every validation measures win rates."""
        ...

    def start_step(self, step: int) -> None:
        """The loop calls this before each optimizer step; the first is 1."""
        ...

    def batch(self, row: Int[np.ndarray, " r"]) -> Batch:
        """The batch of the rows with these indices."""
        ...
