"""Next-item prediction against a sample of the catalogue instead of all of it.

With logits s over the catalogue, target t and a sample S of n items that all rows of an optimizer step share:

    loss = log(exp(s_t) + sum over j in S without t of exp(s_j - log pi_j)) - s_t

S is drawn without replacement from the shares p: the n largest of log p_j + Gumbel noise, and kappa is the next one.
pi_j = 1 - exp(-exp(log p_j - kappa)) makes the sum an unbiased estimate of that over the catalogue (Kool, van Hoof and
Welling 2019, https://arxiv.org/abs/1903.06059); subtracting log pi_j is the logQ correction (Bengio and Senécal
2008, doi 10.1109/TNN.2007.912312) for such a draw. The logarithm of the estimate is too small in the mean, the
less so the larger n is; with n items or more in the catalogue pi is 1, and the loss that of the full softmax.
Dimensions: r rows, i items of the catalogue, n sampled.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from contracts.config import SampledSoftmax
from contracts.draws import random_bits
from training.io.rows import Rows
from training.sft import NextItem


class SampledNextItem(NextItem):
    """The target against the sample of the step."""

    needs_normaliser = False

    def __init__(self, rows: Rows, loss: SampledSoftmax, n_items: int, seed: int) -> None:
        super().__init__(rows)
        self.n, self.seed = loss.n, seed
        weight = np.ones(n_items)
        if loss.draw == "popularity":
            weight += np.bincount(rows.target, minlength=n_items)
        self.log_share = np.log(weight / weight.sum())
        self.start_step(0)

    def start_step(self, step: int) -> None:
        """Draws the sample, which depends on the seed and the step alone."""
        self.sample, self.log_inclusion = draw_sample(self.log_share, self.n, seed=self.seed, step=step)

    def items(self, row: Int[np.ndarray, " r"]) -> Int[np.ndarray, "r n+1"]:
        """The target, then the sample."""
        sample = np.broadcast_to(self.sample, (len(row), len(self.sample)))
        return np.concatenate([super().items(row), sample], axis=1)

    def losses(self, row: Int[np.ndarray, " r"], logps: Float[Tensor, "r n+1"]) -> Float[Tensor, " r"]:
        """In nats; logits do as well as log-probabilities, as a sum that is common to all of a row cancels."""
        device = logps.device
        is_target = torch.from_numpy(self.sample == self.rows.target[row, None]).to(device)
        sampled = logps[:, 1:] - torch.from_numpy(self.log_inclusion).to(device, logps.dtype)
        sampled = sampled.masked_fill(is_target, -torch.inf)
        return torch.logsumexp(torch.cat([logps[:, :1], sampled], dim=1), dim=1) - logps[:, 0]


def draw_sample(
    log_share: Float[np.ndarray, " i"], n: int, *, seed: int, step: int
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Items drawn without replacement, by growing id, and log pi of each; of a small catalogue all items."""
    item = np.arange(len(log_share))
    if n >= len(item):
        return item, np.zeros(len(item))
    uniform = (random_bits(seed, "sampled softmax", np.array(step), item) >> np.uint64(11)) + 0.5
    noised = log_share - np.log(-np.log(uniform / 2.0**53))
    order = np.argsort(-noised, kind="stable")
    sample = np.sort(order[:n])
    return sample, np.log(-np.expm1(-np.exp(log_share[sample] - noised[order[n]])))
