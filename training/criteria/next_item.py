"""Next-item prediction: the negative log-probability of the target over the whole catalogue. Dimensions: r rows."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from training.io.rows import Rows


@dataclass(frozen=True)
class Targets:
    """Rows whose only scored item is their target."""

    items: Int[np.ndarray, "r 1"]

    def losses(self, logps: Float[Tensor, "r 1"]) -> Float[Tensor, " r"]:
        """In nats."""
        return -logps[:, 0]

    def diagnostics(self, logps: Float[Tensor, "r 1"]) -> dict[str, float]:
        """Nothing: the loss tells all."""
        return {}


class NextItem:
    """The full softmax."""

    generator = None
    needs_normaliser = True
    probe = None

    def __init__(self, rows: Rows) -> None:
        self.target = rows.target

    def start_step(self, step: int) -> None:
        """Nothing changes from step to step."""

    def batch(self, row: Int[np.ndarray, " r"]) -> Targets:
        """The targets of these rows."""
        return Targets(self.target[row, None].astype(np.int64))
