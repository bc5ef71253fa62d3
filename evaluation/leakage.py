"""Leak probes: do the tables give the answer away to a reader who does not deserve it?

Each probe returns its numbers beside what chance would give, and the reasons in plain words why it does not pass, if
any. Thresholds scale with chance and with the number of rows, so that a small table is not refused for being small.
Dimension key: r rows, n candidates.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from evaluation.baselines import uniform_draws
from evaluation.blind import BlindRule, blind_rules
from evaluation.candidate_lists import CandidateLists, candidate_lists

_NOISE = 4.0
"""Standard errors beyond chance that noise is granted: a false alarm in about 30,000 probes."""
_MAX_INTERACTIONS = 1_000_000
"""Interactions that the order probe reads; of more, a sample of users."""


@dataclass(frozen=True)
class Rate:
    """An observed share with what chance gives and the largest value that passes."""

    value: float
    chance: float
    threshold: float

    @property
    def passed(self) -> bool:
        """Whether it is within its threshold."""
        return self.value <= self.threshold


@dataclass(frozen=True)
class CandidateLeakage:
    """What candidate sets say about their targets."""

    slot_repeat: Rate
    """Share of pairs of rows with one target that show it at one position; chance 1 / n."""
    negative_overlap: Rate
    """Share of negatives that two rows with one target have in common; chance from how often each item is listed."""
    pairs: int
    """Pairs of rows with one target."""
    rules: tuple[BlindRule, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the candidate sets must not be published; empty when they may."""
        reasons: list[str] = []
        if not self.slot_repeat.passed:
            reasons.append(
                f"rows with the same target show it at the same position in {self.slot_repeat.value:.1%} of pairs "
                f"(chance {self.slot_repeat.chance:.1%}): the position is drawn from the target"
            )
        if not self.negative_overlap.passed:
            reasons.append(
                f"rows with the same target share {self.negative_overlap.value:.1%} of their negatives (chance "
                f"{self.negative_overlap.chance:.1%}): the negatives are drawn from the target"
            )
        reasons.extend(
            f"the blind rule {rule.name!r} finds {rule.hit_ratio:.1%} of the targets without reading a history "
            f"({rule.reference:.1%} by rights)"
            for rule in self.rules
            if not rule_passes(rule, self.slot_repeat.chance)
        )
        return tuple(reasons)

    @property
    def passed(self) -> bool:
        """Whether a reader who ignores the user learns no more than popularity from the lists."""
        return not self.reasons

    @property
    def detail(self) -> Mapping[str, int | float | str]:
        """Every number, and the reasons."""
        detail: dict[str, int | float | str] = {
            "reasons": "; ".join(self.reasons) or "none",
            "pairs_with_one_target": self.pairs,
        }
        for name, rate in (("slot_repeat", self.slot_repeat), ("negative_overlap", self.negative_overlap)):
            detail |= {name: rate.value, f"{name}_chance": rate.chance, f"{name}_threshold": rate.threshold}
        for rule in self.rules:
            detail |= {f"blind_{rule.name}": rule.hit_ratio, f"blind_{rule.name}_by_rights": rule.reference}
        return detail


def rule_passes(rule: BlindRule, chance: float) -> bool:
    """Whether what a blind rule gains from the lists is noise, or less than half of chance.

    `popularity` always passes: that popular items are likelier targets is true of users, not of lists.
    """
    return rule.name == "popularity" or rule.excess <= max(0.5 * chance, _NOISE * rule.standard_error)


def candidate_leakage(candidate_sets: pl.DataFrame, histories: pl.DataFrame, *, n_items: int) -> CandidateLeakage:
    """Probes candidate sets: position and negatives that depend on the target, and blind rules that find it.

    Args:
        candidate_sets: row_id, candidates.
        histories: row_id, split, target of at least these rows; train rows tell what popularity alone can find.
        n_items: size of the catalogue.

    Raises:
        ValueError: candidate sets that do not fit the rows, or items outside the catalogue.
    """
    lists = candidate_lists(histories, candidate_sets)
    if int(lists.items.max()) >= n_items or int(lists.items.min()) < 0:
        raise ValueError(f"candidates must be 0 to {n_items - 1}, got {lists.items.min()} to {lists.items.max()}.")
    slot_repeat, negative_overlap, pairs = _same_target_pairs(lists, n_items)
    rules = blind_rules(histories, candidate_sets) if lists.row_id.size > 1 else []
    return CandidateLeakage(slot_repeat, negative_overlap, pairs, tuple(rules))


def _same_target_pairs(lists: CandidateLists, n_items: int) -> tuple[Rate, Rate, int]:
    """Slot repeats and shared negatives over all pairs of rows with one target, by counting: no pair is formed."""
    rows, n = lists.items.shape
    times = np.bincount(lists.target, minlength=n_items)
    pairs = int((times * (times - 1)).sum()) // 2
    slot_chance = 1.0 / n
    listed = np.bincount(lists.negatives.ravel(), minlength=n_items) / rows
    overlap_chance = float((listed**2).sum()) / max(n - 1, 1)
    if pairs == 0 or n < 2:
        return Rate(slot_chance, slot_chance, slot_chance), Rate(overlap_chance, overlap_chance, overlap_chance), pairs

    same_slot = np.unique(lists.target * n + lists.slot, return_counts=True)[1]
    slot_repeat = float((same_slot * (same_slot - 1)).sum()) / (2 * pairs)
    key = np.repeat(lists.target, n - 1) * n_items + lists.negatives.ravel()
    same_negative = np.unique(key, return_counts=True)[1]
    overlap = float((same_negative * (same_negative - 1)).sum()) / (2 * pairs * (n - 1))

    # For honest lists, whether two rows agree is independent from pair to pair, even where pairs have a row in common.
    def threshold(chance: float, draws: int) -> float:
        return 2.0 * chance + _NOISE * math.sqrt(chance * (1.0 - min(chance, 1.0)) / draws)

    return (
        Rate(slot_repeat, slot_chance, threshold(slot_chance, pairs)),
        Rate(overlap, overlap_chance, threshold(overlap_chance, pairs * (n - 1))),
        pairs,
    )


@dataclass(frozen=True)
class OrderLeakage:
    """Whether the order of a user's items is one of the items rather than of the user."""

    ascending: float
    """Share of neighbouring pairs of items whose ids rise; 0.5 by chance, 1 where the order is a sort by id."""
    both_orders: float
    """Share of repeated pairs of items that occur in both orders; 0 where the order is a total order over items."""
    both_orders_chance: float
    """The same, if each occurrence of a pair had a random order."""
    pairs: int
    repeated_pairs: int

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the order must not pass for time; empty when it may."""
        reasons: list[str] = []
        noise = _NOISE * 0.5 / math.sqrt(max(self.pairs, 1))
        if abs(self.ascending - 0.5) > max(0.45, noise):
            direction = "rise" if self.ascending > 0.5 else "fall"
            share = max(self.ascending, 1.0 - self.ascending)
            reasons.append(f"item ids {direction} in {share:.1%} of neighbouring pairs: the order is a sort by item id")
        expected = self.both_orders_chance * self.repeated_pairs
        if expected >= 20 and self.both_orders < 0.05 * self.both_orders_chance:
            reasons.append(
                f"of {self.repeated_pairs:,} repeated pairs of items {self.both_orders:.2%} occur in both orders "
                f"(chance {self.both_orders_chance:.1%}): the order is one over items, the same for every user"
            )
        return tuple(reasons)

    @property
    def passed(self) -> bool:
        """Whether the order can be one in time."""
        return not self.reasons

    @property
    def detail(self) -> Mapping[str, int | float | str]:
        """Every number, and the reasons."""
        return {
            "reasons": "; ".join(self.reasons) or "none",
            "ascending": self.ascending,
            "both_orders": self.both_orders,
            "both_orders_chance": self.both_orders_chance,
            "pairs": self.pairs,
            "repeated_pairs": self.repeated_pairs,
        }


def order_leakage(interactions: pl.DataFrame, *, within: int = 5) -> OrderLeakage:
    """Probes the order of interactions: is it really one in time?

    Args:
        interactions: user_id, item_id, each user's rows in the order to be probed.
        within: how far apart in a user's order two items may be to count as a pair.
    """
    users = interactions.select("user_id").unique().sort("user_id")
    if interactions.height > _MAX_INTERACTIONS:
        draws = uniform_draws(
            0, "order probe", users["user_id"].to_numpy().astype(np.int64), np.zeros(1, dtype=np.int64)
        )
        sampled = users.filter(pl.Series(draws < _MAX_INTERACTIONS / interactions.height))
        interactions = interactions.join(sampled, on="user_id", how="semi", maintain_order="left")
    first, later = pl.col("item_id"), [pl.col("item_id").shift(-lag).over("user_id") for lag in range(1, within + 1)]
    pairs = pl.concat(
        [interactions.select(lag=lag, first=first, second=second) for lag, second in enumerate(later, start=1)]
    ).filter(pl.col("second").is_not_null() & (pl.col("first") != pl.col("second")))
    rises = pl.col("first") < pl.col("second")
    neighbours = pairs.filter(pl.col("lag") == 1).select(rises).to_series().to_numpy()
    repeated = (
        pairs.group_by(
            pl.min_horizontal("first", "second").alias("low"), pl.max_horizontal("first", "second").alias("high")
        )
        .agg(times=pl.len(), rising=rises.sum())
        .filter(pl.col("times") >= 2)
    )
    both = (repeated["rising"] > 0) & (repeated["rising"] < repeated["times"])
    times = repeated["times"].to_numpy().astype(np.float64)
    return OrderLeakage(
        ascending=float(neighbours.mean()) if neighbours.size else 0.5,
        both_orders=float(both.sum()) / max(repeated.height, 1),
        both_orders_chance=float((1.0 - 2.0 ** (1.0 - times)).sum()) / max(repeated.height, 1),
        pairs=int(neighbours.size),
        repeated_pairs=repeated.height,
    )


@dataclass(frozen=True)
class OverlapLeakage:
    """Held-out rows that train has word for word."""

    rows: int
    """Held-out rows with a history long enough to tell."""
    repeated: int
    """Of them, those whose history and target are together a train row's."""
    longest: int
    """The length of the longest such history; 0 when there is none."""

    @property
    def share(self) -> float:
        """Of held-out rows, those repeated."""
        return self.repeated / max(self.rows, 1)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the split must not be published; empty when it may."""
        if self.repeated <= max(1, 0.01 * self.rows):
            return ()
        return (
            f"{self.repeated:,} of {self.rows:,} held-out rows ({self.share:.1%}) have the history and target of a "
            f"train row, histories of up to {self.longest} items: train holds the answers",
        )

    @property
    def passed(self) -> bool:
        """Whether train holds at most a hundredth of the answers."""
        return not self.reasons

    @property
    def detail(self) -> Mapping[str, int | float | str]:
        """Every number, and the reasons."""
        return {
            "reasons": "; ".join(self.reasons) or "none",
            "rows": self.rows,
            "repeated": self.repeated,
            "share": self.share,
            "longest": self.longest,
        }


def overlap_leakage(histories: pl.DataFrame, *, min_length: int = 3) -> OverlapLeakage:
    """Probes for held-out rows that are train rows: the same history, item for item, and the same target.

    Args:
        histories: split, history, target.
        min_length: shorter histories are passed over: two users begin with the same two items by chance.
    """
    key = pl.struct("history", "target").hash().alias("key")
    length = pl.col("history").list.len().alias("length")
    long = histories.filter(length >= min_length).select("split", key, length)
    held_out = long.filter(pl.col("split") != "train")
    repeated = held_out.join(long.filter(pl.col("split") == "train"), on="key", how="semi")
    longest = repeated["length"].to_numpy().max(initial=0)
    return OverlapLeakage(rows=held_out.height, repeated=repeated.height, longest=int(longest))
