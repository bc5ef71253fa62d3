"""What a validation measures: the rank of each row's target, and the metrics of the ranks. Dimensions: r rows."""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float, Int

from contracts.ranks import hit_ratio_at_k, mrr, ndcg_at_k
from training.engine.policy import Policy
from training.engine.rank_rows import rank_targets
from training.io.rows import Rows
from training.loop.workers import Workers

RowValues = Mapping[str, Callable[[Int[np.ndarray, " r"]], Float[np.ndarray, " r"]]]
"""The value of each row in a metric, from the rank of its target."""
ROW_VALUES: RowValues = {
    "ndcg_at_10_full": lambda rank: ndcg_at_k(rank, 10),
    "recall_at_10_full": lambda rank: hit_ratio_at_k(rank, 10),
    "mrr_full": mrr,
}
"""Where the whole catalogue is ranked."""


def row_values(n_candidates: int) -> RowValues:
    """The metrics of a policy whose prompts list so many candidates; 0: no list, and the whole catalogue is ranked."""
    if n_candidates == 0:
        return ROW_VALUES
    return {
        f"hit_ratio_at_1_of_{n_candidates}": lambda rank: hit_ratio_at_k(rank, 1),
        f"mrr_of_{n_candidates}": mrr,
    }


def ranking_metrics(
    rank: Int[np.ndarray, " r"], logp: Float[np.ndarray, " r"], values_of: RowValues = ROW_VALUES
) -> dict[str, float]:
    """Means over rows, with one target each: the metrics of the ranks, and the loss in nats."""
    means = {name: float(np.mean(values(rank))) for name, values in values_of.items()}
    return {**means, "loss": float(-np.mean(logp, dtype=np.float64))}


def validate(
    policy: Policy, rows: Rows, workers: Workers, keeps_repeats: bool
) -> tuple[dict[str, float], Int[np.ndarray, " r"]]:
    """The metrics of the rows, and the rank of each row's target; every worker ranks its share."""
    rank, logp = np.zeros(len(rows), dtype=np.int64), np.zeros(len(rows), dtype=np.float32)
    mine = workers.share(len(rows))
    ranked = rank_targets(policy, rows.take(mine), keeps_repeats=keeps_repeats)
    for of_worker, ranks, logps in workers.gathered((mine, *ranked)):
        rank[of_worker], logp[of_worker] = ranks, logps
    return ranking_metrics(rank, logp, row_values(policy.vocabulary.n_candidates)), rank
