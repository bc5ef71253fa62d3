"""Rules that find targets from candidate sets without knowing the user: the floor under every score on them.

Each rule learns from the lists of half the rows and guesses the targets of the other half, both ways; it never sees a
history. Equal guesses share the hit, so a rule that knows nothing scores exactly chance. No list is to blame for what
a rule gains from popularity: its `reference` is the same rule with the link between a list and its target broken, and
the difference is what the lists give away.
Dimension key: r rows judged, m rows remembered, n candidates.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from contracts.draws import cell_uniforms
from evaluation.arrays import Floats
from evaluation.baselines.candidate_lists import CandidateLists, candidate_lists
from evaluation.baselines.list_rules import shared_hits, shared_list_scores, slot_scores

_MAX_PAIRS = 200_000
"""(candidate, remembered list) pairs that the shared-list rule compares; beyond it, fewer rows are judged."""


@dataclass(frozen=True)
class BlindRule:
    """How often one rule that ignores the user finds the target, and how often it may."""

    name: str
    hit_ratio: float
    reference: float
    """The hit ratio of the same rule where lists say nothing about their targets."""
    standard_error: float
    """The standard error of hit_ratio - reference, over rows."""
    rows: int

    @property
    def excess(self) -> float:
        """The share of rows that the lists give away."""
        return self.hit_ratio - self.reference


def blind_rules(
    histories: pl.DataFrame | pl.LazyFrame, candidate_sets: pl.DataFrame, compared: CandidateLists | None = None
) -> list[BlindRule]:
    """Every rule on the given candidate sets.

    Args:
        histories: row_id, split, target of at least the rows that have candidate sets; train rows give popularity.
        candidate_sets: row_id, candidates.
        compared: the same lists as `shared_list` compares them, where they differ.

    Returns:
        `popularity`: the candidate most often a target. `slot`: the position that most often holds the target.
        `item_slot`: the candidate most often a target at its position. `shared_list`: the candidate whose own list,
        when it was a target, had most negatives in common with this one. `rarely_listed`: the candidate least often a
        negative.
    """
    lists = candidate_lists(histories, candidate_sets)
    trained = _trained(histories, int(lists.items.max()) + 1)
    compared = lists if compared is None else compared
    room = np.zeros(max(trained.size, int(compared.items.max()) + 1))  # `shared_list` reads only its size

    shuffled = np.argsort(cell_uniforms(0, "blind halves", lists.row_id, np.zeros(1, dtype=np.int64)), kind="stable")
    halves = shuffled[::2], shuffled[1::2]
    if not halves[1].size:
        raise ValueError("blind rules need 2 rows or more: they learn from some and guess the others.")
    unlinked_names = [f"{name}, unlinked" for name in _UNLINKED]
    guesses: dict[str, list[Floats]] = {name: [] for name in (*_RULES, *unlinked_names, "unpopularity")}
    for judged, memory in ((halves[0], halves[1]), (halves[1], halves[0])):
        rows, known = lists.part(judged), lists.part(memory)
        of_rule = {name: (rows, known, trained) for name in _RULES}
        of_rule["shared_list"] = compared.part(judged), compared.part(memory), room
        for name, rule in _RULES.items():
            guesses[name].append(shared_hits(rule(*of_rule[name]), rows))
        guesses["unpopularity"].append(shared_hits(-_popularity(rows, known, trained), rows))
        for name, unlinked in _UNLINKED.items():
            judged_rows, memories, counts = of_rule[name]
            hits = shared_hits(_RULES[name](judged_rows, unlinked(memories), counts), rows)
            guesses[f"{name}, unlinked"].append(hits)
    found = {name: np.concatenate(parts) for name, parts in guesses.items()}
    by_chance = np.full(lists.row_id.size, 1.0 / lists.items.shape[1])
    # A rarely listed item may just be one that most users have touched, which popularity finds by rights; or, where
    # negatives are drawn by popularity, one that few have: by rights too, but no more than a tenth of the way up.
    unpopular = found["unpopularity"] * min(
        1.0, _by_unpopularity(by_chance[0]) / max(found["unpopularity"].mean(), 1e-9)
    )
    by_popularity = max(found["popularity"], unpopular, by_chance, key=lambda hits: float(hits.mean()))
    references = {
        "popularity": by_chance,
        "slot": by_chance,
        "item_slot": found["item_slot, unlinked"],
        "shared_list": found["shared_list, unlinked"],
        "rarely_listed": by_popularity,
    }
    return [_rule(name, found[name], reference) for name, reference in references.items()]


def _by_unpopularity(chance: float) -> float:
    """The most that lists may tell by holding many popular items."""
    return chance + 0.1 * (1.0 - chance)


def _trained(histories: pl.DataFrame | pl.LazyFrame, n_items: int) -> Floats:
    """Counts the train rows with each item as their target; at least `n_items` counts."""
    in_train = histories.lazy().filter(pl.col("split") == "train").group_by("target").len()
    counts = in_train.collect(engine="streaming")
    targets = counts["target"].to_numpy().astype(np.int64)
    trained = np.zeros(max(n_items, int(targets.max(initial=-1)) + 1))
    trained[targets] = counts["len"].to_numpy()
    return trained


def _rule(name: str, hits: Floats, reference: Floats) -> BlindRule:
    is_judged = ~np.isnan(hits)
    hits, reference = hits[is_judged], reference[is_judged]
    error = float((hits - reference).std() / np.sqrt(hits.size))
    return BlindRule(name, float(hits.mean()), float(reference.mean()), error, int(hits.size))


ScoreCandidates = Callable[[CandidateLists, CandidateLists, Floats], Floats]
"""(rows to judge, rows remembered, train count of each item) → scores [r n]; a row of NaN is not judged."""


def _popularity(rows: CandidateLists, memory: CandidateLists, trained: Floats) -> Floats:
    counts = trained + np.bincount(memory.target, minlength=trained.size)
    return counts[rows.items]


def _slot(rows: CandidateLists, memory: CandidateLists, trained: Floats) -> Floats:
    return slot_scores(rows, memory)


def _item_slot(rows: CandidateLists, memory: CandidateLists, trained: Floats) -> Floats:
    n = rows.items.shape[1]
    counts = np.bincount(memory.target * n + memory.slot, minlength=trained.size * n).astype(np.float64)
    return counts[rows.items * n + np.arange(n)]


def _shared_list(rows: CandidateLists, memory: CandidateLists, trained: Floats) -> Floats:
    return shared_list_scores(rows, memory, n_items=trained.size, most_pairs=_MAX_PAIRS)


def _rarely_listed(rows: CandidateLists, memory: CandidateLists, trained: Floats) -> Floats:
    return -np.bincount(memory.negatives.ravel(), minlength=trained.size)[rows.items].astype(np.float64)


_RULES: dict[str, ScoreCandidates] = {
    "popularity": _popularity,
    "slot": _slot,
    "item_slot": _item_slot,
    "shared_list": _shared_list,
    "rarely_listed": _rarely_listed,
}


def _other_slots(memory: CandidateLists) -> CandidateLists:
    """Each target moved to the slot that the next row's target has: as many targets per slot, none by its own."""
    slot, other = memory.slot, np.roll(memory.slot, 1)
    items = memory.items.copy()
    place = np.arange(slot.size)
    items[place, slot], items[place, other] = items[place, other], items[place, slot]
    return CandidateLists(memory.row_id, memory.target, items)


def _other_lists(memory: CandidateLists) -> CandidateLists:
    """Each target with the negatives of the next row: the same lists and targets, without their link."""
    negatives = np.roll(memory.negatives, 1, axis=0)
    # A target may be among the next row's negatives; -1 names no item, and keeps one target in each list.
    negatives = np.where(negatives == memory.target[:, None], -1, negatives)
    return CandidateLists(memory.row_id, memory.target, np.column_stack([memory.target, negatives]))


_UNLINKED: dict[str, Callable[[CandidateLists], CandidateLists]] = {
    "item_slot": _other_slots,
    "shared_list": _other_lists,
}
