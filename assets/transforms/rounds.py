"""What changes from one mining round to the next: which negatives stay hard, and which cross the boundary.

Dimension key: `h` bins.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from assets.transforms.chunks import ROWS, Table, parts_by_row_id

Floats = NDArray[np.float32]
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


def compare_rounds(before: Table, after: Table) -> RoundsCompared:
    """Compares two pools of the same rows, both `mined_negatives`, a range of rows at a time.

    A negative that only one of the pools holds has crossed the boundary if it lies on it there: what a policy no longer
    ranks among the hardest has left its boundary.
    """
    columns = [*_NEGATIVE, "miner", "margin", "on_boundary"]
    kept = stayed = n_before = n_after = 0
    found: tuple[list[Floats], list[Floats]] = ([], [])
    for pools in parts_by_row_id(before.lazy().select(columns), after.lazy().select(columns), rows=ROWS // 2):
        hard = [pool.filter(pl.col("miner") == "hardest") for pool in pools]
        on_boundary = [pool.filter("on_boundary").select(_NEGATIVE).unique() for pool in pools]
        kept += hard[0].join(hard[1], on=_NEGATIVE, how="semi").height
        stayed += on_boundary[0].join(on_boundary[1], on=_NEGATIVE, how="semi").height
        n_before += on_boundary[0].height
        n_after += on_boundary[1].height
        for margins, of_range in zip(found, hard, strict=True):
            margins.append(of_range["margin"].to_numpy())
    margins = [_sorted(parts) for parts in found]
    edges = _edges(_sorted(margins))
    return RoundsCompared(
        hard_kept=kept / max(1, len(margins[0])),
        boundary_stayed=stayed,
        boundary_entered=n_after - stayed,
        boundary_left=n_before - stayed,
        margin_median_before=_quantile(margins[0], 0.5),
        margin_median_after=_quantile(margins[1], 0.5),
        violation_share_before=_violations(margins[0]),
        violation_share_after=_violations(margins[1]),
        edges=edges,
        shares_before=_shares(margins[0], edges),
        shares_after=_shares(margins[1], edges),
    )


def _sorted(parts: Sequence[Floats]) -> Floats:
    """The values of all parts, ascending. They stay float32: there may be as many as rows in the table."""
    together = np.concatenate([np.zeros(0, dtype=np.float32), *parts])
    together.sort()
    return together


def _quantile(ascending: Floats, share: float) -> float:
    """Linear between the two values around it, in float64; 0 of nothing."""
    if not len(ascending):
        return 0.0
    place = (len(ascending) - 1) * share
    around = ascending[int(place) : int(place) + 2].astype(np.float64)
    return float(np.quantile(around, place - int(place)))


def _violations(ascending: Floats) -> float:
    return int(np.searchsorted(ascending, 0, side="right")) / max(1, len(ascending))


def _edges(ascending: Floats) -> NDArray[np.float64]:
    if not len(ascending):
        return np.linspace(-1.0, 1.0, BINS + 1)
    low, high = _quantile(ascending, OUTLIERS), _quantile(ascending, 1 - OUTLIERS)
    return np.linspace(low, max(high, low + 1e-6), BINS + 1)


def _shares(ascending: Floats, edges: NDArray[np.float64]) -> NDArray[np.float64]:
    counts = np.zeros(BINS, dtype=np.int64)
    for first in range(0, len(ascending), ROWS):
        some = ascending[first : first + ROWS].astype(np.float64)
        counts += np.histogram(np.clip(some, edges[0], edges[-1]), edges)[0]
    return counts / max(1, len(ascending))
