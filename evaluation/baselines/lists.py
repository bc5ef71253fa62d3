"""Floors that read how candidate lists were made, and nothing of the user, the items or their popularity.

Fairly drawn lists leave them at chance; the lists give away what they reach beyond it. A rule remembers the lists and
targets of half of the rows and ranks the candidates of the other half, both ways. They cannot rank the full catalogue,
so they have no such rows. `evaluation.leakage.blind` measures the same leaks with references and errors.
"""

from typing import Literal

import numpy as np
import polars as pl

from contracts.draws import cell_uniforms
from evaluation.baselines.candidate_lists import candidate_lists
from evaluation.baselines.list_rules import shared_list_scores, slot_scores
from evaluation.baselines.ranked import ranked_lists

ListRule = Literal["slot", "shared_list"]


def list_floor_predictions(
    histories: pl.DataFrame, candidate_sets: pl.DataFrame, *, rule: ListRule, n_items: int, seed: int
) -> pl.DataFrame:
    """The predictions table of a floor under the candidate protocol, sorted by row_id.

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
    order = np.argsort(cell_uniforms(seed, "list floors", lists.row_id, np.zeros(1, dtype=np.int64)), kind="stable")
    halves = order[::2], order[1::2]
    scores = np.zeros(lists.items.shape, dtype=np.float32)
    for judged, memory in (halves, halves[::-1]):
        if judged.size and memory.size:
            known = lists.part(memory)
            part = lists.part(judged)
            # A candidate without a remembered list has nothing in common with one: 0, not the -1 of the rule.
            scores[judged] = (
                slot_scores(part, known)
                if rule == "slot"
                else np.maximum(shared_list_scores(part, known, n_items=n_items), 0.0)
            )
    return ranked_lists(scores, lists)
