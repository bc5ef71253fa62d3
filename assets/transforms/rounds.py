"""What changes from one mining round to the next: which negatives stay hard, and which cross the boundary.

Dimension key: `h` bins.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

BINS = 40
OUTLIERS = 0.005
"""Share of the margins at either end that the histogram gathers in its outermost bins."""
_NEGATIVE = ("row_id", "item_id")


@dataclass(frozen=True)
class RoundsCompared:
    """Two rounds of mining over the same train rows."""

    hard_kept: float
    """Share of the hard negatives of the round before that are hard negatives of their rows still."""
    boundary_stayed: int
    """Negatives of a row on the boundary in both rounds."""
    boundary_entered: int
    boundary_left: int
    margin_median_before: float
    """Of the hard negatives, in nats: log-probability of the chosen item minus theirs."""
    margin_median_after: float
    violation_share_before: float
    """Share of the hard negatives that the policy ranks at or above the chosen item."""
    violation_share_after: float
    edges: NDArray[np.float64]
    """Of the histogram of the margins of hard negatives; shape [h + 1]."""
    shares_before: NDArray[np.float64]
    """Share of the hard negatives in each bin; shape [h]."""
    shares_after: NDArray[np.float64]


def compare_rounds(before: pl.DataFrame, after: pl.DataFrame) -> RoundsCompared:
    """Compares two pools of the same rows, both `mined_negatives`.

    A negative that only one of the pools holds has crossed the boundary if it lies on it there: what a policy no longer
    ranks among the hardest has left its boundary.
    """
    hard = [pool.filter(pl.col("miner") == "hardest") for pool in (before, after)]
    on_boundary = [pool.filter("on_boundary").select(_NEGATIVE).unique() for pool in (before, after)]
    kept = hard[0].join(hard[1], on=_NEGATIVE, how="semi").height
    stayed = on_boundary[0].join(on_boundary[1], on=_NEGATIVE, how="semi").height
    margins = [pool["margin"].to_numpy().astype(np.float64) for pool in hard]
    edges = _edges(np.concatenate(margins))
    shares = [_shares(margin, edges) for margin in margins]
    medians = [float(np.median(margin)) if len(margin) else 0.0 for margin in margins]
    violations = [float(np.mean(margin <= 0)) if len(margin) else 0.0 for margin in margins]
    return RoundsCompared(
        hard_kept=kept / max(1, hard[0].height),
        boundary_stayed=stayed,
        boundary_entered=on_boundary[1].height - stayed,
        boundary_left=on_boundary[0].height - stayed,
        margin_median_before=medians[0],
        margin_median_after=medians[1],
        violation_share_before=violations[0],
        violation_share_after=violations[1],
        edges=edges,
        shares_before=shares[0],
        shares_after=shares[1],
    )


def _edges(margins: NDArray[np.float64]) -> NDArray[np.float64]:
    if not len(margins):
        return np.linspace(-1.0, 1.0, BINS + 1)
    low, high = float(np.quantile(margins, OUTLIERS)), float(np.quantile(margins, 1 - OUTLIERS))
    return np.linspace(low, max(high, low + 1e-6), BINS + 1)


def _shares(margins: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    counts, _ = np.histogram(np.clip(margins, edges[0], edges[-1]), edges)
    return counts / max(1, len(margins))
