"""What the environment says of where training computes, and that a wrong value is one line before anything starts."""

import pytest

from contracts.config import ComputeConfig
from contracts.files.yaml_lines import ConfigurationError
from orchestration import compute
from orchestration.compute import VARIABLES, compute_from_environment
from orchestration.resources.launcher import SubprocessLauncher


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES.values():
        monkeypatch.delenv(name, raising=False)


def test_without_variables_it_is_the_default() -> None:
    assert compute_from_environment() == ComputeConfig()


def test_every_variable_reaches_the_training_command(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"device": "cpu", "precision": "bf16", "threads": "3", "processes": "2", "checkpoint_every_s": "7.5"}
    for field, value in given.items():
        monkeypatch.setenv(VARIABLES[field], value)
    asked = SubprocessLauncher.from_environment().compute
    assert {field: str(getattr(asked, field)) for field in given} == given


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("BORDERLINE_THREADS", "two", "BORDERLINE_THREADS must be a valid integer"),
        ("BORDERLINE_THREADS", "0", "BORDERLINE_THREADS must be greater than or equal to 1, got '0'"),
        ("BORDERLINE_PRECISION", "fp8", "BORDERLINE_PRECISION must be 'auto', 'float32' or 'bf16', got 'fp8'"),
        ("BORDERLINE_PROCESSES", "-1", "BORDERLINE_PROCESSES must be greater than or equal to 1"),
        ("BORDERLINE_CHECKPOINT_EVERY_S", "inf", "BORDERLINE_CHECKPOINT_EVERY_S must be a finite number"),
    ],
)
def test_a_value_that_is_not_accepted_is_refused_by_the_name_of_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as refusal:
        compute_from_environment()
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_cuda_without_a_driver_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BORDERLINE_DEVICE", "cuda")
    monkeypatch.setattr(compute, "CUDA_TRACES", ("/no/such/file",))
    with pytest.raises(ConfigurationError, match="got cuda, but no NVIDIA driver is loaded"):
        compute_from_environment()
    monkeypatch.setattr(compute, "CUDA_TRACES", ("/no/such/file", "/"))
    assert compute_from_environment().device == "cuda"
