"""Floors that read how candidate lists were made, and nothing of the user, the items or their popularity.

Lists that are drawn fairly leave them at chance; what they reach beyond it, the lists give away. A rule remembers the
lists and targets of half of the rows and ranks the candidates of the other half, both ways. They have no opinion on
the full catalogue, hence no such rows. `evaluation.leakage.blind` measures the
same leaks with its references and errors.
Dimension key: r rows, m rows remembered, n candidates, i items.
"""

from typing import Literal

import numpy as np
import polars as pl

from evaluation.baselines.candidate_lists import CandidateLists, candidate_lists
from evaluation.baselines.ranked import ranked_lists, uniform_draws

ListRule = Literal["slot", "shared_list"]

_MAX_MEMORIES = 10
"""Remembered lists of one target that a list is compared with: the same bound as the probes have."""


def list_floor_predictions(
    histories: pl.DataFrame, candidate_sets: pl.DataFrame, *, rule: ListRule, n_items: int, seed: int
) -> pl.DataFrame:
    """The predictions table of a floor, of the candidate protocol alone, sorted by row_id.

    Args:
        histories: row_id, split, target.
        candidate_sets: row_id, candidates.
        rule: `slot`: how often the target stood at a position. `shared_list`: how many negatives the list has in common
            with the most similar list in which the candidate was the target.
        n_items: size of the catalogue.
        seed: of the division of the rows in two halves.
    """
    rows = histories.filter(pl.col("split") != "train").select("row_id", "target")
    lists = candidate_lists(rows, candidate_sets)
    order = np.argsort(uniform_draws(seed, "list floors", lists.row_id, np.zeros(1, dtype=np.int64)), kind="stable")
    halves = order[::2], order[1::2]
    scores = np.zeros(lists.items.shape, dtype=np.float32)
    for judged, memory in (halves, halves[::-1]):
        if judged.size and memory.size:
            known = lists.part(memory)
            part = lists.part(judged)
            scores[judged] = _slot(part, known) if rule == "slot" else _shared_list(part, known, n_items)
    return ranked_lists(scores, lists, n_items=n_items)


def _slot(rows: CandidateLists, memory: CandidateLists) -> np.ndarray:
    counts = np.bincount(memory.slot, minlength=rows.items.shape[1])
    return np.broadcast_to(counts, rows.items.shape)


def _shared_list(rows: CandidateLists, memory: CandidateLists, n_items: int) -> np.ndarray:
    by_target = np.argsort(memory.target, kind="stable")
    starts = np.searchsorted(memory.target[by_target], np.arange(n_items + 1))
    negatives = memory.negatives
    scores = np.zeros(rows.items.shape)
    for place, candidates in enumerate(rows.items):
        is_listed = np.zeros(n_items, dtype=np.bool_)
        is_listed[candidates] = True
        first, last = starts[candidates], np.minimum(starts[candidates + 1], starts[candidates] + _MAX_MEMORIES)
        for column in np.flatnonzero(last > first):
            remembered = negatives[by_target[first[column] : last[column]]]
            scores[place, column] = is_listed[remembered].sum(axis=1).max()
    return scores
