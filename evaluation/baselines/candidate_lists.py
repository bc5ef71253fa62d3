"""Candidate sets as arrays, lined up with the rows they belong to. Dimension key: r rows, n candidates."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evaluation.arrays import Ids


@dataclass(frozen=True)
class CandidateLists:
    """The candidate sets of some rows, sorted by row_id."""

    row_id: Ids
    """Shape [r]."""
    target: Ids
    """Shape [r]."""
    items: Ids
    """The candidates in the order in which they are shown, shape [r n]."""

    @property
    def slot(self) -> Ids:
        """The position of each target in its list, from 0, shape [r]."""
        return np.argmax(self.items == self.target[:, None], axis=1)

    @property
    def negatives(self) -> Ids:
        """The candidates without the target, shape [r n-1]."""
        is_negative = self.items != self.target[:, None]
        return self.items[is_negative].reshape(self.row_id.size, self.items.shape[1] - 1)

    def part(self, which: Ids | NDArray[np.bool_]) -> "CandidateLists":
        """Some of the rows."""
        return CandidateLists(self.row_id[which], self.target[which], self.items[which])


def candidate_lists(histories: pl.DataFrame | pl.LazyFrame, candidate_sets: pl.DataFrame) -> CandidateLists:
    """Lines up candidate sets with the targets of their rows.

    Args:
        histories: row_id, target of at least the rows that have candidate sets; read in pieces where it is lazy.
        candidate_sets: row_id, candidates.

    Raises:
        ValueError: no candidate set, one of an unknown or repeated row, sets of uneven length, or one without exactly
            one target.
    """
    targets = histories.lazy().select("row_id", "target").join(candidate_sets.lazy(), on="row_id", how="inner")
    joined = targets.sort("row_id").collect(engine="streaming")
    if joined.height != candidate_sets.height or joined["row_id"].is_duplicated().any():
        raise ValueError(
            f"candidate_sets must hold rows of histories, each once, got {candidate_sets.height} rows, "
            f"{joined.height} of them theirs. Draw them from these histories."
        )
    lengths = sorted(set(joined["candidates"].list.len().to_list()))
    if len(lengths) != 1:
        raise ValueError(f"candidate sets must be there and of one length, got lengths {lengths}.")
    items = joined["candidates"].explode().to_numpy().astype(np.int64).reshape(joined.height, lengths[0])
    target = joined["target"].to_numpy().astype(np.int64)
    times = (items == target[:, None]).sum(axis=1)
    if (times != 1).any():
        first = int(np.argmax(times != 1))
        raise ValueError(
            f"a candidate set must hold its target once, got {times[first]} times at row_id {joined['row_id'][first]}."
        )
    return CandidateLists(joined["row_id"].to_numpy().astype(np.int64), target, items)
