"""Ranks are exact, ties are misses, and a row's scores do not depend on its neighbours."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from contracts.config import ScratchBackbone
from training.backbones.scratch import scratch_model
from training.engine import catalogue_scores as scoring
from training.engine.attention import ATTENTION
from training.engine.catalogue_scores import catalogue_scores
from training.engine.policy import Policy
from training.engine.rank_rows import rank_targets
from training.engine.rankings import padded_with_target, rank_candidates, rank_catalogue, target_ranks
from training.engine.windows import find_windows
from training.io.ragged import Ragged
from training.io.readers import read_rows
from training.io.rows import Rows
from training.loop.validation import ranking_metrics
from training.representations.items import ItemVocabulary


@pytest.fixture
def policy() -> Policy:
    model = scratch_model(ScratchBackbone(hidden=16, layers=2, heads=2, context=64), 202, seed=1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(2.0)
    return Policy(model, ItemVocabulary(200), 64)


@pytest.fixture
def rows(simulate: Callable[..., Any], tmp_path: Any) -> Rows:
    return read_rows(simulate(tmp_path, users=300, items=200, max_length=40, mean_length=20).histories, "test", 200)


def scores_of(policy: Policy, rows: Rows) -> np.ndarray:
    table = np.full((len(rows), policy.vocabulary.n_items), np.nan, dtype=np.float32)
    for row, logps in catalogue_scores(policy, find_windows(rows)):
        table[row] = logps.numpy()
    return table


def test_scores_are_the_same_to_the_bit_whatever_else_is_scored(policy: Policy, rows: Rows) -> None:
    together = scores_of(policy, rows)
    assert np.isfinite(together).all()
    order = np.random.default_rng(0).permutation(len(rows))[:77]
    some = Rows(rows.row_id[order], rows.user_id[order], rows.history.take(order), rows.target[order])
    assert np.array_equal(scores_of(policy, some), together[order])
    alone = Rows(rows.row_id[:1], rows.user_id[:1], rows.history.take(np.array([0])), rows.target[:1])
    assert np.array_equal(scores_of(policy, alone), together[:1])


def test_scores_are_those_of_the_prompt_alone(policy: Policy, rows: Rows) -> None:
    table = scores_of(policy, rows)
    for row in (0, 17, 123):
        assert isinstance(policy.vocabulary, ItemVocabulary)
        prompt = torch.tensor([[policy.vocabulary.begin, *rows.history[row].tolist()]])
        policy.model.config._attn_implementation = "sdpa"
        with torch.no_grad():
            logits = policy.model(input_ids=prompt).logits[0, -1, :200]
        policy.model.config._attn_implementation = ATTENTION
        np.testing.assert_allclose(table[row], torch.log_softmax(logits, dim=-1).numpy(), rtol=1e-4, atol=1e-4)


def test_ranks_do_not_depend_on_the_size_of_a_pass(policy: Policy, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    rank, _ = rank_targets(policy, rows)
    monkeypatch.setattr(scoring, "PASS_TOKENS", 512)
    monkeypatch.setattr(scoring, "BLOCK_ROWS", 64)
    assert np.array_equal(rank_targets(policy, rows)[0], rank)


def brute_force(scores: np.ndarray, target: int, excluded: set[int]) -> tuple[list[int], int]:
    kept = [item for item in range(len(scores)) if item == target or item not in excluded]
    kept.sort(key=lambda item: (-scores[item], item == target, item))
    return kept, kept.index(target) + 1


@pytest.mark.parametrize("levels", [3, 1_000_000])  # with three levels nearly all scores are tied
def test_rankings_agree_with_sorting_one_row_at_a_time(levels: int) -> None:
    random = np.random.default_rng(levels)
    logps = -(random.integers(levels, size=(50, 30)) / levels).astype(np.float32)
    target = random.integers(30, size=50)
    history = Ragged.of([random.choice(30, size=random.integers(1, 9)).tolist() for _ in range(50)])
    others = [random.permutation([item for item in range(30) if item != of_row])[:6] for of_row in target]
    candidates = Ragged.of([[of_row, *more.tolist()] for of_row, more in zip(target.tolist(), others, strict=True)])
    full, few = rank_catalogue(logps, target, history, 10), rank_candidates(logps, target, candidates)
    padded = torch.from_numpy(padded_with_target(history, target))
    ranks, of_target = target_ranks(torch.from_numpy(logps.copy()), torch.from_numpy(target), padded)
    for row in range(50):
        wanted, rank = brute_force(logps[row], target[row], set(history[row].tolist()))
        assert full.items[row].tolist() == wanted[:10]
        assert full.target_rank[row] == ranks[row] == rank
        assert of_target[row] == logps[row, target[row]]
        outside = set(range(30)) - set(candidates[row].tolist())
        wanted, rank = brute_force(logps[row], target[row], outside)
        assert few.items[row].tolist() == wanted
        assert few.target_rank[row] == rank
    assert np.array_equal(full.scores, logps[full.items.owners, full.items.values])


def test_a_policy_that_scores_all_items_alike_is_wrong_everywhere() -> None:
    ranking = rank_catalogue(np.zeros((1, 5), dtype=np.float32), np.array([2]), Ragged.of([[0]]), 5)
    assert ranking.items[0].tolist() == [1, 3, 4, 2]
    assert ranking.target_rank.tolist() == [4]


def test_a_score_that_is_not_a_number_is_refused_and_not_ranked_first() -> None:
    logps, target = np.full((1, 5), np.nan, dtype=np.float32), np.array([2])
    with pytest.raises(FloatingPointError, match="must be finite"):
        rank_catalogue(logps, target, Ragged.of([[0]]), 5)
    with pytest.raises(FloatingPointError, match="must be finite"):
        target_ranks(torch.from_numpy(logps), torch.tensor([2]), torch.tensor([[0]]))


def test_metrics_are_means_over_rows() -> None:
    metrics = ranking_metrics(np.array([1, 3, 11]), np.array([-1.0, -2.0, -6.0], dtype=np.float32))
    assert metrics == pytest.approx(
        {
            "ndcg_at_10_full": (1 / np.log2(2) + 1 / np.log2(4)) / 3,
            "recall_at_10_full": 2 / 3,
            "mrr_full": (1 + 1 / 3 + 1 / 11) / 3,
            "loss": 3.0,
        }
    )
