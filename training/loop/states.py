"""The states of optimizer and generators as named tensors, to the bit: what a resume point holds beside weights."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from training.loop.workers import worker_seed

Named = dict[str, Tensor]


def optimizer_tensors(optimizer: torch.optim.Optimizer, weights: Mapping[str, Tensor]) -> Named:
    """The optimizer's state, `<weight>/<quantity>`: moments and step counts, in host memory."""
    return {
        f"{name}/{key}": value.detach().cpu()
        for name, weight in weights.items()
        for key, value in optimizer.state.get(weight, {}).items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, weights: Mapping[str, Tensor], state: Named) -> None:
    """Puts the state back, on the device of each weight."""
    for name, value in state.items():
        weight, key = weights[name.rpartition("/")[0]], name.rpartition("/")[2]
        optimizer.state[weight][key] = value.to(weight.device)


def generator_states(generator: torch.Generator | None, device: torch.device) -> Named:
    """The states of this process's generators: the CPU's, the device's, and that of the losses."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    if generator is not None:
        state["losses"] = generator.get_state()
    return state


def restore_generators(
    of_workers: Named, rank: int, generator: torch.Generator | None, device: torch.device, *, seed: int, step: int
) -> None:
    """Puts the states back; where the generators were others, seeds these anew from seed and step."""
    mine = {name.partition("/")[2]: state for name, state in of_workers.items() if name.startswith(f"{rank}/")}
    if mine.keys() != generator_states(generator, device).keys():
        torch.manual_seed(worker_seed(seed) + step)
        if generator is not None:
            generator.manual_seed(worker_seed(seed) + step)
        return
    torch.set_rng_state(mine["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(mine["cuda"], device)
    if generator is not None:
        generator.set_state(mine["losses"])


def by_rank(states: Sequence[Named]) -> Named:
    """The states of all workers in one mapping, `<rank>/<generator>`."""
    return {f"{rank}/{name}": state for rank, of_worker in enumerate(states) for name, state in of_worker.items()}
