"""Rankings made of scores: best first, exact, a target behind the items it ties with.

Pure functions of arrays; `rank_rows.py` gets the scores from a policy. Dimensions: r rows, i items, k list length.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt64
from torch import Tensor

from contracts.ranks import EXCLUDED, TARGET, best_first, items_of, ranking_keys, ranks_of
from training.io.ragged import Ragged


@dataclass(frozen=True)
class Ranking:
    """For each row a list of items, best first."""

    items: Ragged
    scores: Float[np.ndarray, " _"]
    """Log-probability of each listed item, in nats."""
    target_rank: Int[np.ndarray, " r"]
    """1 = best; also where the list ends before the target."""

    def take(self, rows: Int[np.ndarray, " m"]) -> "Ranking":
        """The named rows, in that order."""
        scores = Ragged(self.scores, self.items.offsets).take(rows).values
        return Ranking(self.items.take(rows), scores, self.target_rank[rows])


def joined_rankings(parts: Sequence[Ranking]) -> Ranking:
    """The rows of all parts, one after the other."""
    return Ranking(
        Ragged.joined([part.items for part in parts]),
        np.concatenate([np.zeros(0, dtype=np.float32), *[part.scores for part in parts]]),
        np.concatenate([np.zeros(0, dtype=np.int64), *[part.target_rank for part in parts]]),
    )


def rank_catalogue(
    logps: Float[np.ndarray, "r i"], target: Int[np.ndarray, " r"], left_out: Ragged, top_k: int
) -> Ranking:
    """All items that are not left out of the row, and the target, cut to the first `top_k`; ties: target last."""
    keys = _keys_with_target(logps, target)
    of_target = keys[np.arange(len(keys)), target]
    keys[left_out.owners, left_out.values] = EXCLUDED
    keys[np.arange(len(keys)), target] = of_target
    return _ranking(keys, of_target, logps, top_k)


def rank_candidates(logps: Float[np.ndarray, "r i"], target: Int[np.ndarray, " r"], candidates: Ragged) -> Ranking:
    """The candidate set of each row, which holds the target; ties: target last."""
    keys = _keys_with_target(logps, target)
    chosen = np.full((len(candidates), int(candidates.lengths.max(initial=0))), EXCLUDED)
    owners, values = candidates.owners, candidates.values
    chosen[owners, np.arange(len(values)) - candidates.offsets[owners]] = keys[owners, values]
    return _ranking(chosen, keys[np.arange(len(keys)), target], logps, chosen.shape[1])


def _keys_with_target(logps: Float[np.ndarray, "r i"], target: Int[np.ndarray, " r"]) -> UInt64[np.ndarray, "r i"]:
    refuse_unless_finite(np.isfinite(logps[np.arange(len(logps)), target]))
    keys = ranking_keys(logps)
    keys[np.arange(len(keys)), target] |= TARGET
    return keys


def _ranking(
    keys: UInt64[np.ndarray, "r k"], of_target: UInt64[np.ndarray, " r"], logps: Float[np.ndarray, "r i"], top_k: int
) -> Ranking:
    first = best_first(keys, top_k)
    is_listed = first != EXCLUDED
    items = items_of(first[is_listed])
    lists = Ragged(items, np.concatenate([[0], np.cumsum(is_listed.sum(axis=1))]).astype(np.int64))
    return Ranking(lists, logps[lists.owners, items], ranks_of(keys, of_target))


def refuse_unless_finite(is_finite: np.ndarray | Tensor) -> None:
    """A score that is not a number would come out as rank 1.

    Raises:
        FloatingPointError: some score is NaN or infinite.
    """
    if not bool(is_finite.all()):
        raise FloatingPointError("log-probabilities must be finite, got NaN or infinity. The policy has diverged.")


def target_ranks(
    logps: Float[Tensor, "r i"], target: Int[Tensor, " r"], left_out: Int[Tensor, "r h"]
) -> tuple[Int[Tensor, " r"], Float[Tensor, " r"]]:
    """Rank of each target among all items that are not left out of its row (1 = best; ties: last), and its logp.

    Args:
        logps: scores of the catalogue; overwritten.
        target: item ids.
        left_out: item ids, padded with the target or any other of them; the target is ranked even if it is one.

    Raises:
        FloatingPointError: a target without a finite score.
    """
    of_target = logps.gather(1, target[:, None])
    refuse_unless_finite(torch.isfinite(of_target))
    logps.scatter_(1, left_out, -torch.inf).scatter_(1, target[:, None], -torch.inf)
    return 1 + (logps >= of_target).sum(dim=1), of_target[:, 0]


def padded_with_target(left_out: Ragged, target: Int[np.ndarray, " r"]) -> Int[np.ndarray, "r h"]:
    """One line a row; short ones are filled up with the target, which leaves out nothing more."""
    table = left_out.padded(-1)
    return np.where(table < 0, target[:, None], table)
