"""The best validation so far, row by row, which tells how much of a later fall could be noise.

Dimensions: r validation rows.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


class Peak:
    """The values of the best validation so far, the earliest of equal ones."""

    def __init__(self, user_id: Int[np.ndarray, " r"]) -> None:
        users, self.user = np.unique(user_id, return_inverse=True)
        self.n_users = len(users)
        self.values: Float[np.ndarray, " r"] | None = None

    def fall_error(self, values: Float[np.ndarray, " r"]) -> float | None:
        r"""Standard error of the mean fall from the peak to `values`; None for a new peak, which becomes the peak.

        Paired, on the same rows, over users: with d a row's fall and D_u the sum of d − mean(d) over a user's rows,

        .. math:: \sqrt{\frac{U}{U - 1} \sum_u D_u^2} \Big/ r
        """
        if self.values is None or values.mean() > self.values.mean():
            self.values = values
            return None
        fall = self.values - values
        of_users = np.bincount(self.user, fall - fall.mean(), self.n_users)
        return math.sqrt(self.n_users / max(self.n_users - 1, 1) * float(of_users @ of_users)) / len(fall)

    def tensors(self) -> dict[str, Tensor]:
        """For a resume point."""
        return {} if self.values is None else {"values": torch.from_numpy(self.values)}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """From a resume point."""
        self.values = tensors["values"].numpy() if "values" in tensors else None
