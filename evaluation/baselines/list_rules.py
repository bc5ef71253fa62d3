"""Rules that find targets by how candidate lists were made, from lists whose targets they remember.

The floors on the leaderboard and the leak probes ask the same rules. Rules that read histories do not belong here.
Dimension key: r rows judged, m rows remembered, n candidates, i items.
"""

import numpy as np

from evaluation.arrays import Floats
from evaluation.baselines.candidate_lists import CandidateLists

_MAX_MEMORIES = 10
"""Remembered lists per target: the closest of ten shows a seeded sampler as well as the closest of all."""
_CHUNK_PAIRS = 20_000


def slot_scores(rows: CandidateLists, memory: CandidateLists) -> Floats:
    """Scores a position by how many remembered targets it held, shape [r n]."""
    counts = np.bincount(memory.slot, minlength=rows.items.shape[1]).astype(np.float64)
    return np.broadcast_to(counts, rows.items.shape)


def shared_list_scores(
    rows: CandidateLists, memory: CandidateLists, *, n_items: int, most_pairs: int | None = None
) -> Floats:
    """Negatives in common with the closest remembered list of each candidate, as a target; -1 where there is none.

    Args:
        rows: to be judged.
        memory: the remembered lists.
        n_items: larger than any item of the lists.
        most_pairs: (candidate, remembered list) pairs to compare. Rows beyond them are NaN; the first is always judged.
    """
    n = rows.items.shape[1]
    by_target = np.argsort(memory.target, kind="stable")
    starts = np.searchsorted(memory.target[by_target], np.arange(n_items + 1))
    first = starts[rows.items]
    times = np.minimum(starts[rows.items + 1] - first, _MAX_MEMORIES)
    n_judged = rows.row_id.size
    if most_pairs is not None:
        n_judged = max(1, int(np.searchsorted(times.sum(axis=1).cumsum(), most_pairs, side="right")))
    scores = np.full(rows.items.shape, np.nan)
    scores[:n_judged] = -1.0
    times = times[:n_judged].ravel()
    n_pairs = int(times.sum())
    cell = np.repeat(np.arange(times.size), times)
    nth = np.arange(n_pairs) - np.repeat(times.cumsum() - times, times)
    remembered = by_target[first.ravel()[cell] + nth]
    negatives = memory.negatives
    for start in range(0, n_pairs, _CHUNK_PAIRS):
        part = slice(start, start + _CHUNK_PAIRS)
        row, place = np.divmod(cell[part], n)
        shared = (rows.items[row][:, :, None] == negatives[remembered[part]][:, None, :]).sum(axis=(1, 2))
        np.maximum.at(scores, (row, place), shared.astype(np.float64))
    return scores


def shared_hits(scores: Floats, rows: CandidateLists) -> Floats:
    """1 where no candidate scores as well as the target, 1/k where it shares the best score with k - 1 others, else 0.

    NaN where a row is not judged. Shapes [r n] → [r].
    """
    best = scores == scores.max(axis=1, keepdims=True)
    is_hit = best[np.arange(rows.row_id.size), rows.slot]
    return np.where(np.isnan(scores).any(axis=1), np.nan, is_hit / np.maximum(best.sum(axis=1), 1))
