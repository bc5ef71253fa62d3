"""The boundary: optimal by brute force in exact arithmetic, and how often scikit-learn's k-means++ finds it."""

from fractions import Fraction
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from sklearn.cluster import KMeans

from training.objectives.boundary import select_boundary, top_cluster_floor

SCORES = st.lists(
    st.one_of(st.floats(-400.0, 0.0, width=32), st.sampled_from([-1.0, -2.0, -3.0])), min_size=1, max_size=9
)


def squared_error(run: list[Fraction]) -> Fraction:
    mean = sum(run, Fraction(0)) / len(run)
    return sum(((score - mean) ** 2 for score in run), Fraction(0))


def least_error(scores: list[Fraction], clusters: int) -> Fraction:
    """Smallest squared error of `scores` in at most `clusters` runs of their order, by trying every partition."""
    if not scores or clusters == 0:
        return Fraction(0) if not scores else Fraction(10**12)
    ranked = sorted(scores)
    partitions = (
        [ranked[start:end] for start, end in zip((0, *cuts), (*cuts, len(ranked)), strict=True)]
        for n_cuts in range(min(clusters, len(ranked)))
        for cuts in combinations(range(1, len(ranked)), n_cuts)
    )
    return min(sum(map(squared_error, runs), Fraction(0)) for runs in partitions)


@pytest.mark.parametrize("clusters", [2, 3, 4])
@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(scores=SCORES)
def test_highest_cluster_belongs_to_an_optimal_partition(clusters: int, scores: list[float]) -> None:
    floor = top_cluster_floor(torch.tensor([scores], dtype=torch.float64), clusters=clusters).item()
    exact = [Fraction(score) for score in scores]
    top, others = [s for s in exact if s >= floor], [s for s in exact if s < floor]
    error = squared_error(top) + least_error(others, clusters - 1)
    spread = squared_error(exact)
    assert error - least_error(exact, clusters) <= spread * Fraction(1, 10**13)  # float64, relative to all there is


def test_of_equally_good_partitions_the_smallest_highest_cluster_is_taken() -> None:
    evenly_spaced = torch.tensor([[0.0, -1.0, -2.0, -3.0]])  # {0}, {-1}, {-2, -3} costs what {0, -1}, {-2}, {-3} does
    assert top_cluster_floor(evenly_spaced, clusters=3).item() == 0


@pytest.mark.parametrize(
    ("scores", "boundary"),
    [
        ([-3.0], [True]),
        ([-3.0, -5.0], [True, False]),
        ([-3.0, -3.0], [True, True]),
        ([-3.0, -3.0, -7.0, -7.0, -7.0], [True, True, False, False, False]),
        ([-3.0] * 5, [True] * 5),
    ],
)
def test_fewer_distinct_scores_than_clusters_select_the_highest_score(
    scores: list[float], boundary: list[bool]
) -> None:
    rejected = torch.tensor([scores])
    selected = select_boundary(torch.zeros(1), rejected, rejected < 0, clusters=3)
    assert selected.tolist() == [boundary]


def test_a_negative_level_with_the_chosen_item_violates() -> None:
    rejected = torch.tensor([[-3.0, -2.0, -2.5]])
    selected = select_boundary(torch.tensor([-2.5]), rejected, rejected < 0, clusters=3)
    assert selected.tolist() == [[False, True, True]]


def test_padding_with_a_high_score_is_never_on_the_boundary() -> None:
    rejected = torch.tensor([[-3.0, 5.0, torch.nan, -9.0]])
    is_negative = torch.tensor([[True, False, False, True]])
    selected = select_boundary(torch.zeros(1), rejected, is_negative, clusters=3)
    assert selected.tolist() == [[True, False, False, False]]


def test_a_distant_outlier_does_not_blur_the_others() -> None:
    scores = torch.tensor([[-1.0, -1.001, -1.002, -1.5, -1.501, -400.0]])
    assert top_cluster_floor(scores, clusters=3).item() == pytest.approx(-1.002)


def test_no_gradient_flows_through_the_selection() -> None:
    rejected = torch.tensor([[-3.0, -2.0]], requires_grad=True)
    assert not top_cluster_floor(rejected, clusters=3).requires_grad


def test_one_cluster_is_refused() -> None:
    with pytest.raises(ValueError, match="clusters must be at least 2, got 1"):
        top_cluster_floor(torch.zeros(1, 2), clusters=1)


def test_transposed_scores_are_refused() -> None:
    with pytest.raises(TypeCheckError, match="select_boundary"):
        select_boundary(torch.zeros(2), torch.zeros(3, 2), torch.ones(3, 2, dtype=torch.bool), clusters=3)


@pytest.mark.parametrize(("starts", "low", "high"), [(1, 0.55, 0.70), (10, 0.88, 0.98)])
def test_scikit_learn_agrees_with_the_optimum_in_this_share_of_rows(starts: int, low: float, high: float) -> None:
    """15 scores of a normal distribution, 3 clusters. The authors' code takes one k-means++ start."""
    scores = torch.randn(150, 15, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    floors = top_cluster_floor(scores, clusters=3).tolist()
    agrees = 0
    for row, floor in zip(scores, floors, strict=True):
        clusters = KMeans(n_clusters=3, n_init=starts, random_state=42)  # pyright: ignore[reportArgumentType]
        fitted = clusters.fit(row[:, None].numpy())
        top = fitted.labels_ == fitted.cluster_centers_[:, 0].argmax()
        agrees += row[torch.from_numpy(top)].min().item() == floor
    assert low <= agrees / len(floors) <= high, agrees / len(floors)
