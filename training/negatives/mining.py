"""The pools of many rows with a policy's scores: what the table `mined_negatives` holds of them.

How a pool is chosen from scores is in `pool.py`, and how negatives are drawn without scores in `drawn.py`.
Dimensions: r rows, i items of the catalogue, n negatives of a row, m negatives in all.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Bool, Float, Int

from contracts.distinct import ABSENT, is_repeat
from contracts.words import MINERS
from training.engine.catalogue_scores import catalogue_scores, item_scores
from training.engine.policy import Policy
from training.engine.windows import Windows
from training.io.ragged import Ragged
from training.io.rows import Rows
from training.io.writers import arrow_schema
from training.negatives.drawn import BlindMiners, touched_or_target
from training.negatives.pool import Mined, mine_pool, mine_sample, sample_of
from training.objectives.boundary import select_boundary

CLUSTERS = 3
"""Clusters of the boundary selection, as in DynamicPO."""


@dataclass(frozen=True)
class Scored:
    """The pools of the rows of one pass, with their log-probabilities."""

    row: Int[np.ndarray, " r"]
    mined: Mined
    logp: Float[np.ndarray, "r n"]
    chosen: Float[np.ndarray, " r"]
    """Log-probability of each row's target."""

    def columns(self) -> list[np.ndarray]:
        """Items, then what the table tells of each; ABSENT marks the items of cells without one."""
        mined, shape = self.mined, self.mined.items.shape
        miner, place = (np.broadcast_to(column, shape) for column in (mined.miner, mined.place))
        on_boundary = _on_boundary(self.chosen, self.logp, mined.items)
        return [mined.items, self.logp, mined.rank, self.chosen[:, None] - self.logp, on_boundary, miner, place]


@dataclass(frozen=True)
class Miner:
    """Mines the pool of each row by a policy's scores of the catalogue or, where the pool says so, of a sample."""

    policy: Policy
    touched: Ragged
    """The items that each user touched in train."""
    blind: BlindMiners
    """The pool's size and seed, and the negatives that are drawn without scores."""

    def table(self, windows: Windows, mining_round: int, policy_name: str, progress: Callable[[int], None]) -> pa.Table:
        """The rows of `mined_negatives` for the rows of some windows, in the order of the rows.

        Args:
            windows: whose rows are mined.
            mining_round: goes into the column `round`.
            policy_name: goes into the column `policy`.
            progress: told how many rows are done.
        """
        index, parts, done = [], [], 0
        for scored in self._scored(windows):
            index.append(scored.row)
            parts.append(scored.columns())
            done += len(scored.row)
            progress(done)
        row = np.concatenate(index)
        order = np.argsort(row, kind="stable")
        items, *columns = (np.concatenate(column)[order] for column in zip(*parts, strict=True))
        is_mined = items != ABSENT
        logp, rank, margin, on_boundary, miner, place = (column[is_mined] for column in columns)
        return pa.table(
            [
                np.repeat(windows.rows.row_id[row[order]], is_mined.sum(axis=1)).astype(np.int32),
                items[is_mined].astype(np.int32),
                logp,
                rank.astype(np.int32),
                margin,
                on_boundary,
                pa.DictionaryArray.from_arrays(miner, list(MINERS)).cast(pa.string()),
                place,
                np.full(len(logp), mining_round, dtype=np.int32),
                pa.repeat(policy_name, len(logp)),
            ],
            schema=arrow_schema("mined_negatives"),
        )

    def _scored(self, windows: Windows) -> Iterator[Scored]:
        rows, pool, seed = windows.rows, self.blind.pool, self.blind.seed
        if pool.scored is None:
            for row, logps in catalogue_scores(self.policy, windows):
                scores, excluded, row_id = logps.cpu().numpy(), self._excluded(rows, row), rows.row_id[row]
                mined = mine_pool(scores, excluded, row_id, pool, seed, self.blind.draw(excluded, row_id))
                logp = np.take_along_axis(scores, np.maximum(mined.items, 0), axis=1)
                yield Scored(row, mined, logp, scores[np.arange(len(row)), rows.target[row]])
            return
        for row, logps in item_scores(self.policy, windows, lambda row: self._items_to_score(rows, row)):
            scores, items = logps.cpu().numpy(), self._items_to_score(rows, row)
            mined, logp = mine_sample(
                items[:, 1:], scores[:, 1:], rows.target[row], pool, self.policy.vocabulary.n_items
            )
            yield Scored(row, mined, logp, scores[:, 0])

    def _excluded(self, rows: Rows, row: Int[np.ndarray, " r"]) -> Bool[np.ndarray, "r i"]:
        return touched_or_target(self.touched, rows.take(row), self.policy.vocabulary.n_items)

    def _items_to_score(self, rows: Rows, row: Int[np.ndarray, " r"]) -> Int[np.ndarray, "r n+1"]:
        """The target, the sample, and what is drawn without scores; of a prompt with candidates, its list."""
        target, n = rows.target[row, None], self.blind.pool.scored
        assert n is not None
        if rows.candidates is not None:
            listed = rows.candidates.take(row).padded(ABSENT)
            return np.concatenate([target, listed[listed != target].reshape(len(row), -1)], axis=1)
        excluded, row_id = self._excluded(rows, row), rows.row_id[row]
        sample = sample_of(excluded, row_id, n, self.blind.seed)
        items = np.concatenate([target, sample, self.blind.draw(excluded, row_id)], axis=1)
        return np.where(items == ABSENT, target, items)


def _on_boundary(
    chosen: Float[np.ndarray, " r"], logp: Float[np.ndarray, "r n"], items: Int[np.ndarray, "r n"]
) -> Bool[np.ndarray, "r n"]:
    """Which negatives lie on the boundary; one that several miners found weighs once in the clusters."""
    is_mined = items != ABSENT
    is_first = is_mined & ~is_repeat(items)
    found = select_boundary(
        torch.from_numpy(chosen), torch.from_numpy(logp), torch.from_numpy(is_first), clusters=CLUSTERS
    ).numpy()
    lowest = np.where(found, logp, np.inf).min(axis=1, initial=np.inf)
    return is_mined & (logp >= lowest[:, None])
