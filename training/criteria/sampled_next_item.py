"""Next-item prediction against a sample of the catalogue instead of all of it.

With logits s over the catalogue, target t and a sample S of n items that all rows of an optimizer step share:

    loss = log(exp(s_t) + sum over j in S without t of exp(s_j - log pi_j)) - s_t

S is drawn without replacement from the shares p: the n largest of log p_j + Gumbel noise; kappa is the next largest.
pi_j = 1 - exp(-exp(log p_j - kappa)) makes the sum an unbiased estimate of that over the catalogue (Kool, van Hoof and
Welling 2019, https://arxiv.org/abs/1903.06059); subtracting log pi_j is the logQ correction (Bengio and Senécal
2008, doi 10.1109/TNN.2007.912312) for such a draw. The logarithm of the estimate is too small on average, and less so
as n grows. A catalogue of at most n items makes pi 1 and the loss that of the full softmax.
Dimensions: r rows, i items of the catalogue, n sampled.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from contracts.config import SampledSoftmax
from contracts.draws import random_bits
from training.io.rows import Rows


@dataclass(frozen=True)
class TargetsAndSample:
    """Rows that share the sample of one optimizer step."""

    items: Int[np.ndarray, "r n+1"]
    """The target, then the sample."""
    log_inclusion: Float[np.ndarray, " n"]

    def losses(self, logps: Float[Tensor, "r n+1"]) -> Float[Tensor, " r"]:
        """In nats. Logits serve as well as log-probabilities: the sum that all of a row share cancels."""
        device = logps.device
        is_target = torch.from_numpy(self.is_target).to(device)
        sampled = logps[:, 1:] - torch.from_numpy(self.log_inclusion).to(device, logps.dtype)
        sampled = sampled.masked_fill(is_target, -torch.inf)
        return torch.logsumexp(torch.cat([logps[:, :1], sampled], dim=1), dim=1) - logps[:, 0]

    def diagnostics(self, logps: Float[Tensor, "r n+1"]) -> dict[str, float]:
        """Nothing: the loss tells all."""
        return {}

    @property
    def is_target(self) -> Bool[np.ndarray, "r n"]:
        """Where the sample holds the row's own target."""
        return self.items[:, 1:] == self.items[:, :1]


class SampledNextItem:
    """The target against the sample of the step."""

    generator = None
    needs_normaliser = False
    probe = None

    def __init__(self, rows: Rows, loss: SampledSoftmax, n_items: int, seed: int) -> None:
        self.target, self.n, self.seed = rows.target, loss.n, seed
        weight = np.ones(n_items)
        if loss.draw == "popularity":
            weight += np.bincount(rows.target, minlength=n_items)
        self.log_share = np.log(weight / weight.sum())
        self.start_step(0)

    def start_step(self, step: int) -> None:
        """Draws the sample from the seed and the step."""
        self.sample, self.log_inclusion = draw_sample(self.log_share, self.n, seed=self.seed, step=step)

    def batch(self, row: Int[np.ndarray, " r"]) -> TargetsAndSample:
        """The targets of these rows, each with the sample."""
        sample = np.broadcast_to(self.sample, (len(row), len(self.sample)))
        items = np.concatenate([self.target[row, None].astype(np.int64), sample], axis=1)
        return TargetsAndSample(items, self.log_inclusion)


def draw_sample(
    log_share: Float[np.ndarray, " i"], n: int, *, seed: int, step: int
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """n items drawn without replacement, in ascending order, and log pi of each; of a smaller catalogue all items."""
    item = np.arange(len(log_share))
    if n >= len(item):
        return item, np.zeros(len(item))
    uniform = (random_bits(seed, "sampled softmax", np.array(step), item) >> np.uint64(11)) + 0.5
    noised = log_share - np.log(-np.log(uniform / 2.0**53))
    order = np.argsort(-noised, kind="stable")
    sample = np.sort(order[:n])
    return sample, np.log(-np.expm1(-np.exp(log_share[sample] - noised[order[n]])))
