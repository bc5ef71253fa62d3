"""Overlap probe: does train hold held-out rows, the same history, item for item, with the same target?"""

import math
from dataclasses import dataclass

import numpy as np
import polars as pl

from contracts.draws import cell_uniforms
from evaluation.leakage.probe import NOISE, LeakProbe, Numbers
from evaluation.leakage.sampling import Frame, collected

_MOST = 1_000_000
"""Rows that are compared; of more, those whose target is in a sample of items."""
_SHORTEST = 3
"""Items of a history that is compared: two users begin with the same two items by chance."""
_SHARE = 0.01
"""The share of held-out rows that similar users may have in common with train."""


@dataclass(frozen=True)
class OverlapLeakage(LeakProbe):
    """Held-out rows that train has word for word."""

    rows: int
    """Held-out rows with a history long enough to tell."""
    repeated: int
    """Rows whose history and target are together those of a train row."""
    longest: int
    """The length of the longest such history; 0 when there is none."""
    sample: float
    """Share of items whose rows were compared."""

    @property
    def share(self) -> float:
        """The share of held-out rows that train repeats."""
        return self.repeated / max(self.rows, 1)

    @property
    def threshold(self) -> float:
        """Repeated rows that pass: a hundredth and what noise adds to it, and always one."""
        return max(1.0, _SHARE * self.rows + NOISE * math.sqrt(_SHARE * self.rows))

    @property
    def reasons(self) -> tuple[str, ...]:
        """See `LeakProbe`."""
        if self.repeated <= self.threshold:
            return ()
        return (
            f"{self.repeated:,} of {self.rows:,} held-out rows ({self.share:.1%}) have the history and target of a "
            f"train row, histories of up to {self.longest} items: train holds the answers",
        )

    @property
    def all_clear(self) -> str:
        """See `LeakProbe`."""
        return "Train does not hold the answers of held-out rows."

    @property
    def numbers(self) -> Numbers:
        """See `LeakProbe`."""
        return {
            "rows": self.rows,
            "repeated": self.repeated,
            "share": self.share,
            "threshold": self.threshold,
            "longest": self.longest,
            "items_read": self.sample,
        }


def overlap_leakage(histories: Frame) -> OverlapLeakage:
    """Probes for held-out rows that are train rows.

    Args:
        histories: split, history, target.
    """
    rows, largest = collected(histories.lazy().select(pl.len(), pl.col("target").max().alias("largest"))).row(0)
    share = min(1.0, _MOST / max(rows, 1))
    frame = histories.lazy()
    if share < 1.0:
        # Rows that are equal have equal targets, so a sample of targets keeps both or neither.
        items = np.arange(int(largest) + 1, dtype=np.int64)
        kept = items[cell_uniforms(0, "overlap probe", items, np.zeros(1, dtype=np.int64)) < share]
        frame = frame.filter(pl.col("target").is_in(pl.Series(kept, dtype=pl.Int32).implode()))
    length = pl.col("history").list.len().alias("length")
    key = pl.struct("history", "target").hash().alias("key")
    long = collected(frame.filter(length >= _SHORTEST).select(key, length, is_train=pl.col("split") == "train"))
    held_out = long.filter(~pl.col("is_train"))
    repeated = held_out.join(long.filter("is_train"), on="key", how="semi")
    longest = repeated["length"].to_numpy().max(initial=0)
    return OverlapLeakage(rows=held_out.height, repeated=repeated.height, longest=int(longest), sample=share)
