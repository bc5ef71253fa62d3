"""Which negatives lie on the decision boundary: DynamicPO's selection (https://arxiv.org/abs/2605.00327). Scores in, mask out.

Deviation: the authors cluster with scikit-learn's single k-means++ start, which misses the optimum on a quarter to a half
of rows with 15 negatives; here the one-dimensional k-means is exact, batched and deterministic. Dimensions: b prompts,
n negatives.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@torch.no_grad()
def select_boundary(
    chosen_score: Float[Tensor, " b"],
    rejected_scores: Float[Tensor, "b n"],
    is_negative: Bool[Tensor, "b n"],
    *,
    clusters: int,
) -> Bool[Tensor, "b n"]:
    """The negatives that reach the chosen item's score or, where none does, the highest cluster of the others.

    Never empty for a row with a negative, and negatives with equal scores are never separated.

    >>> scores = torch.tensor([[-7.0, -7.5, -12.0, -13.0, -20.0, -22.0]])
    >>> select_boundary(torch.tensor([-6.0]), scores, scores < 0, clusters=3).int()  # none outranks the chosen item
    tensor([[1, 1, 0, 0, 0, 0]], dtype=torch.int32)
    >>> select_boundary(torch.tensor([-7.2]), scores, scores < 0, clusters=3).int()  # one does
    tensor([[1, 0, 0, 0, 0, 0]], dtype=torch.int32)
    """
    scores = rejected_scores.masked_fill(~is_negative, -torch.inf)
    is_violation = (scores >= chosen_score[:, None]) & is_negative
    lowest_of_top = top_cluster_threshold(scores, is_negative, clusters=clusters)
    in_top_cluster = (scores >= lowest_of_top[:, None]) & is_negative
    return torch.where(is_violation.any(dim=-1, keepdim=True), is_violation, in_top_cluster)


@torch.no_grad()
def top_cluster_threshold(
    scores: Float[Tensor, "b n"], is_negative: Bool[Tensor, "b n"], *, clusters: int
) -> Float[Tensor, " b"]:
    r"""The lowest score in the highest cluster of an optimal one-dimensional k-means of each row.

    An optimal cluster is a run of the sorted scores. So with :math:`x_1 \ge \dots \ge x_n`, the squared error
    :math:`E(i, t)` of the run from i to t, and :math:`R_1(i) = E(i, n)`, all splits are tried by

    .. math:: R_c(i) = \min_{t \ge i} E(i, t) + R_{c-1}(t + 1)

    A run ends only where the score changes, and the last clusters may stay empty: fewer distinct scores than clusters
    need no rule of their own. Of equally good partitions the one with the smallest highest cluster is taken.

    >>> top_cluster_threshold(torch.tensor([[-9.0, -1.0, -2.0, -5.0]]), torch.ones(1, 4, dtype=torch.bool), clusters=3)
    tensor([-2.])
    """
    if clusters < 2:
        raise ValueError(f"clusters must be at least 2, got {clusters}. One cluster would select every negative.")
    n = scores.shape[-1]
    ranked, order = scores.masked_fill(~is_negative, -torch.inf).sort(dim=-1, descending=True)  # padding comes last
    forward = torch.ones(n, n, dtype=torch.bool, device=scores.device).triu()  # [i, t]: a run from i may reach t
    counted = is_negative.gather(-1, order)[:, None, :] & forward
    # Distances from each run's own first score, in float64: an outlier elsewhere in the row costs no precision.
    distances = (ranked.double()[:, None, :] - ranked.double()[:, :, None]).masked_fill(~counted, 0.0)
    sums, squares, sizes = distances.cumsum(-1), distances.square().cumsum(-1), counted.cumsum(-1).clamp(min=1)
    ends_run = torch.ones_like(is_negative)
    ends_run[:, :-1] = ranked[:, :-1] != ranked[:, 1:]
    errors = (squares - sums.square() / sizes).clamp(min=0).masked_fill(~(ends_run[:, None, :] & forward), torch.inf)
    rest = _after(errors[:, :, -1])
    for _ in range(clusters - 2):
        rest = _after((errors + rest[:, None, :]).amin(dim=-1))
    end_of_top = (errors[:, 0] + rest).argmin(dim=-1)  # the first, where several are equal
    return ranked.gather(-1, end_of_top[:, None])[:, 0]


def _after(rest: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
    """R(t + 1) for each t; nothing is left after the last score."""
    return torch.cat([rest[:, 1:], torch.zeros_like(rest[:, :1])], dim=-1)
