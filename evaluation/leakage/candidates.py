"""Candidate probe: do the lists give their targets away to a reader who ignores the user?

Two lists with one target must agree no more than two others: a sampler seeded by the target shows it at one place,
among one company. And no rule that learns from half of the lists may find the targets of the other half, beyond what
the popularity of the items finds by rights.
Dimension key: r rows, n candidates.
"""

import math
from dataclasses import dataclass

import numpy as np
import polars as pl

from evaluation.baselines.candidate_lists import CandidateLists, candidate_lists
from evaluation.leakage.blind import BlindRule, blind_rules
from evaluation.leakage.probe import NOISE, LeakProbe, Numbers, Rate
from evaluation.leakage.sampling import Frame, collected, sampled_by

_MOST = 50_000
"""Lists that are read; of more, a sample."""


@dataclass(frozen=True)
class CandidateLeakage(LeakProbe):
    """The hints of candidate sets at their targets."""

    slot_repeat: Rate
    """Share of pairs of rows with one target that show it at one position; chance 1 / n."""
    negative_overlap: Rate
    """Share of negatives that two rows with one target have in common; chance from how often each item is listed."""
    pairs: int
    """Pairs of rows with one target."""
    rules: tuple[BlindRule, ...]
    rows: int
    """Lists that were read."""
    sample: float
    """Share of the lists that was read."""

    @property
    def reasons(self) -> tuple[str, ...]:
        """See `LeakProbe`."""
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
    def all_clear(self) -> str:
        """See `LeakProbe`."""
        return "The lists tell a reader who ignores the user no more than popularity."

    @property
    def numbers(self) -> Numbers:
        """See `LeakProbe`."""
        numbers: dict[str, int | float | str] = {
            "pairs_with_one_target": self.pairs,
            "lists_read": self.rows,
            "share_read": self.sample,
        }
        for name, rate in (("slot_repeat", self.slot_repeat), ("negative_overlap", self.negative_overlap)):
            numbers |= {name: rate.value, f"{name}_chance": rate.chance, f"{name}_threshold": rate.threshold}
        for rule in self.rules:
            numbers |= {f"blind_{rule.name}": rule.hit_ratio, f"blind_{rule.name}_by_rights": rule.reference}
        return numbers


def rule_passes(rule: BlindRule, chance: float) -> bool:
    """Whether what a blind rule gains from the lists is noise, or less than half of chance.

    `popularity` always passes: that popular items are likelier targets is true of users, not of lists.
    """
    # On a few rows all hits can be the same fraction: a spread of nothing then says nothing of the noise.
    error = max(rule.standard_error, math.sqrt(chance * (1.0 - chance) / max(rule.rows, 1)))
    return rule.name == "popularity" or rule.excess <= max(0.5 * chance, NOISE * error)


def candidate_leakage(
    candidate_sets: Frame, histories: Frame, *, n_items: int, keeps_repeats: bool = False
) -> CandidateLeakage:
    """Probes candidate sets: position and negatives that depend on the target, and blind rules that find it.

    Args:
        candidate_sets: row_id, candidates.
        histories: row_id, split, target of at least these rows; train rows tell which targets popularity finds.
        n_items: size of the catalogue.
        keeps_repeats: whether lists also hold items of the rows' histories (then `histories` has them). These agree by
            taste, which the lists are not to blame for: they are never in common.

    Raises:
        ValueError: candidate sets that do not fit the rows, or items outside the catalogue.
    """
    sampled, share = sampled_by(candidate_sets, "row_id", _MOST, stream="candidate probe")
    table = collected(sampled)
    lists = candidate_lists(histories, table)
    if int(lists.items.max()) >= n_items or int(lists.items.min()) < 0:
        raise ValueError(f"candidates must be 0 to {n_items - 1}, got {lists.items.min()} to {lists.items.max()}.")
    compared = _apart(lists, histories, n_items) if keeps_repeats else lists
    slot_repeat, negative_overlap, pairs = _same_target_pairs(compared, max(n_items, int(compared.items.max()) + 1))
    rules = blind_rules(histories, table, compared) if lists.row_id.size > 1 else []
    return CandidateLeakage(slot_repeat, negative_overlap, pairs, tuple(rules), lists.row_id.size, share)


def _apart(lists: CandidateLists, histories: Frame, n_items: int) -> CandidateLists:
    """The lists with an id of its own, beyond the catalogue, for each negative that is in the row's history."""
    rows = histories.lazy().join(pl.LazyFrame({"row_id": lists.row_id.astype(np.int32)}), on="row_id", how="semi")
    seen = collected(rows.select("row_id", "history")).explode("history")
    place = np.searchsorted(lists.row_id, seen["row_id"].to_numpy())
    cells = np.arange(lists.row_id.size)[:, None] * n_items + lists.items
    is_seen = np.isin(cells, place * n_items + seen["history"].to_numpy()) & (lists.items != lists.target[:, None])
    own = n_items + np.arange(lists.items.size).reshape(lists.items.shape)
    return CandidateLists(lists.row_id, lists.target, np.where(is_seen, own, lists.items))


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
        return 2.0 * chance + NOISE * math.sqrt(chance * (1.0 - min(chance, 1.0)) / draws)

    return (
        Rate(slot_repeat, slot_chance, threshold(slot_chance, pairs)),
        Rate(overlap, overlap_chance, threshold(overlap_chance, pairs * (n - 1))),
        pairs,
    )
