"""Repeat probe: how many targets are items of their own history, and of which place?

Buying the same again is not a leak. But where most targets are the last item of their history, as in a log that
writes one purchase as view, cart and buy, a rule that repeats it scores as well as any model. The probe warns.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from contracts.words import HELD_OUT
from evaluation.leakage.probe import LeakProbe, Numbers
from evaluation.leakage.sampling import Frame, collected

MANY_LAST = 0.5
"""Share of targets that may be the last item of their history. Half of all hits then need no model."""


@dataclass(frozen=True)
class Repeated:
    """The targets of one split."""

    rows: int
    in_history: float
    """Share of targets that their own history holds."""
    is_last: float
    """Share of targets that are the last item of their history."""


@dataclass(frozen=True)
class RepeatLeakage(LeakProbe):
    """The targets that are in their own history, by held-out split."""

    splits: Mapping[str, Repeated]

    @property
    def reasons(self) -> tuple[str, ...]:
        """See `LeakProbe`."""
        return tuple(
            f"{found.is_last:.1%} of {found.rows:,} {split} targets are the last item of their history (and "
            f"{found.in_history:.1%} are in it): repeating that item needs no model. If one action is written "
            "as several events, keep one type with cleaning.events, or write cleaning.repeats: first"
            for split, found in self.splits.items()
            if found.is_last > MANY_LAST
        )

    @property
    def all_clear(self) -> str:
        """See `LeakProbe`."""
        return "; ".join(
            f"{found.in_history:.1%} of {split} targets are in their own history, {found.is_last:.1%} are its last item"
            for split, found in self.splits.items()
        )

    @property
    def numbers(self) -> Numbers:
        """See `LeakProbe`."""
        numbers: dict[str, int | float | str] = {}
        for split, found in self.splits.items():
            numbers[f"{split}_rows"] = found.rows
            numbers[f"{split}_targets_in_history"] = found.in_history
            numbers[f"{split}_targets_last_in_history"] = found.is_last
        return numbers


def repeat_leakage(histories: Frame) -> RepeatLeakage:
    """Counts the targets of validation and test rows that their histories hold.

    Args:
        histories: split, history, target; train rows are passed over.
    """
    held_out = histories.lazy().filter(pl.col("split") != "train")
    found = collected(
        held_out.select(
            "split",
            in_history=pl.col("history").list.contains(pl.col("target")),
            is_last=pl.col("history").list.last() == pl.col("target"),
        )
        .group_by("split")
        .agg(pl.len(), pl.col("in_history", "is_last").mean())
    )
    by_split = {row[0]: Repeated(*row[1:]) for row in found.select("split", "len", "in_history", "is_last").rows()}
    return RepeatLeakage({split: by_split[split] for split in HELD_OUT if split in by_split})
