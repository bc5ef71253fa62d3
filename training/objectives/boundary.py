"""Which negatives lie on the decision boundary: DynamicPO's selection (https://arxiv.org/abs/2605.00327).

Scores in, mask out. Deviation: the authors cluster with scikit-learn's single k-means++ start, which misses the
optimum on a quarter to a half of rows with 15 negatives; here the one-dimensional k-means is exact, batched and
deterministic. Dimensions: b prompts, n negatives.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from training.objectives.reductions import running_sum


@torch.no_grad()
def select_boundary(
    chosen_score: Float[Tensor, " b"],
    rejected_scores: Float[Tensor, "b n"],
    is_negative: Bool[Tensor, "b n"],
    *,
    clusters: int,
) -> Bool[Tensor, "b n"]:
    """The negatives that reach the chosen item's score or, where none does, the highest cluster of the row's negatives.

    Never empty for a row with a negative, and negatives with equal scores are never separated.

    >>> scores = torch.tensor([[-7.0, -7.5, -12.0, -13.0, -20.0, -22.0]])
    >>> select_boundary(torch.tensor([-6.0]), scores, scores < 0, clusters=3).int()  # none outranks the chosen item
    tensor([[1, 1, 0, 0, 0, 0]], dtype=torch.int32)
    >>> select_boundary(torch.tensor([-7.2]), scores, scores < 0, clusters=3).int()  # one does
    tensor([[1, 0, 0, 0, 0, 0]], dtype=torch.int32)
    """
    scores = rejected_scores.masked_fill(~is_negative, -torch.inf)
    is_violation = (scores >= chosen_score[:, None]) & is_negative
    in_top_cluster = (scores >= top_cluster_floor(scores, clusters=clusters)[:, None]) & is_negative
    return torch.where(is_violation.any(dim=-1, keepdim=True), is_violation, in_top_cluster)


@torch.no_grad()
def top_cluster_floor(scores: Float[Tensor, "b n"], *, clusters: int) -> Float[Tensor, " b"]:
    r"""The lowest score in the highest cluster of an optimal one-dimensional k-means of each row; -inf is padding.

    Optimal clusters are runs of the sorted scores, and a smallest squared error within runs is a largest
    :math:`G = S^2/m` summed over them, with S the sum and m the length of a run. So with :math:`R_1(i)` the G of all
    that comes after position i, all splits are tried by

    .. math:: R_c(i) = \max_{t \ge i} G(i, t] + R_{c-1}(t)

    Runs may be empty: fewer distinct scores than clusters need no rule of their own. Of equally good partitions the one
    with the smallest highest cluster is taken. In float64, from the row's highest score.

    >>> top_cluster_floor(torch.tensor([[-9.0, -1.0, -2.0, -5.0, -torch.inf]]), clusters=3)
    tensor([-2.])
    """
    if clusters < 2:
        raise ValueError(f"clusters must be at least 2, got {clusters}. One cluster would select every negative.")
    ranked = scores.t().sort(dim=0, descending=True).values  # [n b]: splits are tried for all rows of the batch at once
    n, is_padding = len(ranked), ranked == -torch.inf
    sums = running_sum((ranked.double() - ranked[0]).masked_fill_(is_padding, 0.0))
    length = torch.arange(1, n + 1, dtype=torch.float64, device=scores.device)[:, None]
    length_after = ((~is_padding).sum(dim=0) - length).clamp_(min=1)
    rest = (sums[-1] - sums).square_().div_(length_after).masked_fill_(is_padding, -torch.inf)
    for _ in range(clusters - 2):
        best = rest.clone()
        for m in range(1, n):  # a run of length m after each position
            run = sums[m:] - sums[:-m]
            best[:-m] = torch.maximum(best[:-m], torch.addcmul(rest[m:], run, run, value=1 / m))
        rest = best
    end_of_top = (sums.square_().div_(length) + rest).argmax(dim=0)  # the first, where several are equal
    return ranked.gather(0, end_of_top[None])[0]
