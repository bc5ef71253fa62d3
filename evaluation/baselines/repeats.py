"""Rules that repeat the history: its latest items, or its most frequent ones. What they reach needs no model.

Dimension key: r rows, i items of the catalogue, c distinct cells (row, item of its history).
"""

from typing import Literal, get_args

import numpy as np
import polars as pl

from evaluation.arrays import Floats
from evaluation.baselines.ranked import ScoreRows, Scores

RepeatRule = Literal["repeat_last", "repeat_frequent"]
REPEAT_RULES: tuple[RepeatRule, ...] = get_args(RepeatRule)


def repeat_cells(rows: pl.DataFrame, rule: RepeatRule) -> tuple[pl.DataFrame, Floats]:
    """The distinct items of each history, and the score of each, 1 or more, shape [c].

    Args:
        rows: history, oldest first.
        rule: `repeat_last`: the later an item was touched last, the higher. `repeat_frequent`: the more often it was
            touched, the higher, and of equals the later one.

    Returns:
        row (its place among the rows) and item_id; and the scores. Of one row no two are equal.

    >>> rows = pl.DataFrame({"history": [[7, 5, 5, 6]]})
    >>> cells, scores = repeat_cells(rows, "repeat_frequent")
    >>> dict(zip(cells["item_id"].to_list(), scores.tolist())) == {7: 1.0, 6: 1.75, 5: 2.5}
    True
    """
    lengths = rows["history"].list.len()
    cells = rows.select(row=pl.int_range(pl.len()), item_id="history", length=lengths).explode("item_id")
    cells = cells.with_columns(place=pl.int_range(pl.len()).over("row"))
    found = cells.group_by("row", "item_id", maintain_order=True).agg(
        pl.col("place").max().alias("last"), pl.len().alias("times"), pl.col("length").first()
    )
    last, length = found["last"].to_numpy().astype(np.float64), found["length"].to_numpy()
    scores = last + 1.0 if rule == "repeat_last" else found["times"].to_numpy() + last / length
    return found.select("row", "item_id"), scores


def fit_repeats(rule: RepeatRule, *, n_items: int) -> ScoreRows:
    """Scores the items of a row's history by a rule, all others 0. Learns nothing."""

    def score(rows: pl.DataFrame) -> Scores:
        cells, scores = repeat_cells(rows, rule)
        found = np.zeros((rows.height, n_items), dtype=np.float32)
        found[cells["row"].to_numpy(), cells["item_id"].to_numpy()] = scores
        return found

    return score
