"""Ranks made of scores."""

import numpy as np
import pytest

from contracts.ranks import EXCLUDED, TARGET, best_first, items_of, ranking_keys, ranks_of, scores_of


def ordered_by_hand(scores: list[float], target: int) -> list[int]:
    return sorted(range(len(scores)), key=lambda item: (-scores[item], item == target, item))


@pytest.mark.parametrize("seed", range(20))
def test_rank_and_order_are_those_of_a_sort_with_the_target_last_among_equals(seed: int) -> None:
    draw = np.random.default_rng(seed)
    scores = draw.choice([-3.4e38, -1.5, -0.0, 0.0, 1e-40, 2.0, 3.4e38], size=(40, 12)).astype(np.float32)
    target = draw.integers(0, 12, 40)
    keys = ranking_keys(scores)
    keys[np.arange(40), target] |= TARGET
    ranks = ranks_of(keys, keys[np.arange(40), target])
    for row, order in enumerate(items_of(best_first(keys, 12)).tolist()):
        wanted = ordered_by_hand(scores[row].tolist(), int(target[row]))
        assert order == wanted
        assert ranks[row] == 1 + wanted.index(int(target[row]))


@pytest.mark.parametrize("k", [1, 5, 11, 12, 40])
def test_a_cut_holds_the_first_of_the_whole_order(k: int) -> None:
    keys = ranking_keys(np.random.default_rng(0).normal(size=(30, 12)))
    assert (best_first(keys, k) == np.sort(keys, axis=1)[:, :k]).all()


def test_scores_come_back_from_keys_to_the_bit() -> None:
    scores = np.array([[-3.4e38, -1.5, -1e-45, 0.0, 1e-45, 2.5, 3.4e38]], dtype=np.float32)
    keys = ranking_keys(scores)
    keys[:, 3] |= TARGET
    assert scores_of(keys).view(np.uint32).tolist() == scores.view(np.uint32).tolist()


def test_items_may_be_any_part_of_a_catalogue() -> None:
    items = np.array([[7, 2_000_000_000, 3]])
    keys = best_first(ranking_keys(np.array([[1.0, 1.0, 1.0]]), items), 3)
    assert items_of(keys).tolist() == [[3, 7, 2_000_000_000]]


def test_what_is_excluded_comes_after_everything() -> None:
    keys = ranking_keys(np.array([[-3.4e38, 3.4e38]], dtype=np.float32))
    keys |= TARGET
    assert (keys < EXCLUDED).all()
