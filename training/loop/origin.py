"""What the result of a command depends on, as hashes and names: they tell unfinished work of other inputs apart."""

import hashlib
from pathlib import Path

import torch

from contracts.config import ComputeConfig, Spec, TrainingSpec, policy_identity
from contracts.durable import sha256_of
from training.engine.device import Device
from training.io.base_model import base_sha256

WRITTEN = ("output", "checkpoints", "shards")
"""Fields of a specification that name what a command writes."""
ROOT = Path(__file__).parents[2]
ROOMS = ("contracts", "training")
"""The rooms whose code a training runs."""


def made_from(spec: TrainingSpec) -> dict[str, str]:
    """Hashes of all that the result depends on: the experiment, and every table, policy and base model that is read."""
    base = base_sha256(spec.experiment.backbone) if spec.experiment.kind == "sft" else None
    of_base = {} if base is None else {"base model": base}
    return {"experiment": policy_identity(spec.experiment), **files_read(spec), **of_base}


def files_read(spec: Spec) -> dict[str, str]:
    """SHA-256 of every table and policy that a command reads, by the field that names it."""
    return {
        name: sha256_of(value / "policy.json" if value.is_dir() else value)  # a policy's card names its other files
        for name in type(spec).model_fields
        if isinstance(value := getattr(spec, name), Path) and name not in WRITTEN
    }


def made_by(device: Device, compute: ComputeConfig, processes: int) -> dict[str, str]:
    """What else the bits of the result depend on: code, libraries, device, passes, number of processes."""
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
