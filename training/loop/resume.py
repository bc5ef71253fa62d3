"""What a training is made of, as tensors with names: into a checkpoint and out of it, to the bit."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from contracts.config import ComputeConfig, TrainingSpec, identity
from training.engine.device import Device
from training.io.base_model import base_sha256
from training.loop.resume_points import sha256_of
from training.loop.workers import worker_seed

Named = dict[str, Tensor]
ROOT = Path(__file__).parents[2]
ROOMS = ("contracts", "training")
"""Whose code a training runs."""


def made_from(spec: TrainingSpec) -> dict[str, str]:
    """Hashes of all that the result depends on: the experiment, and every table, policy and base model that is read."""
    files = {
        name: sha256_of(value)
        for name in type(spec).model_fields
        if isinstance(value := getattr(spec, name), Path) and name not in ("output", "checkpoints")
    }
    base = base_sha256(spec.experiment.backbone) if spec.experiment.kind == "sft" else None
    of_base = {} if base is None else {"base model": base}
    return {"experiment": identity(spec.experiment, exclude={"pool"}), **files, **of_base}


def made_by(device: Device, compute: ComputeConfig, processes: int) -> dict[str, str]:
    """What the bits of the result depend on beside that."""
    sources = hashlib.sha256()
    for path in sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        sources.update(path.read_bytes())
    name = torch.cuda.get_device_name(device.device) if device.device.type == "cuda" else "CPU"
    return {
        "code": sources.hexdigest()[:16],
        "torch": torch.__version__,
        "device": name,
        "precision": "bf16" if device.is_bf16 else "float32",
        "micro_batch_tokens": str(compute.micro_batch_tokens),
        "gradient_checkpointing": str(compute.gradient_checkpointing).lower(),
        "threads": str(torch.get_num_threads()),
        "processes": str(processes),
    }


def optimizer_tensors(optimizer: torch.optim.Optimizer, weights: Mapping[str, Tensor]) -> Named:
    """The optimizer's state, `<weight>/<quantity>`: moments and step counts, in host memory."""
    return {
        f"{name}/{key}": value.detach().cpu()
        for name, weight in weights.items()
        for key, value in optimizer.state.get(weight, {}).items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, weights: Mapping[str, Tensor], state: Named) -> None:
    """Puts the state back, where the weights are."""
    for name, value in state.items():
        weight, key = weights[name.rpartition("/")[0]], name.rpartition("/")[2]
        optimizer.state[weight][key] = value.to(weight.device)


def generator_states(generator: torch.Generator | None, device: torch.device) -> Named:
    """Where the generators of this process stand: the CPU's, the device's, and that of the losses."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    if generator is not None:
        state["losses"] = generator.get_state()
    return state


def restore_generators(
    of_workers: Named, rank: int, generator: torch.Generator | None, device: torch.device, *, seed: int, step: int
) -> None:
    """Puts the generators where they stood; begins anew from seed and step, where they were other ones."""
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
    """The random states of all workers under one roof, `<rank>/<generator>`."""
    return {f"{rank}/{name}": state for rank, of_worker in enumerate(states) for name, state in of_worker.items()}
