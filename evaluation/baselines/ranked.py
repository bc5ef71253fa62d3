"""From scores to a predictions table, on the same rows and protocols as every policy.

A baseline gives each (row, item) a score; what follows is one path for all of them. Full-catalogue lists leave out the
items of the row's history, never the target; where the data set keeps repeats, they leave out nothing. A baseline that
counts breaks its own ties, by popularity, then by item id: on sparse logs most scores are 0. Other equal scores are
ordered by item id with the target last, so a baseline that cannot tell items apart earns nothing from it.
Dimension key: r rows, i items of the catalogue, n candidates.
"""

from collections.abc import Callable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from contracts.ranks import EXCLUDED, TARGET, Keys, best_first, items_of, ranking_keys, ranks_of, scores_of
from contracts.words import FULL, of_candidates
from evaluation.arrays import Ids
from evaluation.baselines.candidate_lists import CandidateLists, candidate_lists
from evaluation.metrics.ranking import PREDICTIONS_SCHEMA

Scores = NDArray[np.float32]

ScoreItems = Callable[[Ids, Ids], Scores]
"""(row_id [r 1], item_id [1 i] or [r n]) → scores that broadcast to [r i] or [r n]."""

ScoreRows = Callable[[pl.DataFrame], Scores]
"""Some rows with row_id, user_id, split, history, target → the score of every item of the catalogue, [r i]."""

_CHUNK_CELLS = 2_000_000
"""(row, item) cells scored at a time: a few arrays of 16 MB."""


def ranked_predictions(
    score: ScoreItems,
    histories: pl.DataFrame,
    candidate_sets: pl.DataFrame,
    *,
    n_items: int,
    top_k: int = 50,
    ties: Ids | None = None,
    keeps_repeats: bool = False,
) -> pl.DataFrame:
    """The predictions table of any scorer, for every validation and test row, sorted by row_id and protocol.

    Args:
        score: see `ScoreItems`.
        histories: row_id, split, history, target; train rows are passed over.
        candidate_sets: row_id, candidates.
        n_items: size of the catalogue.
        top_k: length of the full-catalogue lists.
        ties: all items, in the order in which equal scores come; by item id with the target last, when absent.
        keeps_repeats: whether full lists hold the items of the row's history too.

    Raises:
        ValueError: candidate sets of other rows, of uneven length, or that do not hold their target once.
    """
    if top_k < 1:
        raise ValueError(f"top_k must be 1 or more, got {top_k}.")
    rows = histories.filter(pl.col("split") != "train").select("row_id", "history", "target").sort("row_id")
    if rows.is_empty():
        raise ValueError("histories must hold validation or test rows, got none.")
    lists = candidate_lists(rows, candidate_sets)
    if lists.row_id.size != rows.height:
        raise ValueError(
            f"candidate_sets must hold each of the {rows.height} validation and test rows, got {lists.row_id.size}. "
            "Draw them from these histories."
        )
    row_id, target, candidates = lists.row_id, lists.target, lists.items
    if int(max(candidates.max(), target.max())) >= n_items:
        raise ValueError(f"item ids must be below n_items {n_items}, got {max(candidates.max(), target.max())}.")
    tables: list[pl.DataFrame] = []
    step = max(1, _CHUNK_CELLS // int(candidates.shape[1]))
    for start in range(0, row_id.size, step):
        part = lists.part(np.arange(start, min(start + step, row_id.size)))
        tables.append(ranked_lists(score(part.row_id[:, None], part.items), part, ties))
    catalogue = np.arange(n_items)[None, :]
    step = max(1, _CHUNK_CELLS // n_items)
    for start in range(0, row_id.size, step):
        part = slice(start, start + step)
        keys = _keys(score(row_id[part, None], catalogue), catalogue, target[part], ties)
        if not keeps_repeats:
            seen = rows[part].with_row_index("place").explode("history")
            seen = seen.filter(pl.col("history") != pl.col("target"))
            keys[_ids(seen["place"]), _ids(seen["history"])] = EXCLUDED
        tables.append(_table(keys, catalogue == target[part, None], row_id[part], FULL, top_k, ties))
    return pl.concat(tables).sort("row_id", "protocol")


def ranked_lists(scores: Scores, lists: CandidateLists, ties: Ids | None = None) -> pl.DataFrame:
    """The predictions table of scored candidate sets, scores [r n], in the order of `lists`; ties as above."""
    keys = _keys(scores, lists.items, lists.target, ties)
    n_candidates = int(lists.items.shape[1])
    is_target = lists.items == lists.target[:, None]
    return _table(keys, is_target, lists.row_id, of_candidates(n_candidates), n_candidates, ties)


def by_popularity(interactions: pl.DataFrame, *, n_items: int) -> Ids:
    """All items, those with most train interactions first, equals by item id: the order of ties of what counts."""
    in_train = interactions.filter(pl.col("split") == "train")
    return np.argsort(-np.bincount(_ids(in_train["item_id"]), minlength=n_items), kind="stable")


def row_predictions(
    score_rows: ScoreRows,
    histories: pl.DataFrame,
    candidate_sets: pl.DataFrame,
    *,
    n_items: int,
    top_k: int = 50,
    ties: Ids | None = None,
    keeps_repeats: bool = False,
) -> pl.DataFrame:
    """The predictions table of a scorer that reads the row: its user or its history. Otherwise `ranked_predictions`."""
    rows = histories.filter(pl.col("split") != "train").sort("row_id")
    row_ids = _ids(rows["row_id"])
    step = max(1, _CHUNK_CELLS // n_items)

    def score(row_id: Ids, item_id: Ids) -> Scores:
        places = np.searchsorted(row_ids, row_id[:, 0])
        found = np.empty((row_id.shape[0], item_id.shape[1]), dtype=np.float32)
        for start in range(0, places.size, step):
            part = slice(start, start + step)
            of_catalogue = score_rows(rows[places[part]])
            items = item_id if item_id.shape[0] == 1 else item_id[part]
            found[part] = np.take_along_axis(
                of_catalogue, np.broadcast_to(items, (len(of_catalogue), items.shape[1])), 1
            )
        return found

    return ranked_predictions(
        score, histories, candidate_sets, n_items=n_items, top_k=top_k, ties=ties, keeps_repeats=keeps_repeats
    )


def _ids(column: pl.Series) -> Ids:
    return column.to_numpy().astype(np.int64)


def _keys(scores: Scores, item_id: Ids, target: Ids, ties: Ids | None) -> Keys:
    """One key for each cell: of its score and its place among ties, or its item with the row's target marked."""
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite numbers, got NaN or infinity. Mend the scorer.")
    if ties is not None:
        place = np.empty_like(ties)
        place[ties] = np.arange(ties.size)
        keys = ranking_keys(scores, place[item_id])
        return np.broadcast_to(keys, (target.size, keys.shape[1])).copy()  # one line may hold for all rows
    keys = ranking_keys(scores, item_id)
    return keys | np.where(item_id == target[:, None], TARGET, np.uint64(0))


def _table(
    keys: Keys, is_target: NDArray[np.bool_], row_id: Ids, protocol: str, length: int, ties: Ids | None
) -> pl.DataFrame:
    """Ranks and lists from the keys of some rows, shape [r i]."""
    of_target = np.where(is_target, keys, EXCLUDED).min(axis=1)
    top = best_first(keys, length)
    is_kept = top != EXCLUDED
    items = items_of(top)
    place = np.repeat(np.arange(row_id.size), top.shape[1])
    cells = pl.DataFrame(
        {
            "place": place,
            "items": (items if ties is None else ties[np.where(is_kept, items, 0)]).ravel(),
            "scores": scores_of(top).ravel(),
            "kept": is_kept.ravel(),
        }
    )
    lists = cells.filter("kept").group_by("place", maintain_order=True).agg("items", "scores")
    rank = ranks_of(keys, of_target)
    named = [pl.Series("row_id", row_id), pl.lit(protocol).alias("protocol"), pl.Series("target_rank", rank)]
    return lists.with_columns(named).select(PREDICTIONS_SCHEMA.names()).cast(PREDICTIONS_SCHEMA)
