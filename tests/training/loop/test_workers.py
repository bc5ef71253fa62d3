"""Two processes train as one: the same losses and weights, one telemetry, one policy, one checkpoint."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate.utils import DistributedType
from safetensors.torch import load_file

from assets.lake.ports import Telemetry
from contracts.config import SftSpec
from orchestration.resources.launcher import SubprocessLauncher
from tests.training.loop.test_resume import SFT, Trainings, inputs
from training import score, sft
from training.loop import workers
from training.loop.replies import Replies

__all__ = ["inputs"]  # a fixture
NO_DROPOUT = {**SFT, "backbone": {**SFT["backbone"], "dropout": 0.0}}
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "training.sft"]
ACCELERATE = [  # --multi_gpu makes it start several on one machine, with or without GPUs: the specification says CPU
    *("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
    *("--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0", "--module", "training.sft"),
]
OURS = ["-m", "training.launch", "2", "training.sft"]


@pytest.fixture
def trainings(tables: Any, tmp_path: Path) -> Trainings:
    return Trainings(tables, tmp_path)


def start(output: Path, command: list[str] = TORCHRUN) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *command, str(output / "spec.json")],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[3])},
        stderr=subprocess.PIPE,
        text=True,
    )


def run(output: Path, command: list[str] = TORCHRUN) -> str:
    child = start(output, command)
    _, said = child.communicate(timeout=240)
    assert child.returncode == 0, said
    return said


def measured(lines: list[dict[str, Any]], kind: str, name: str) -> list[float]:
    return [line["metrics"][name] for line in lines if line["kind"] == kind]


@pytest.mark.slow
@pytest.mark.parametrize("command", [TORCHRUN, ACCELERATE], ids=["torchrun", "accelerate launch"])
def test_two_processes_train_as_one(
    trainings: Trainings, telemetry_lines: Callable[[Path], list[dict[str, Any]]], command: list[str]
) -> None:
    # 60 tokens a pass: several passes a step, unequally many for the two
    compute = {"log_every": 1, "threads": 1, "micro_batch_tokens": 60}
    fields = {"experiment": NO_DROPOUT, "compute": compute, "checkpoints": None}
    one = trainings.run(sft, **fields)
    two = trainings.spec(**fields)
    run(two, command)
    of_one, of_two = telemetry_lines(one), telemetry_lines(two)
    assert [(line["kind"], line["step"]) for line in of_two if line["kind"] != "progress"] == [
        (line["kind"], line["step"]) for line in of_one if line["kind"] != "progress"
    ]
    for kind, name in (("train", "loss"), ("train", "gradient_norm"), ("validation", "loss")):
        assert measured(of_two, kind, name) == pytest.approx(measured(of_one, kind, name), rel=1e-6), (kind, name)
    of_one, of_two = (load_file(output / "policy" / "model.safetensors") for output in (one, two))
    for name, weight in of_one.items():
        torch.testing.assert_close(of_two[name], weight, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.slow
def test_two_processes_end_together_where_they_are_told_to(
    trainings: Trainings, inputs: dict[str, Any], telemetry_lines: Callable[[Path], list[dict[str, Any]]]
) -> None:
    budget = {"epochs": 3, "batch_size": 64, "validations": 5, "keep": "last", "stop_on_collapse": True}
    experiment = {**inputs["experiment"], "budget": budget}
    output = trainings.spec(**{**inputs, "experiment": experiment, "awaits_replies": True, "checkpoints": None})
    replies = Replies(output)
    replies.promise()
    for step in range(1, 16):
        replies.give(step, end=step == 9)
    run(output, ["-m", "training.launch", "2", "training.preference"])
    lines = telemetry_lines(output)
    assert [line["step"] for line in lines if line["kind"] == "validation"] == [0, 3, 6, 9]
    assert lines[-1]["metrics"]["selected_step"] == 9


@pytest.mark.slow
def test_fewer_windows_than_processes_in_a_step_are_no_obstacle(trainings: Trainings) -> None:
    experiment = {**NO_DROPOUT, "budget": {"epochs": 1, "batch_size": 1, "validations": 1}}
    fields = {"experiment": experiment, "checkpoints": None}
    one, two = trainings.run(sft, **fields), trainings.spec(**fields)
    run(two, OURS)
    of_one, of_two = (load_file(output / "policy" / "model.safetensors") for output in (one, two))
    for name, weight in of_one.items():
        torch.testing.assert_close(of_two[name], weight, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.slow
def test_two_interrupted_processes_go_on_together_to_the_bit(
    trainings: Trainings, telemetry_lines: Callable[[Path], list[dict[str, Any]]]
) -> None:
    """With dropout: each has random numbers of its own."""
    experiment = {**SFT, "budget": {"epochs": 40, "batch_size": 64, "validations": 4}}
    compute = {"log_every": 1, "threads": 1, "checkpoint_every_s": 3600}
    whole = trainings.spec(experiment=experiment, compute=compute, checkpoints=None)
    run(whole)
    output = trainings.spec(experiment=experiment, compute=compute)
    child = start(output, OURS)
    deadline = time.monotonic() + 120
    while not (output / "telemetry.jsonl").exists() or '"train"' not in (output / "telemetry.jsonl").read_text():
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.send_signal(signal.SIGTERM)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 128 + signal.SIGTERM, said
    assert "is saved" in said
    assert "Traceback" not in said
    resumed = trainings.spec(experiment=experiment, compute=compute)
    assert "resumed from step" in run(resumed)
    assert (resumed / "policy" / "model.safetensors").read_bytes() == (
        whole / "policy" / "model.safetensors"
    ).read_bytes()
    for name in ("loss", "gradient_norm"):
        assert measured(telemetry_lines(resumed), "train", name) == measured(telemetry_lines(whole), "train", name)


@pytest.mark.slow
def test_the_launcher_starts_as_many_and_an_interrupt_leaves_none(
    trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    launcher = SubprocessLauncher(device="cpu", threads=1, processes=2, checkpoint_every_s=3600)
    forever = {**NO_DROPOUT, "budget": {"epochs": 10_000, "batch_size": 64, "validations": 1}}
    output = trainings.spec(experiment=forever, compute=launcher.compute.model_dump())
    spec = SftSpec.model_validate_json((output / "spec.json").read_text())
    seen: list[int] = []

    def stop_when_it_trains(line: Telemetry) -> None:
        seen[:] = processes_with(str(output))
        if line.kind == "train":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        launcher.run("sft", spec, stop_when_it_trains)
    assert len(seen) == 2
    deadline = time.monotonic() + 20
    while processes_with(str(output)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert list(trainings.checkpoints.glob("step-*"))


def processes_with(argument: str) -> list[int]:
    """Pids of the training processes that were started with an argument that holds this text."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if argument.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def test_what_several_processes_cannot_share_is_refused(
    trainings: Trainings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert score.main([str(trainings.spec() / "spec.json")]) == 2
    assert capsys.readouterr().err == "training.score must run as one process, got 2. Start it without torchrun.\n"


@pytest.mark.parametrize("kind", [DistributedType.FSDP, DistributedType.DEEPSPEED])
def test_processes_with_a_part_of_the_weights_are_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, kind: DistributedType
) -> None:
    monkeypatch.setattr(workers, "Accelerator", lambda **_: SimpleNamespace(distributed_type=kind))
    with pytest.raises(ValueError, match=f"must each hold the whole policy, got {kind.value}"):
        workers.Workers(torch.device("cpu"))


def test_a_gradient_that_is_long_enough_is_scaled_to_the_largest_norm_and_a_short_one_stays() -> None:
    weights = [torch.nn.Parameter(torch.zeros(3)), torch.nn.Parameter(torch.zeros(4))]
    alone = workers.Workers(torch.device("cpu"))
    for largest, expected in ((10.0, 5.0), (1.0, 1.0)):
        weights[0].grad, weights[1].grad = torch.tensor([3.0, 0.0, 0.0]), torch.tensor([0.0, 4.0, 0.0, 0.0])
        assert float(alone.clip(weights, largest)) == pytest.approx(5.0)
        after = torch.cat([weight.grad for weight in weights if weight.grad is not None]).norm()
        assert float(after) == pytest.approx(expected, rel=1e-5)
