"""The processes that train one policy together: one, or as many as `torchrun` or `accelerate launch` started.

A thin layer over `accelerate`, which places the model and, for several processes, wraps it (DDP).
"""

import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import (
    DistributedDataParallelKwargs,
    DistributedType,
    KwargsHandler,
    broadcast_object_list,
    gather_object,
)
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

T = TypeVar("T")

WHOLE = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)
"""Ways to train in which every process has whole weights, as validation, resume points and the policy need them."""
SEEDS_APART = 2**31
"""Above every seed of an experiment: no worker draws what another one, or another seed, draws."""


def worker_seed(seed: int) -> int:
    """The seed of what each worker draws for itself; that of the first worker is the experiment's."""
    return seed + SEEDS_APART * int(os.environ.get("RANK", "0"))


class Workers:
    """All of them, as seen from one."""

    def __init__(self, device: torch.device) -> None:
        handlers: list[KwargsHandler] = [DistributedDataParallelKwargs(broadcast_buffers=False)]
        self.accelerator = Accelerator(
            cpu=device.type == "cpu",
            mixed_precision="no",  # the policy's own autocast says what is computed in bf16
            kwargs_handlers=handlers,
        )
        if self.accelerator.distributed_type not in WHOLE:
            raise ValueError(
                f"processes must each hold the whole policy, got {self.accelerator.distributed_type.value} from the "
                "configuration of accelerate. Choose plain data parallelism, or start with torchrun; for a policy that "
                "does not fit, train an adapter."
            )
        self.size, self.rank = self.accelerator.num_processes, self.accelerator.process_index

    @property
    def is_main(self) -> bool:
        """Whether this one writes telemetry, resume points and policies."""
        return self.rank == 0

    def share(self, n: int) -> np.ndarray:
        """Which of n things are this worker's: every `size`-th."""
        return np.arange(self.rank, n, self.size)

    def read(self, part: Tensor, flags: Sequence[bool], *, alike: Tensor) -> tuple[list[float], float]:
        """Sums over the workers of a number that each has a part of and of flags, and a number that all have alike.

        This waits for the device once, and for all workers.
        """
        if self.size == 1:
            value, same = torch.stack([part, alike.double()]).tolist()
            return [value, *map(float, flags)], same
        mine = torch.cat([part[None], torch.tensor(flags, dtype=torch.float64, device=part.device)])
        *sums, same = torch.cat([self.accelerator.reduce(mine, "sum"), alike[None].double()]).tolist()  # pyright: ignore
        return sums, same

    def gathered(self, mine: T) -> list[T]:
        """What each worker has, by rank."""
        return [mine] if self.size == 1 else gather_object([mine])

    def of_main(self, value: T) -> T:
        """What the main worker has."""
        if self.size == 1:
            return value
        values: list[T] = [value]
        broadcast_object_list(values)
        return values[0]

    def wait(self) -> None:
        """Until all workers are here."""
        self.accelerator.wait_for_everyone()

    def clip(self, weights: Iterable[torch.nn.Parameter], largest: float) -> Float[Tensor, ""]:
        """Scales the gradient down to the largest norm; returns the norm before."""
        weights = list(weights)
        norm = get_total_norm([weight.grad for weight in weights if weight.grad is not None])
        if norm.device.type != "cpu" or norm > largest:  # times 1 costs a walk through memory, but on CUDA no waiting
            clip_grads_with_norm_(weights, largest, norm)
        return norm

    def without_sync(self, module: torch.nn.Module) -> AbstractContextManager[None]:
        """Gradients inside are added up here, and exchanged after the first backward pass outside."""
        return nullcontext() if self.size == 1 else self.accelerator.no_sync(module)

    def close(self) -> None:
        """Leaves the group."""
        self.accelerator.end_training()
