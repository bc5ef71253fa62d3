"""Where a policy ranks the target of each row, and the lists it would recommend.

Dimensions: r rows, c candidates of a row.
"""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Int

from training.engine.catalogue_scores import catalogue_scores, item_scores
from training.engine.decoding import Found, search, trie_of
from training.engine.policy import Policy
from training.engine.rankings import (
    Ranking,
    padded_with_target,
    rank_candidates,
    rank_catalogue,
    refuse_unless_finite,
    target_ranks,
)
from training.engine.windows import find_windows
from training.io.ragged import Ragged
from training.io.rows import Rows

SEARCH_DEPTH = 100
"""Where an item is several tokens: a target that is not among so many best items counts as the last of all."""


@torch.no_grad()
def rank_targets(
    policy: Policy, rows: Rows, *, keeps_repeats: bool = False
) -> tuple[Int[np.ndarray, " r"], Float[np.ndarray, " r"]]:
    """Rank and log-probability of the target of every row, in the order of the rows.

    Ranks are in the catalogue, without the history unless the data set keeps repeats; among the candidates, where
    prompts list them.
    Where an item is several tokens, a beam is searched, and a rank beyond `SEARCH_DEPTH` is the last one: to tell such
    ranks apart, nearly the whole catalogue would have to be scored after each history.
    """
    rank, logp = np.zeros(len(rows), dtype=np.int64), np.zeros(len(rows), dtype=np.float32)
    rank_them = _rank_direct if policy.is_direct else _rank_by_search
    left_out = Ragged.empty(len(rows)) if keeps_repeats else rows.history
    ranked = rank_them(policy, rows, left_out) if rows.candidates is None else _rank_listed(policy, rows)
    for index, ranks, logps in ranked:
        rank[index], logp[index] = ranks, logps
    return rank, logp


@torch.no_grad()
def rank_rows(
    policy: Policy, rows: Rows, left_out: Ragged, candidates: Ragged, top_k: int
) -> Iterator[tuple[Int[np.ndarray, " r"], Ranking, Ranking | None]]:
    """For all rows, some at a time: their indices, the ranking of their candidates, and that of the catalogue.

    Both are exact; but where an item is several tokens, a rank in the catalogue beyond `SEARCH_DEPTH` and `top_k` is
    the last one, so that a mean of reciprocal ranks is a lower bound. Where prompts list candidates there is none of
    the catalogue: a prompt would give away what is near the answer.

    Args:
        policy: ranks.
        rows: histories fit the context.
        left_out: of each row what its catalogue lacks, unless it is the target: the whole history, or nothing where
            the data set keeps repeats.
        candidates: of each row, its target among them.
        top_k: length of the catalogue's ranking.
    """
    if policy.is_direct:
        for row, logps in catalogue_scores(policy, find_windows(rows)):
            scores, target = logps.cpu().numpy(), rows.target[row]
            of_candidates = rank_candidates(scores, target, candidates.take(row))
            yield row, of_candidates, rank_catalogue(scores, target, left_out.take(row), top_k)
        return
    if rows.candidates is not None:
        for row, table, logps in _listed_scores(policy, rows):
            yield row, _rank_listing(table, logps, rows.target[row]), None
        return
    table = candidates.padded(-1)
    logps = _asked_scores(policy, rows, np.where(table < 0, rows.target[:, None], table))
    of_target = logps[np.arange(len(rows)), (table == rows.target[:, None]).argmax(axis=1)]
    for row, of_catalogue in _searched(policy, rows, left_out, of_target, top_k, is_exact=True):
        yield row, _rank_listing(table[row], logps[row], rows.target[row]), of_catalogue


def _rank_direct(policy: Policy, rows: Rows, left_out: Ragged) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    for index, logps in catalogue_scores(policy, find_windows(rows)):
        target = rows.target[index]
        hidden = padded_with_target(left_out.take(index), target)
        ranks, logps_of_target = target_ranks(logps, policy.tensor(target).long(), policy.tensor(hidden))
        yield index, ranks.cpu().numpy(), logps_of_target.cpu().numpy()


def _rank_by_search(
    policy: Policy, rows: Rows, left_out: Ragged
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    logps = _asked_scores(policy, rows, rows.target[:, None].astype(np.int64))[:, 0]
    for row, ranking in _searched(policy, rows, left_out, logps, 1, is_exact=False):
        yield row, ranking.target_rank, logps[row]


def _rank_listed(policy: Policy, rows: Rows) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    for row, table, logps in _listed_scores(policy, rows):
        is_target = table == rows.target[row, None]
        of_target = logps[is_target]  # one of each row, in their order
        is_before = (logps >= of_target[:, None]) & (table >= 0) & ~is_target
        yield row, 1 + is_before.sum(axis=1), of_target


def _listed_scores(policy: Policy, rows: Rows) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Pass by pass: indices of rows, what their prompts list (padded with -1), and log-probabilities of that."""
    assert rows.candidates is not None  # asked for by nobody else
    table = rows.candidates.padded(-1)
    items = np.where(table < 0, rows.target[:, None], table)
    for row, logps in item_scores(policy, find_windows(rows), lambda row: items[row]):
        scores = logps.cpu().numpy()
        refuse_unless_finite(np.isfinite(scores))
        yield row, table[row], scores


def _rank_listing(
    table: Int[np.ndarray, "r c"], logps: Float[np.ndarray, "r c"], target: Int[np.ndarray, " r"]
) -> Ranking:
    """The ranking of candidates, padded with -1, by their log-probabilities."""
    is_candidate = table >= 0
    listed = Found(np.nonzero(is_candidate)[0], table[is_candidate], logps[is_candidate])
    return _ranking_of(listed, target, table.shape[1])


def _asked_scores(policy: Policy, rows: Rows, items: Int[np.ndarray, "r c"]) -> Float[np.ndarray, "r c"]:
    """Log-probabilities of the items asked for after each row's history."""
    scores = np.zeros(items.shape, dtype=np.float32)
    for row, logps in item_scores(policy, find_windows(rows), lambda row: items[row]):
        scores[row] = logps.cpu().numpy()
    refuse_unless_finite(np.isfinite(scores))
    return scores


def _searched(
    policy: Policy, rows: Rows, left_out: Ragged, target_logp: Float[np.ndarray, " r"], top_k: int, *, is_exact: bool
) -> Iterator[tuple[np.ndarray, Ranking]]:
    """Rankings of the catalogue, some rows at a time; a target that the search did not find is last."""
    n_items, trie = policy.vocabulary.n_items, trie_of(policy.vocabulary.completions)
    distinct = left_out.distinct()
    n_left_out = np.bincount(distinct.owners, minlength=len(rows))
    n_left_out -= np.bincount(distinct.owners[distinct.values == rows.target[distinct.owners]], minlength=len(rows))
    with policy.in_evaluation():
        for row, found in search(policy, trie, rows, left_out, max(top_k, SEARCH_DEPTH), is_exact=is_exact):
            target = rows.target[row].astype(np.int64)
            is_missed = np.ones(len(row), dtype=bool)
            is_missed[found.line[found.item == target[found.line]]] = False
            missed = np.flatnonzero(is_missed)
            found = Found.joined([found, Found(missed, target[missed], target_logp[row[missed]].astype(np.float64))])
            ranking = _ranking_of(found, target, top_k)
            ranking.target_rank[missed] = n_items - n_left_out[row[missed]]
            yield row, ranking


def _ranking_of(found: Found, target: Int[np.ndarray, " r"], top_k: int) -> Ranking:
    """Of the items found in each line, its target among them: the first `top_k`; ties by item id, the target last."""
    order = np.lexsort((found.item, found.line))
    line, item = found.line[order], found.item[order]
    counts = np.bincount(line, minlength=len(target))
    offsets = np.concatenate([[0], np.cumsum(counts)])
    width = int(counts.max())
    column = np.arange(len(line)) - offsets[line]
    scores, items = np.full((len(target), width), -np.inf, dtype=np.float32), np.full((len(target), width), -1)
    scores[line, column], items[line, column] = found.logp[order], item
    empty_line, empty_column = np.nonzero(items < 0)
    empty = np.concatenate([[0], np.cumsum(np.bincount(empty_line, minlength=len(target)))])
    ranking = rank_catalogue(
        scores, (items == target[:, None]).argmax(axis=1), Ragged(empty_column, empty.astype(np.int64)), top_k
    )
    listed = items[ranking.items.owners, ranking.items.values].astype(np.int32)
    return Ranking(Ragged(listed, ranking.items.offsets), ranking.scores, ranking.target_rank)
