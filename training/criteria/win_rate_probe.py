"""Win rates on fixed rows with fixed negatives, whatever a run trains on.

A win rate over the negatives that a row trains on falls as their number grows; this one compares runs with different n.
Dimensions: r rows of the probe, n negatives, i items of the catalogue.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from contracts.draws import random_bits
from training.engine.policy import Policy
from training.engine.windows import cut, find_windows, lay_out
from training.io.rows import Rows

ROWS = 512
NEGATIVES = 19
SEED = 0
"""Fixed, so that every run on a data set has the same probe."""


class WinRateProbe:
    """Up to 512 validation rows with 19 uniform negatives each, and their log-probabilities under the starting policy.

    Args:
        policy: the starting policy.
        validation: the rows to choose from.
        max_tokens: the most tokens of one pass.
    """

    def __init__(self, policy: Policy, validation: Rows, max_tokens: int = 16_384) -> None:
        self.max_tokens = max_tokens
        order = np.argsort(random_bits(SEED, "probe rows", validation.row_id), kind="stable")
        self.windows = find_windows(validation.take(np.sort(order[:ROWS])))
        self.items = probe_items(self.windows.rows, policy.vocabulary.n_items)
        self.reference = self._logps(policy)

    def win_rates(self, policy: Policy) -> dict[str, float]:
        """How often a target's reward (its log-ratio to the start) exceeds a negative's, and that of every negative."""
        log_ratio = self._logps(policy) - self.reference
        wins = log_ratio[:, :1] > log_ratio[:, 1:]
        return {
            "probe_win_rate_pair": float(wins.float().mean()),
            "probe_win_rate_all": float(wins.all(dim=1).float().mean()),
        }

    @torch.no_grad()
    def _logps(self, policy: Policy) -> Float[Tensor, "r n+1"]:
        logps = torch.empty(self.items.shape)
        with policy.in_evaluation():
            for part in cut(self.windows, policy.vocabulary, self._items_of, max_tokens=self.max_tokens, max_rows=ROWS):
                trunks = lay_out(self.windows, part, policy.vocabulary)
                scores = policy.item_logps(trunks, self._items_of(trunks.row))
                logps[torch.from_numpy(trunks.row)] = scores.float().cpu()
        return logps

    def _items_of(self, row: Int[np.ndarray, " k"]) -> Int[np.ndarray, "k n+1"]:
        return self.items[row]


def probe_items(rows: Rows, n_items: int) -> Int[np.ndarray, "r n+1"]:
    """For each row its target, then distinct items outside its history, chosen by a hash of row and item.

    A prompt that lists candidates offers no other answers: there the negatives are the rest of its list.
    """
    if rows.candidates is not None:
        target, table = rows.target[:, None].astype(np.int64), rows.candidates.padded(-1)
        return np.concatenate([target, table[table != target].reshape(len(rows), -1)], axis=1)
    n = min(NEGATIVES, n_items - 1 - int(rows.history.lengths.max(initial=0)))
    if n < 1:
        raise ValueError(
            f"the catalogue must hold more items than the longest history and its target, got {n_items}. "
            "Shorten the histories, or keep more items."
        )
    bits = random_bits(SEED, "probe negatives", rows.row_id[:, None], np.arange(n_items)[None, :])
    last = np.uint64(2**64 - 1)
    bits[rows.history.owners, rows.history.values] = last
    bits[np.arange(len(rows)), rows.target] = last
    negatives = np.argsort(bits, axis=1, kind="stable")[:, :n]
    return np.concatenate([rows.target[:, None].astype(np.int64), negatives], axis=1)
