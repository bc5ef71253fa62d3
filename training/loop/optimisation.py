"""How weights move: the learning rate of each step, and the optimizer with its groups."""

import math
from collections.abc import Iterable

import torch

from contracts.config import Descent, Lion


def learning_rate(config: Descent, step: int, total: int) -> float:
    """At step 1 .. total: linear warm-up from 0, then the schedule, which reaches 0 behind the last step.

    >>> config = Descent(lr=1.0, schedule="linear", warmup=0.5)
    >>> [learning_rate(config, step, 4) for step in (1, 2, 3, 4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    warmup = round(config.warmup * total)
    if step <= warmup:
        return config.lr * step / warmup
    done = (step - 1 - warmup) / max(1, total - warmup)
    match config.schedule:
        case "constant":
            return config.lr
        case "linear":
            return config.lr * (1.0 - done)
        case "cosine":
            return config.lr * 0.5 * (1.0 + math.cos(math.pi * done))


def build_optimizer(weights: Iterable[torch.nn.Parameter], config: Descent) -> torch.optim.Optimizer:
    """The optimizer that `config` names, over the weights that train."""
    weights = list(weights)
    groups = [  # gains of normalisation layers are scales, which decay would only distort
        {"params": [weight for weight in weights if weight.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [weight for weight in weights if weight.dim() < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if isinstance(config, Lion):
        from lion_pytorch import Lion as LionOptimizer  # a package that a machine without Lion experiments can lack

        return LionOptimizer(groups, lr=config.lr)
    return torch.optim.AdamW(groups, lr=config.lr, fused=True)
