"""The search in the trie finds what scoring the whole catalogue finds."""

import numpy as np
import pytest
import torch

from contracts.config import ScratchBackbone
from training.backbones.scratch import scratch_model
from training.engine import decoding
from training.engine import rank_rows as ranking_of_rows
from training.engine.attention import PassLayout
from training.engine.catalogue_scores import catalogue_scores
from training.engine.decoding import search, trie_of
from training.engine.policy import Policy
from training.engine.rank_rows import rank_rows, rank_targets
from training.engine.rankings import rank_candidates, rank_catalogue
from training.engine.windows import find_windows
from training.io.ragged import Ragged
from training.io.rows import Rows
from training.representations.token_lists import TokenLists

N_ITEMS = 60


@pytest.fixture(params=["codes", "lists of all lengths"])
def policy(request: pytest.FixtureRequest) -> Policy:
    random = np.random.default_rng(0)
    if request.param == "codes":
        lists = [[item // 12, 5 + item // 3 % 4, 9 + item % 3] for item in range(N_ITEMS)]
    else:
        distinct = {tuple(random.integers(5, size=random.integers(1, 5)).tolist()) for _ in range(400)}
        lists = [[*tokens, 11] for tokens in sorted(distinct)[:N_ITEMS]]
    completions = Ragged.of(lists)
    nothing = np.zeros(0, dtype=np.int64)
    tokens = TokenLists(14, 12, 13, np.array([12]), nothing, completions, completions)
    model = scratch_model(ScratchBackbone(hidden=16, layers=2, heads=2, context=64), 14, seed=1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(4.0)  # far from uniform: there is something to leave out
    return Policy(model, tokens, 64)


@pytest.fixture
def rows() -> Rows:
    random = np.random.default_rng(1)
    histories = [random.permutation(N_ITEMS)[: random.integers(1, 9)].tolist() for _ in range(20)]
    return Rows(np.arange(20), np.arange(20), Ragged.of(histories), random.integers(N_ITEMS, size=20))


@pytest.mark.parametrize("depth", [1, 5, 100])
@pytest.mark.parametrize("beam", [0.0, 1.5])
def test_the_search_finds_the_most_likely_items(
    policy: Policy, rows: Rows, depth: int, beam: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "PASS_NODES", 40)
    monkeypatch.setattr(
        decoding, "BEAM", beam
    )  # 0: as wide as the longest history alone, so that it often is too narrow
    scores = np.zeros((20, N_ITEMS), dtype=np.float32)
    for row, logps in catalogue_scores(policy, find_windows(rows)):
        scores[row] = logps.numpy()
    seen = []
    for at, found in search(policy, trie_of(policy.vocabulary.completions), rows, rows.history, depth):
        seen += at.tolist()
        for line, row in enumerate(at):
            is_of_row = found.line == line
            items, logps = found.item[is_of_row], found.logp[is_of_row]
            np.testing.assert_allclose(logps, scores[row, items], atol=1e-4)
            outside = scores[row].copy()
            outside[[item for item in rows.history[row] if item != rows.target[row]]] = -np.inf
            best = np.argsort(-outside, kind="stable")[: min(depth, int(np.isfinite(outside).sum()))]
            assert set(best.tolist()) <= set(items.tolist())
            assert len(set(items.tolist())) == len(items)
            assert np.isfinite(outside[items]).all()
    assert sorted(seen) == list(range(20))


def test_what_cannot_be_among_the_best_is_not_computed(
    policy: Policy, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    trie, fed, run = trie_of(policy.vocabulary.completions), [], policy.run

    def count(tokens: np.ndarray, positions: np.ndarray, layout: PassLayout) -> torch.Tensor:
        fed.append(len(tokens) if layout.trunks is None else 0)  # behind the prompts
        return run(tokens, positions, layout)

    monkeypatch.setattr(policy, "run", count)
    nothing = Ragged.of([[]] * 20)
    list(search(policy, trie, rows, nothing, N_ITEMS))
    everything, _ = sum(fed), fed.clear()
    list(search(policy, trie, rows, nothing, 1))
    assert sum(fed) < 0.6 * everything


def test_a_target_that_is_not_among_the_best_counts_as_the_last(
    policy: Policy, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact, logps = rank_targets(policy, rows)
    monkeypatch.setattr(ranking_of_rows, "SEARCH_DEPTH", 5)
    cut, same_logps = rank_targets(policy, rows)
    outside = [N_ITEMS - len(set(rows.history[row].tolist()) - {int(rows.target[row])}) for row in range(20)]
    assert np.array_equal(cut, np.where(exact <= 5, exact, outside))
    assert (exact <= 5).any()
    assert (exact > 5).any()
    assert np.array_equal(logps, same_logps)


def test_rankings_are_those_of_the_scores_of_the_whole_catalogue(policy: Policy, rows: Rows) -> None:
    random = np.random.default_rng(2)
    others = [random.permutation([item for item in range(N_ITEMS) if item != of_row])[:4] for of_row in rows.target]
    candidates = Ragged.of([[*more[:2], of_row, *more[2:]] for of_row, more in zip(rows.target, others, strict=True)])
    history = Ragged.of([[*rows.history[row], int(others[row][0])] for row in range(20)])  # what the context cut off
    full, few = {}, {}
    for at, of_candidates, of_catalogue in rank_rows(policy, rows, history, candidates, 7):
        assert of_candidates is not None
        assert of_catalogue is not None
        for place, row in enumerate(at):
            few[int(row)], full[int(row)] = (r.take(np.array([place])) for r in (of_candidates, of_catalogue))
    ranks, logps = rank_targets(policy, rows)
    for row, scores in catalogue_scores(policy, find_windows(rows)):
        scores = scores.numpy()
        wanted_full = rank_catalogue(scores, rows.target[row], history.take(row), 7)
        wanted_few = rank_candidates(scores, rows.target[row], candidates.take(row))
        uncut = rank_catalogue(scores, rows.target[row], rows.history.take(row), 7)
        for place, at in enumerate(row.tolist()):
            for found, wanted in ((full[at], wanted_full), (few[at], wanted_few)):
                assert found.items[0].tolist() == wanted.items[place].tolist()
                assert found.target_rank[0] == wanted.target_rank[place]
                assert found.scores == pytest.approx(wanted.take(np.array([place])).scores, abs=1e-4)
            assert ranks[at] == uncut.target_rank[place]
            assert logps[at] == pytest.approx(scores[place, rows.target[at]], abs=1e-4)
    assert sorted(full) == list(range(20))
