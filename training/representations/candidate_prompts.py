"""The candidates that prompts list: those of validation and test rows are given, those of train rows are drawn here.

A train row lists its target among items that its user did not touch in train, drawn uniformly: held-out items are
neither forced in nor kept out, as among mined negatives. The draw and its order are hashes of only the
row id: no seed of an experiment, no other row, and not which of the user's items is the target. So every command
finds the same list for a row, and a log-probability of one command holds in another. Dimensions: r rows, n candidates.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from contracts.distinct import ABSENT
from contracts.draws import random_bits
from training.io.ragged import Ragged
from training.io.readers import read_candidate_sets, read_lists, read_touched
from training.io.rows import PreferenceRows, Rows
from training.negatives.drawn import draw_uniform, touched_or_target
from training.representations import Representation

SEED = 0
"""Of the lists, not of an experiment: every run on a data set has the same ones."""
CELLS = 2**24
"""Rows × items of the catalogue that are looked at together."""


def with_drawn(
    rows: Rows,
    vocabulary: Representation,
    interactions: Path | None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Rows:
    """Train rows with the candidates of their prompts; as they are, where prompts list none.

    Args:
        rows: of train.
        vocabulary: says how many candidates a prompt lists.
        interactions: the table; only its train part is read.
        progress: told what is done, how much of it, and of how much.

    Raises:
        ValueError: no table, or a user who left too few items untouched.
    """
    n = vocabulary.n_candidates
    if n == 0:
        return rows
    if interactions is None:
        raise ValueError("interactions must be a table where prompts list candidates, got none. Name its file.")
    n_items = vocabulary.n_items
    touched = read_touched(interactions, int(rows.user_id.max(initial=-1)) + 1, n_items)
    lists = np.empty((len(rows), n), dtype=np.int32)
    step = max(1, CELLS // n_items)
    for start in range(0, len(rows), step):
        part = rows.take(np.arange(start, min(start + step, len(rows))))
        is_excluded = touched_or_target(touched, part, n_items)
        others = draw_uniform(is_excluded, part.row_id, n - 1, SEED, stream="candidates in prompts")
        is_short = (others == ABSENT).any(axis=1)
        if is_short.any():
            user, left = part.user_id[is_short.argmax()], n_items - is_excluded[is_short.argmax()].sum()
            raise ValueError(
                f"representation.candidates must leave each train row n - 1 = {n - 1} items its user did not touch in "
                f"train, got {left} of {n_items} for user {user}. Lower n, or bring a larger catalogue."
            )
        listed = np.concatenate([part.target[:, None], others], axis=1)
        place = random_bits(SEED, "order of candidates in prompts", part.row_id[:, None], np.arange(n))
        lists[start : start + len(part)] = np.take_along_axis(listed, np.argsort(place, axis=1, kind="stable"), axis=1)
        if progress is not None:
            progress("lists", start + len(part), len(rows))
    return _listing(rows, Ragged(lists.reshape(-1), np.arange(len(rows) + 1) * n))


def with_given(rows: Rows, vocabulary: Representation, candidate_sets: Path | None) -> Rows:
    """Validation or test rows with the candidates of their prompts; as they are, where prompts list none.

    Raises:
        ValueError: no table, a row without candidates, or another number of them than prompts list.
    """
    if vocabulary.n_candidates == 0:
        return rows
    path = _required(candidate_sets)
    candidates = read_candidate_sets(path, rows, vocabulary.n_items)
    _refuse_other_lengths(candidates, vocabulary.n_candidates, path)
    return _listing(rows, candidates)


def refuse_unlisted(rows: Rows, preferences: PreferenceRows, path: Path) -> None:
    """Stops where a row rejects what its prompt does not list: a policy says nothing of it after that prompt.

    Raises:
        ValueError: naming row and item.
    """
    if rows.candidates is None:
        return
    rejected, row = preferences.rejected, preferences.row[preferences.rejected.owners]
    is_unlisted = (rows.candidates.padded(ABSENT)[row] != rejected.values[:, None]).all(axis=1)
    if is_unlisted.any():
        item, row_id = rejected.values[is_unlisted][0], rows.row_id[row[is_unlisted]][0]
        raise ValueError(
            f"rejected items in {path} must be candidates that the row's prompt lists; {int(is_unlisted.sum())} break "
            f"this, the first is item {item} of row {row_id}. Mine them with this policy."
        )


def refuse_long_lists(vocabulary: Representation, context: int, candidate_sets: Path | None) -> None:
    """Stops before anything is trained where a list to be scored later would not fit the context.

    Raises:
        ValueError: no table, another number of candidates than prompts list, or a list that does not fit.
    """
    if vocabulary.n_candidates == 0:
        return
    path = _required(candidate_sets)
    lists = read_lists(path, "candidates", vocabulary.n_items)
    _refuse_other_lengths(lists, vocabulary.n_candidates, path)
    nothing = Ragged(np.zeros(0, dtype=np.int32), np.zeros(len(lists) + 1, dtype=np.int64))
    vocabulary.fit(nothing, context, lists)


def _required(candidate_sets: Path | None) -> Path:
    if candidate_sets is None:
        raise ValueError("candidate_sets must be a table where prompts list candidates, got none. Name its file.")
    return candidate_sets


def _refuse_other_lengths(lists: Ragged, n: int, path: Path) -> None:
    if (lists.lengths != n).any():
        raise ValueError(
            f"candidates in {path} must be {n}, as prompts list so many, got {lists.lengths[lists.lengths != n][0]}. "
            "Give representation.candidates.n and the data set's candidates.n the same value."
        )


def _listing(rows: Rows, candidates: Ragged) -> Rows:
    return Rows(rows.row_id, rows.user_id, rows.history, rows.target, candidates)
