"""Read from the environment on what training computes; refuse a wrong value before anything starts."""

import os
from pathlib import Path

from pydantic import ValidationError

from contracts.config import ComputeConfig
from contracts.files.yaml_lines import ConfigurationError

VARIABLES = {
    "device": "BORDERLINE_DEVICE",
    "precision": "BORDERLINE_PRECISION",
    "threads": "BORDERLINE_THREADS",
    "processes": "BORDERLINE_PROCESSES",
    "checkpoint_every_s": "BORDERLINE_CHECKPOINT_EVERY_S",
}
CUDA_TRACES = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg", "/dev/nvmap")
"""Files that show a driver on which CUDA can run: on Linux, in a container with a GPU, on WSL, on Jetson."""


def compute_from_environment() -> ComputeConfig:
    """The configuration that the variables give; an empty one counts as absent.

    Raises:
        ConfigurationError: a value that is not accepted, or a device that this machine cannot have.
    """
    given = {field: os.environ[name] for field, name in VARIABLES.items() if os.environ.get(name)}
    try:
        compute = ComputeConfig.model_validate(given)
    except ValidationError as error:
        problems = (
            f"{VARIABLES[str(problem['loc'][0])]} {problem['msg'].replace('Input should be', 'must be')}, "
            f"got '{problem['input']}'"
            for problem in error.errors()
        )
        raise ConfigurationError("; ".join(problems) + ".") from error
    if compute.device == "cuda" and not has_cuda_driver():
        raise ConfigurationError(
            "device must be one this machine has, got cuda, but no NVIDIA driver is loaded. Take auto or cpu."
        )
    return compute


def has_cuda_driver() -> bool:
    """Whether CUDA may be there; asked without torch, so that a refusal comes before the first table is read."""
    return any(Path(trace).exists() for trace in CUDA_TRACES)
