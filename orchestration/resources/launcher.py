"""Runs a training command in a process group of its own, follows its telemetry, and leaves no orphan.

Commands are forked from multiprocessing's fork server, which has torch and transformers loaded: a run of twenty
commands pays for their import once.
"""

import json
import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType

import dagster as dg

from assets.lake.ports import Telemetry, TrainingFailed
from contracts.config import ComputeConfig, Spec, TrainingSpec
from contracts.words import TELEMETRY
from orchestration import settings
from orchestration.compute import compute_from_environment, has_cuda_driver
from orchestration.resources.device_lock import device_lock
from orchestration.resources.interrupts import DeferredInterrupts
from orchestration.resources.usage import Usage
from training.forked import run_module

POLL_S = 0.2
LOG, LOG_TAIL = "train.log", 15
SERVER_GONE = 255
"""The exit code that multiprocessing gives a command whose fork server has died."""
COMMAND_ENVIRONMENT = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # deterministic matrix products on CUDA
}


class SubprocessLauncher(dg.ConfigurableResource):
    """The Launcher on this machine: `python -m training.<stage> SPEC.json`."""

    interrupt_grace_s: float = 20.0
    """How long a child may take to end after SIGINT, before SIGTERM."""
    terminate_grace_s: float = 5.0
    """How long after SIGTERM, before SIGKILL."""
    device: str = "auto"
    """auto, cpu or cuda."""
    precision: str = "auto"
    """auto, float32 or bf16."""
    threads: int | None = None
    """CPU threads of a command; all cores, when absent."""
    processes: int = 1
    """How many share each step of a training; on CUDA, one for each GPU."""
    checkpoint_every_s: float = 60.0
    """Seconds from one checkpoint of a training under way to the next."""
    home: str = ".borderline"
    """The folder of the locks of devices, and of the checkpoints of trainings under way."""
    package: str = "training"
    """Where the commands are."""

    @classmethod
    def from_environment(cls) -> "SubprocessLauncher":
        """From the variables `BORDERLINE_HOME`, and `BORDERLINE_DEVICE` and the like, one for each field of `compute`.

        Raises:
            ConfigurationError: one of them has a value that is not accepted.
        """
        compute = compute_from_environment()
        return cls(
            device=compute.device,
            precision=compute.precision,
            threads=compute.threads,
            processes=compute.processes,
            checkpoint_every_s=compute.checkpoint_every_s,
            home=str(settings.home()),
        )

    @property
    def compute(self) -> ComputeConfig:
        """See `assets.lake.ports.Launcher`."""
        fields = ("device", "precision", "threads", "processes", "checkpoint_every_s")
        return ComputeConfig.model_validate({name: getattr(self, name) for name in fields})

    @property
    def resume_points_root(self) -> Path:
        """See `assets.lake.ports.Launcher`."""
        return Path(self.home) / "checkpoints"

    def run(self, stage: str, spec: Spec, on_telemetry: Callable[[Telemetry], None]) -> float:
        """See `assets.lake.ports.Launcher`."""
        output = spec.output
        spec_path, log_path = output / "spec.json", output / LOG
        spec_path.write_text(spec.model_dump_json(indent=1), encoding="utf-8")
        log_path.touch()
        module, arguments = f"{self.package}.{stage}", [str(spec_path)]
        if spec.compute.processes > 1 and isinstance(spec, TrainingSpec):
            module, arguments = "training.launch", [str(spec.compute.processes), module, *arguments]
        lock = Path(self.home) / f"device-{_device(spec.compute.device)}.lock"
        with device_lock(lock, dg.get_dagster_logger().info) as waited_s:
            exit_code = self._follow(module, arguments, output, on_telemetry)
        if exit_code == SERVER_GONE:
            said = f"training.{stage} was ended, because the process it was forked from is gone."
            raise TrainingFailed(said, -signal.SIGKILL)
        if exit_code:
            # A command that a signal asked to end leaves by itself, with 128 + the signal's number.
            exit_code = 128 - exit_code if exit_code > 128 else exit_code
            raise TrainingFailed(_failure(stage, exit_code, log_path), exit_code)
        return waited_s

    def _follow(
        self, module: str, arguments: list[str], output: Path, on_telemetry: Callable[[Telemetry], None]
    ) -> int:
        """Runs a command to its end, which it returns: an exit code, or a negative signal."""
        with DeferredInterrupts() as interrupts, _Tail(output / TELEMETRY, on_telemetry) as tail:
            command = _start(module, arguments, output / LOG)
            assert command.pid is not None
            try:
                usage = Usage(command.pid)
                while command.is_alive():
                    tail.read()  # writes to two databases
                    sample = usage.telemetry()
                    if sample is not None:
                        on_telemetry(sample)
                    interrupts.deliver()
                    command.join(POLL_S)
                tail.read()
            except BaseException:  # an interrupt or a failing callback: whatever it is, the command must not outlive it
                self._stop(command)
                raise
            finally:
                _signal_group(command.pid, signal.SIGKILL)  # what it started itself, if any of that is left
        assert command.exitcode is not None
        return command.exitcode

    def _stop(self, command: BaseProcess) -> None:
        assert command.pid is not None
        for number, grace in ((signal.SIGINT, self.interrupt_grace_s), (signal.SIGTERM, self.terminate_grace_s)):
            _signal_group(command.pid, number)
            command.join(grace)
            if not command.is_alive():
                return
        _signal_group(command.pid, signal.SIGKILL)
        command.join()


def _start(module: str, arguments: list[str], log: Path) -> BaseProcess:
    """Forks a command from the fork server of this process, which the first call starts."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["training.preloaded"])
    command = context.Process(target=run_module, args=(module, arguments, log))
    os.environ.update(COMMAND_ENVIRONMENT)
    os.environ["BORDERLINE_PARENT_PID"] = str(os.getpid())
    # A child of multiprocessing imports the main module of its parent again. Ours would load Dagster into each command.
    main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
    try:
        command.start()
    finally:
        sys.modules["__main__"] = main
        del os.environ["BORDERLINE_PARENT_PID"]
    return command


class _Tail:
    """Reads the lines that were added to a JSON-lines file; a line still being written waits for the next read."""

    def __init__(self, path: Path, on_telemetry: Callable[[Telemetry], None]) -> None:
        self.path, self.on_telemetry = path, on_telemetry
        self.path.touch()

    def __enter__(self) -> "_Tail":
        self.file = self.path.open("rb")
        self.partial = b""
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def read(self) -> None:
        *lines, self.partial = (self.partial + self.file.read()).split(b"\n")
        for line in lines:
            entry = json.loads(line)
            self.on_telemetry(Telemetry(entry["step"], entry["epoch"], entry["kind"], entry["metrics"]))


def _device(asked: str) -> str:
    """The device that a command will take, as far as this machine shows it without torch."""
    return ("cuda" if has_cuda_driver() else "cpu") if asked == "auto" else asked


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return


def _failure(stage: str, exit_code: int, log_path: Path) -> str:
    with log_path.open(encoding="utf-8", errors="replace") as log:
        tail = "".join(deque(log, LOG_TAIL)).rstrip()
    how = f"was ended by {signal.Signals(-exit_code).name}" if exit_code < 0 else f"ended with exit code {exit_code}"
    hint = " (often: out of memory)" if exit_code == -signal.SIGKILL else ""
    kept = log_path.parent.parent / "failed" / log_path.name
    return f"training.{stage} {how}{hint}. Its log is kept in {kept}. Last lines:\n{tail}"
