"""Where a command computes: device, precision, threads, and that the same command twice computes the same bits."""

import os
from dataclasses import dataclass

import torch

from contracts.config import ComputeConfig


@dataclass(frozen=True)
class Device:
    """A device and the precision of the forward pass on it. Log-probabilities are float32 whatever it is."""

    device: torch.device
    is_bf16: bool = False

    def autocast(self) -> torch.autocast:
        """Matrix products inside run in bf16, where that is the precision."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.is_bf16)


CPU = Device(torch.device("cpu"))


def prepare_device(compute: ComputeConfig) -> Device:
    """The device that `compute` names; sets threads and determinism for the whole process.

    Raises:
        ValueError: CUDA is asked for and absent.
    """
    has_cuda = torch.cuda.is_available()
    if compute.device == "cuda" and not has_cuda:
        raise ValueError("device must be one this machine has, got cuda. Set compute.device to auto or cpu.")
    here, n_gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if has_cuda and compute.device != "cpu" and here >= n_gpus:
        raise ValueError(
            f"processes must be at most the visible GPUs, got process {here + 1} on a machine with {n_gpus}. "
            "Start fewer, or set compute.device to cpu."
        )
    if compute.threads is not None:
        torch.set_num_threads(compute.threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts; without it, no determinism
    torch.use_deterministic_algorithms(True)
    kind = "cuda" if compute.device == "cuda" or (compute.device == "auto" and has_cuda) else "cpu"
    if kind == "cuda":
        torch.cuda.set_device(here)
    device = torch.device(kind, here) if kind == "cuda" else torch.device(kind)
    return Device(device, compute.precision == "bf16" or (compute.precision == "auto" and kind == "cuda"))
