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
    with the smallest highest cluster is taken. In float64, from the row's highest score. Memory: 8 b n² bytes.

    >>> top_cluster_floor(torch.tensor([[-9.0, -1.0, -2.0, -5.0, -torch.inf]]), clusters=3)
    tensor([-2.])
    """
    if clusters < 2:
        raise ValueError(f"clusters must be at least 2, got {clusters}. One cluster would select every negative.")
    n, device = scores.shape[-1], scores.device
    # Transposed: the rows of the batch are the long side, and the long side is fastest last.
    ranked = scores.t().sort(dim=0, descending=True).values.contiguous()
    is_padding = ranked == -torch.inf
    sums = running_sum((ranked.double() - ranked[0]).masked_fill(is_padding, 0.0).t()).t().contiguous()
    position = torch.arange(n, dtype=torch.float64, device=device)[:, None]
    lengths = position.t() - position  # [i, t]: of the run from after i to t
    per_length = (1 / lengths.clamp(min=1))[:, :, None]
    backward = torch.zeros_like(lengths).masked_fill(lengths < 0, -torch.inf)[:, :, None]

    n_after = (~is_padding).sum(dim=0) - position - 1
    rest = ((sums[-1] - sums).square() / n_after.clamp(min=1)).masked_fill(is_padding, -torch.inf)
    for _ in range(clusters - 2):
        gains = (sums - sums[:, None]).square_().mul_(per_length)
        rest = gains.add_(rest).add_(backward).amax(dim=1)
    end_of_top = (sums.square() / (position + 1) + rest).argmax(dim=0)  # the first, where several are equal
    return ranked.gather(0, end_of_top[None])[0]
