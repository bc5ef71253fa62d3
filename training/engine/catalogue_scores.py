"""Log-probabilities of the whole catalogue for many rows, and exact ranks. Dimensions: r rows, i items, k list length.

A row's scores must not depend on which rows are scored beside it: rounding differs between matrix shapes, so every pass
has one of a few fixed shapes, chosen by the length of the row's trunk, and the output layer sees blocks of one size.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt64
from torch import Tensor

from training.engine.attention import Layout, Memory, Packing
from training.engine.decoding import Found, search, trie_of
from training.engine.logps import catalogue_logps, path_logps
from training.engine.policy import Policy
from training.engine.tree import Nodes, Predictions, grow, lay_branches
from training.engine.windows import ItemsOf, Windows, cut, find_windows, lay_out
from training.io.ragged import Ragged
from training.io.rows import Rows

WIDTH_STEP = 8
"""Trunks are padded to the next multiple of this many tokens."""
PASS_TOKENS = 8192
"""Tokens of one pass: as many lines of the padded width as fit."""
BLOCK_ROWS = 512
"""Rows of one output block."""
SEARCH_DEPTH = 100
"""Where an item is several tokens: a target that is not among so many best items counts as the last of all."""
TRIE_TOKENS = 8192
"""Tokens of the items whose trie is one pass, counted as if they shared nothing."""
TRIE_LINES = 16
"""Most prompts in a pass that the trie is walked behind."""


@torch.no_grad()
def catalogue_scores(policy: Policy, windows: Windows) -> Iterator[tuple[Int[np.ndarray, " r"], Float[Tensor, "r i"]]]:
    """For all rows, block by block: indices of rows, and their log-probabilities over the catalogue (nats, float32).

    With one token an item, one state behind a history is all; otherwise the trie of the catalogue is walked after each.
    """
    was_training = policy.model.training
    policy.model.eval()
    try:
        yield from (_direct_scores if policy.is_direct else _trie_scores)(policy, windows)
    finally:
        policy.model.train(was_training)


@torch.no_grad()
def item_scores(
    policy: Policy, windows: Windows, items_of: ItemsOf
) -> Iterator[tuple[Int[np.ndarray, " r"], Float[Tensor, "r c"]]]:
    """For all rows, pass by pass: indices of rows, and the log-probabilities of the items asked for (nats, float32)."""
    if policy.is_direct:  # one state scores them all
        for row, logps in catalogue_scores(policy, windows):
            yield row, logps.gather(1, policy.tensor(items_of(row)).long())
        return
    was_training = policy.model.training
    policy.model.eval()
    try:
        for part in cut(windows, policy.vocabulary, items_of, max_tokens=PASS_TOKENS, max_rows=len(windows.rows)):
            trunks = lay_out(windows, part, policy.vocabulary)
            yield trunks.row, policy.item_logps(trunks, items_of(trunks.row)).float()
    finally:
        policy.model.train(was_training)


def _direct_scores(policy: Policy, windows: Windows) -> Iterator[tuple[np.ndarray, Tensor]]:
    widths = windows.rows.history.lengths[windows.trunk_row] + 1
    widths = -(-widths // WIDTH_STEP) * WIDTH_STEP
    waiting_rows: list[np.ndarray] = []
    waiting_states: list[Tensor] = []
    n_waiting = 0
    for width in np.unique(widths)[::-1].tolist():
        chosen = np.flatnonzero(widths == width)
        lines = max(1, PASS_TOKENS // width)
        for start in range(0, len(chosen), lines):
            trunks = lay_out(windows, chosen[start : start + lines], policy.vocabulary, (lines, width))
            waiting_rows.append(trunks.row)
            waiting_states.append(policy.states(trunks))
            n_waiting += len(trunks.row)
            if n_waiting >= BLOCK_ROWS:
                rows, states = np.concatenate(waiting_rows), torch.cat(waiting_states)
                whole = n_waiting - n_waiting % BLOCK_ROWS
                yield from _blocks(policy, rows[:whole], states[:whole])
                waiting_rows, waiting_states, n_waiting = [rows[whole:]], [states[whole:]], n_waiting - whole
    if n_waiting:
        yield from _blocks(policy, np.concatenate(waiting_rows), torch.cat(waiting_states))


def _blocks(policy: Policy, rows: np.ndarray, states: Tensor) -> Iterator[tuple[np.ndarray, Tensor]]:
    for start in range(0, len(rows), BLOCK_ROWS):
        block = states[start : start + BLOCK_ROWS]
        n = len(block)
        if n < BLOCK_ROWS:
            block = torch.cat([block, block.new_zeros(BLOCK_ROWS - n, block.shape[1])])
        yield rows[start : start + n], catalogue_logps(block, policy.head)[:n]


def _trie_scores(policy: Policy, windows: Windows) -> Iterator[tuple[np.ndarray, Tensor]]:
    """The prompts of some rows in one pass, then the catalogue's trie behind each of them, one part after the other."""
    vocabulary = policy.vocabulary
    rows = windows.members.values
    asked = windows.rows.take(rows)
    prompts = vocabulary.prompts(asked.history, asked.candidates).followed(vocabulary.bridge)
    parts = list(trie_parts(vocabulary.completions))
    widths = -(-prompts.lengths // WIDTH_STEP) * WIDTH_STEP
    n_nodes = max(len(part.nodes) for part in parts)
    lines = max(1, min(PASS_TOKENS // max(1, n_nodes), TRIE_LINES))
    for width in np.unique(widths)[::-1].tolist():
        chosen = np.flatnonzero(widths == width)
        for start in range(0, len(chosen), lines):
            at = chosen[start : start + lines]
            tokens = np.full((lines, width), vocabulary.pad, dtype=np.int64)
            tokens[: len(at)] = prompts.take(at).padded(vocabulary.pad, width)
            lengths = np.ones(lines, dtype=np.int64)
            lengths[: len(at)] = prompts.lengths[at]
            memory = Memory()
            positions = np.tile(np.arange(width), lines)
            trunks = Layout(Packing(lines, width, None), memory=memory)
            hidden = policy.run(tokens.reshape(-1), positions, trunks)
            ends = hidden[policy.tensor(np.arange(lines) * width + lengths - 1)]
            scores = ends.new_empty(lines, vocabulary.n_items, dtype=torch.float32)
            for part in parts:
                scores[:, policy.tensor(part.items)] = _part_logps(policy, part, ends, lengths, width, memory)
                memory.nodes.clear()
            yield rows[at], scores[: len(at)]


def _part_logps(
    policy: Policy, part: "TriePart", ends: Tensor, lengths: np.ndarray, width: int, memory: Memory
) -> Float[Tensor, "w i"]:
    """Log-probabilities of the items of one part after each prompt."""
    n_lines, n_nodes = len(lengths), len(part.nodes)
    states = ends
    if n_nodes:
        nodes = part.nodes.repeated(lengths)
        branches = lay_branches(nodes, np.full(n_lines, width), 0, policy.device.device)
        layout = Layout(None, branches, memory)
        states = torch.cat([ends, policy.run(nodes.tokens, nodes.positions, layout)])
    line, n_items = np.arange(n_lines)[:, None], len(part.items)
    predicting = np.where(part.predictions.state == 0, line, n_lines + line * n_nodes + part.predictions.state - 1)
    predictions = Predictions(
        predicting.reshape(-1),
        np.tile(part.predictions.token, n_lines),
        (line * n_items + part.predictions.path).reshape(-1),
    )
    return path_logps(states, policy.head, predictions, n_lines * n_items).view(n_lines, n_items).float()


@dataclass(frozen=True)
class TriePart:
    """The trie of some items of the catalogue, behind any prompt."""

    items: Int[np.ndarray, " i"]
    nodes: Nodes
    predictions: Predictions
    """State 0 is the end of the prompt, state 1 + k that of node k; path k is that of the k-th item."""


def trie_parts(completions: Ragged) -> Iterator[TriePart]:
    """The catalogue in parts of few nodes: items in the order of their tokens, as neighbours share most."""
    order = np.lexsort(completions.padded(-1).T[::-1])
    ends = np.cumsum(completions.lengths[order])
    start = 0
    while start < len(order):
        before = ends[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(ends, before + TRIE_TOKENS, side="right")))
        items = order[start:end]
        one, none = np.ones(len(items), dtype=np.int64), np.zeros(len(items), dtype=np.int64)
        prompt = np.array([-1])  # no token, so that no completion goes on as it does
        nodes, predictions = grow(prompt, np.array([0, 1]), none, one, completions.take(items), 0)
        yield TriePart(items, nodes, predictions)
        start = end


def target_ranks(
    logps: Float[Tensor, "r i"], target: Int[Tensor, " r"], history: Int[Tensor, "r h"]
) -> tuple[Int[Tensor, " r"], Float[Tensor, " r"]]:
    """Rank of each target among all items outside its row's history (1 = best; ties: target last), and its logp.

    Args:
        logps: scores of the catalogue; overwritten.
        target: item ids.
        history: item ids, padded with any item that is in the row's history; the target is ranked even if it is in it.

    Raises:
        FloatingPointError: a target without a finite score, which would come out as rank 1.
    """
    of_target = logps.gather(1, target[:, None])
    if not bool(torch.isfinite(of_target).all()):
        raise FloatingPointError("log-probabilities must be finite, got NaN or infinity. The policy has diverged.")
    logps.scatter_(1, history, -torch.inf).scatter_(1, target[:, None], -torch.inf)
    return 1 + (logps >= of_target).sum(dim=1), of_target[:, 0]


@torch.no_grad()
def rank_targets(
    policy: Policy, rows: Rows, progress: Callable[[int], None] | None = None
) -> tuple[Int[np.ndarray, " r"], Float[np.ndarray, " r"]]:
    """Rank and log-probability of the target of every row, in the order of the rows.

    Ranks are in the catalogue without the history; among the candidates, where prompts list them.
    Where an item is several tokens, a beam is searched, and a rank beyond `SEARCH_DEPTH` is the last one: to tell such
    ranks apart, nearly the whole catalogue would have to be scored after each history.
    """
    rank, logp = np.zeros(len(rows), dtype=np.int64), np.zeros(len(rows), dtype=np.float32)
    done = 0
    rank_them = _rank_direct if policy.is_direct else _rank_by_search
    for index, ranks, logps in (rank_them if rows.candidates is None else _rank_listed)(policy, rows):
        rank[index], logp[index] = ranks, logps
        done += len(index)
        if progress is not None:
            progress(done)
    return rank, logp


def _rank_direct(policy: Policy, rows: Rows) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    for index, logps in catalogue_scores(policy, find_windows(rows)):
        history = padded_history(rows.history.take(index))
        ranks, logps_of_target = target_ranks(logps, policy.tensor(rows.target[index]).long(), policy.tensor(history))
        yield index, ranks.cpu().numpy(), logps_of_target.cpu().numpy()


def _rank_by_search(policy: Policy, rows: Rows) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    logps = _asked_scores(policy, rows, rows.target[:, None].astype(np.int64))[:, 0]
    for row, ranking in _searched(policy, rows, rows.history, logps, 1, is_exact=False):
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
        yield row, table[row], _finite(logps.cpu().numpy())


@torch.no_grad()
def rank_rows(
    policy: Policy, rows: Rows, history: Ragged, candidates: Ragged, top_k: int
) -> Iterator[tuple[Int[np.ndarray, " r"], "Ranking", "Ranking | None"]]:
    """For all rows, some at a time: their indices, the ranking of their candidates, and that of the catalogue.

    Both are exact; but where an item is several tokens, a rank in the catalogue beyond `SEARCH_DEPTH` and `top_k` is
    the last one, so that a mean of reciprocal ranks is a lower bound. Where prompts list candidates there is none of
    the catalogue: a prompt would give away what is near the answer.

    Args:
        policy: ranks.
        rows: histories fit the context.
        history: of each row the whole history, which is left out of the catalogue.
        candidates: of each row, its target among them.
        top_k: length of the catalogue's ranking.
    """
    if policy.is_direct:
        for row, logps in catalogue_scores(policy, find_windows(rows)):
            scores, target = logps.cpu().numpy(), rows.target[row]
            of_candidates = rank_candidates(scores, target, candidates.take(row))
            yield row, of_candidates, rank_catalogue(scores, target, history.take(row), top_k)
        return
    if rows.candidates is not None:
        for row, table, logps in _listed_scores(policy, rows):
            yield row, _rank_listing(table, logps, rows.target[row]), None
        return
    table = candidates.padded(-1)
    logps = _asked_scores(policy, rows, np.where(table < 0, rows.target[:, None], table))
    of_target = logps[np.arange(len(rows)), (table == rows.target[:, None]).argmax(axis=1)]
    for row, of_catalogue in _searched(policy, rows, history, of_target, top_k, is_exact=True):
        yield row, _rank_listing(table[row], logps[row], rows.target[row]), of_catalogue


def _rank_listing(
    table: Int[np.ndarray, "r c"], logps: Float[np.ndarray, "r c"], target: Int[np.ndarray, " r"]
) -> "Ranking":
    """The ranking of candidates, padded with -1, by their log-probabilities."""
    is_candidate = table >= 0
    listed = Found(np.nonzero(is_candidate)[0], table[is_candidate], logps[is_candidate])
    return _ranking_of(listed, target, table.shape[1])


def _asked_scores(policy: Policy, rows: Rows, items: Int[np.ndarray, "r c"]) -> Float[np.ndarray, "r c"]:
    """Log-probabilities of the items asked for after each row's history."""
    scores = np.zeros(items.shape, dtype=np.float32)
    for row, logps in item_scores(policy, find_windows(rows), lambda row: items[row]):
        scores[row] = logps.cpu().numpy()
    return _finite(scores)


def _finite(logps: Float[np.ndarray, "r c"]) -> Float[np.ndarray, "r c"]:
    if not np.isfinite(logps).all():
        raise FloatingPointError("log-probabilities must be finite, got NaN or infinity. The policy has diverged.")
    return logps


def _searched(
    policy: Policy, rows: Rows, history: Ragged, target_logp: Float[np.ndarray, " r"], top_k: int, *, is_exact: bool
) -> Iterator[tuple[np.ndarray, "Ranking"]]:
    """Rankings of the catalogue, some rows at a time; a target that the search did not find is last."""
    n_items, trie = policy.vocabulary.n_items, trie_of(policy.vocabulary.completions)
    distinct = history.distinct()
    in_history = np.bincount(distinct.owners, minlength=len(rows))
    in_history -= np.bincount(distinct.owners[distinct.values == rows.target[distinct.owners]], minlength=len(rows))
    was_training = policy.model.training
    policy.model.eval()
    try:
        for row, found in search(policy, trie, rows, history, max(top_k, SEARCH_DEPTH), is_exact=is_exact):
            target = rows.target[row].astype(np.int64)
            is_missed = np.ones(len(row), dtype=bool)
            is_missed[found.line[found.item == target[found.line]]] = False
            missed = np.flatnonzero(is_missed)
            found = Found.joined([found, Found(missed, target[missed], target_logp[row[missed]].astype(np.float64))])
            ranking = _ranking_of(found, target, top_k)
            ranking.target_rank[missed] = n_items - in_history[row[missed]]
            yield row, ranking
    finally:
        policy.model.train(was_training)


def _ranking_of(found: Found, target: Int[np.ndarray, " r"], top_k: int) -> "Ranking":
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


def padded_history(history: Ragged) -> Int[np.ndarray, "r h"]:
    """One line a row; short ones repeat their first item, which excludes nothing more."""
    table = history.padded(-1)
    return np.where(table < 0, table[:, :1], table)


RowValues = Mapping[str, Callable[[Int[np.ndarray, " r"]], Float[np.ndarray, " r"]]]
"""What each row adds to a metric, from the ranks of the targets."""
ROW_VALUES: RowValues = {
    "ndcg_at_10_full": lambda rank: np.where(rank <= 10, 1.0 / np.log2(rank + 1.0), 0.0),
    "recall_at_10_full": lambda rank: (rank <= 10).astype(np.float64),
    "mrr_full": lambda rank: 1.0 / rank,
}
"""Where the whole catalogue is ranked."""


def row_values(n_candidates: int) -> RowValues:
    """By metric, for policies whose prompts list so many candidates; 0: none, and the whole catalogue is ranked."""
    if n_candidates == 0:
        return ROW_VALUES
    return {
        f"hit_ratio_at_1_of_{n_candidates}": lambda rank: (rank == 1).astype(np.float64),
        f"mrr_of_{n_candidates}": lambda rank: 1.0 / rank,
    }


def ranking_metrics(
    rank: Int[np.ndarray, " r"], logp: Float[np.ndarray, " r"], values_of: RowValues = ROW_VALUES
) -> dict[str, float]:
    """Means over rows, with one target each: the metrics of the ranks, and the loss in nats."""
    means = {name: float(np.mean(values(rank))) for name, values in values_of.items()}
    return {**means, "loss": float(-np.mean(logp, dtype=np.float64))}


def ranking_keys(logps: Float[np.ndarray, "r i"]) -> UInt64[np.ndarray, "r i"]:
    """Integers in the order of falling log-probability, ties by item id, which stands in the lower half of each.

    >>> keys = np.sort(ranking_keys(np.array([[-2.0, -1.0, -2.0]], dtype=np.float32)))
    >>> (keys & np.uint64(2**32 - 1)).astype(int)
    array([[1, 0, 2]])
    """
    bits = (logps.astype(np.float32) + np.float32(0.0)).view(np.uint32)  # + 0: -0.0 and 0.0 are a tie
    is_negative = bits >> np.uint32(31) != 0
    falling = np.where(is_negative, bits, ~(bits | np.uint32(1 << 31)))
    return (falling.astype(np.uint64) << np.uint64(32)) | np.arange(logps.shape[1], dtype=np.uint64)


EXCLUDED = np.uint64(2**64 - 1)
"""A key behind those of all items."""
TARGET = np.uint64(1 << 31)
"""Added to a key, puts it behind those of items with the same score: ties are misses. Item ids are smaller."""


@dataclass(frozen=True)
class Ranking:
    """For each row a list of items, best first."""

    items: Ragged
    scores: Float[np.ndarray, " _"]
    """Log-probability of each listed item, in nats."""
    target_rank: Int[np.ndarray, " r"]
    """1 = best; also where the list ends before the target."""

    def take(self, rows: Int[np.ndarray, " m"]) -> "Ranking":
        """The named rows, in that order."""
        scores = Ragged(self.scores, self.items.offsets).take(rows).values
        return Ranking(self.items.take(rows), scores, self.target_rank[rows])


def joined_rankings(parts: Sequence[Ranking]) -> Ranking:
    """The rows of all parts, one after the other."""
    return Ranking(
        Ragged.joined([part.items for part in parts]),
        np.concatenate([np.zeros(0, dtype=np.float32), *[part.scores for part in parts]]),
        np.concatenate([np.zeros(0, dtype=np.int64), *[part.target_rank for part in parts]]),
    )


def rank_catalogue(
    logps: Float[np.ndarray, "r i"], target: Int[np.ndarray, " r"], history: Ragged, top_k: int
) -> Ranking:
    """All items outside the row's history, and the target, cut to the first `top_k`; ties: target last."""
    keys = _keys_with_target(logps, target)
    of_target = keys[np.arange(len(keys)), target]
    keys[history.owners, history.values] = EXCLUDED
    keys[np.arange(len(keys)), target] = of_target
    return _ranking(keys, of_target, logps, top_k)


def rank_candidates(logps: Float[np.ndarray, "r i"], target: Int[np.ndarray, " r"], candidates: Ragged) -> Ranking:
    """The candidate set of each row, which holds the target; ties: target last."""
    keys = _keys_with_target(logps, target)
    chosen = np.full((len(candidates), int(candidates.lengths.max(initial=0))), EXCLUDED)
    owners, values = candidates.owners, candidates.values
    chosen[owners, np.arange(len(values)) - candidates.offsets[owners]] = keys[owners, values]
    return _ranking(chosen, keys[np.arange(len(keys)), target], logps, chosen.shape[1])


def _keys_with_target(logps: Float[np.ndarray, "r i"], target: Int[np.ndarray, " r"]) -> UInt64[np.ndarray, "r i"]:
    if not np.isfinite(logps[np.arange(len(logps)), target]).all():
        raise FloatingPointError("log-probabilities must be finite, got NaN or infinity. The policy has diverged.")
    keys = ranking_keys(logps)
    keys[np.arange(len(keys)), target] |= TARGET
    return keys


def _ranking(
    keys: UInt64[np.ndarray, "r k"], of_target: UInt64[np.ndarray, " r"], logps: Float[np.ndarray, "r i"], top_k: int
) -> Ranking:
    first = np.sort(keys if top_k >= keys.shape[1] else np.partition(keys, top_k - 1, axis=1)[:, :top_k], axis=1)
    is_listed = first != EXCLUDED
    items = (first & np.uint64(2**31 - 1)).astype(np.int32)[is_listed]
    lists = Ragged(items, np.concatenate([[0], np.cumsum(is_listed.sum(axis=1))]).astype(np.int64))
    return Ranking(lists, logps[lists.owners, items], 1 + (keys < of_target[:, None]).sum(axis=1))
