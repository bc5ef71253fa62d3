"""One optimizer step's gradients: what is asked of the policy, the losses of it, and their mean however it is cut.

Dimensions: r rows, c items scored per row.
"""

from contextlib import nullcontext

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from contracts.config import ComputeConfig
from training.criteria.criterion import Criterion
from training.engine.policy import Policy
from training.engine.windows import Trunks, Windows, cut, lay_out
from training.loop.workers import Workers

MAX_LOGITS = 2**26
"""Most logits of one forward pass (256 MiB in float32), beside `micro_batch_tokens`."""

Scored = list[tuple[np.ndarray, Tensor]]
"""For each pass of a step its rows and their log-probabilities, detached."""


class Scorer(nn.Module):
    """The policy as a module whose forward pass is what is trained: that is what DDP wraps."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.model, self.policy = policy.model, policy

    def forward(
        self, trunks: Trunks, items: Int[np.ndarray, "r c"], needs_normaliser: bool = True
    ) -> Float[Tensor, "r c"]:
        """See `Policy.item_logps` and `Policy.item_logits`."""
        return (self.policy.item_logps if needs_normaliser else self.policy.item_logits)(trunks, items)


def accumulate(
    policy: Policy,
    windows: Windows,
    criterion: Criterion,
    compute: ComputeConfig,
    workers: Workers | None = None,
    scorer: nn.Module | None = None,
) -> tuple[Float[Tensor, ""], Scored]:
    """Adds to the gradients that of the mean loss over all rows of the windows, however many passes they are cut into.

    Args:
        policy, criterion: make the losses.
        windows: of one optimizer step, the same for all workers; each takes its share.
        compute: how much one pass may hold.
        workers: only this process, when absent.
        scorer: the policy's `Scorer`, prepared for several workers.

    Returns:
        This worker's part of the mean loss, in float64; and what it scored.
    """
    if not policy.model.training:
        policy.model.train()
    workers = workers or Workers(policy.device.device)
    scorer = scorer or Scorer(policy)
    n_rows, size = len(windows.members.values), workers.size
    loss = torch.zeros((), dtype=torch.float64, device=policy.device.device)
    scored: Scored = []
    mine = windows if size == 1 else windows.take(workers.share(len(windows)))
    is_idle = len(mine) == 0  # fewer windows than workers: one pass without weight, because the others wait for it
    if is_idle:
        mine = windows.take(np.array([0]))
    parts = list(
        cut(
            mine,
            policy.vocabulary,
            lambda row: criterion.batch(row).items,
            max_tokens=compute.micro_batch_tokens,
            max_rows=max(1, MAX_LOGITS // policy.vocabulary.n_items),
        )
    )
    for at, part in enumerate(parts, start=1):
        trunks = lay_out(mine, part, policy.vocabulary)
        batch = criterion.batch(trunks.row)
        with nullcontext() if at == len(parts) else workers.without_sync(scorer):
            logps = scorer(trunks, batch.items, criterion.needs_normaliser)
            total = batch.losses(logps).sum() / n_rows
            (total * (0 if is_idle else size)).backward()  # DDP takes the mean over workers
        if not is_idle:
            loss += total.detach()
            scored.append((trunks.row, logps.detach()))
    return loss, scored
