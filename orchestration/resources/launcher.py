"""Runs a training command in a process group of its own, follows its telemetry, and leaves no orphan.

Commands are forked from a nursery, a process that has torch and transformers loaded: a run of twenty commands pays for
their import once.
"""

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import dagster as dg

from assets.lake.ports import Telemetry, TrainingFailed
from contracts.config import ComputeConfig, Spec, TrainingSpec
from orchestration import settings
from orchestration.compute import compute_from_environment
from orchestration.resources.interrupts import DeferredInterrupts
from orchestration.resources.usage import Usage

POLL_S = 0.2
LOG_TAIL = 15


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
    checkpoints: str = ".borderline/checkpoints"
    """Where they are kept."""
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
            checkpoints=str(settings.home() / "checkpoints"),
        )

    @property
    def compute(self) -> ComputeConfig:
        """See `assets.lake.ports.Launcher`."""
        fields = ("device", "precision", "threads", "processes", "checkpoint_every_s")
        return ComputeConfig.model_validate({name: getattr(self, name) for name in fields})

    @property
    def checkpoints_root(self) -> Path:
        """See `assets.lake.ports.Launcher`."""
        return Path(self.checkpoints)

    def run(self, stage: str, spec: Spec, on_telemetry: Callable[[Telemetry], None]) -> None:
        """See `assets.lake.ports.Launcher`."""
        output = spec.output
        spec_path, log_path = output / "spec.json", output / "train.log"
        spec_path.write_text(spec.model_dump_json(indent=1), encoding="utf-8")
        log_path.touch()
        module, arguments = f"{self.package}.{stage}", [str(spec_path)]
        if spec.compute.processes > 1 and isinstance(spec, TrainingSpec):
            module, arguments = "training.launch", [str(spec.compute.processes), module, *arguments]
        command = _nursery().start(module, arguments, log_path)
        usage = Usage(command.pid)
        try:
            with DeferredInterrupts() as interrupts, _Tail(output / "telemetry.jsonl", on_telemetry) as tail:
                while command.poll() is None:
                    tail.read()  # writes to two databases
                    sample = usage.telemetry()
                    if sample is not None:
                        on_telemetry(sample)
                    interrupts.deliver()
                    time.sleep(POLL_S)
                tail.read()
        except BaseException:  # an interrupt or a failing callback: whatever it is, the command must not outlive it
            self._stop(command)
            raise
        finally:
            _signal_group(command.pid, signal.SIGKILL)  # what it started itself, if any of that is left
        exit_code = command.poll()
        if exit_code:
            # A command that a signal asked to end leaves by itself, with 128 + the signal's number.
            exit_code = 128 - exit_code if exit_code > 128 else exit_code
            raise TrainingFailed(_failure(stage, exit_code, log_path), exit_code)

    def _stop(self, command: "_Command") -> None:
        for number, grace in ((signal.SIGINT, self.interrupt_grace_s), (signal.SIGTERM, self.terminate_grace_s)):
            _signal_group(command.pid, number)
            deadline = time.monotonic() + grace
            while time.monotonic() < deadline:
                if command.poll() is not None:
                    return
                time.sleep(0.05)
        _signal_group(command.pid, signal.SIGKILL)
        while command.poll() is None:
            time.sleep(0.05)


class _Nursery:
    """A process that has torch loaded and forks a command on request; see `training/nursery.py`."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "training.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # what a buffer holds, select does not see
            start_new_session=True,  # Ctrl-C in the terminal reaches us, and we tell the command
            env={**os.environ, **_child_environment()},
        )

    @property
    def is_alive(self) -> bool:
        return self.owner == os.getpid() and self.process.poll() is None

    def start(self, module: str, arguments: list[str], log: Path) -> "_Command":
        request = json.dumps({"module": module, "arguments": arguments, "log": str(log)})
        assert self.process.stdin is not None
        self.process.stdin.write(request.encode() + b"\n")
        self.process.stdin.flush()
        return _Command(self, self.answer()["pid"])

    def answer(self) -> dict[str, int]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise TrainingFailed("the process that starts training commands is gone; its message is above.", 1)
        return json.loads(line)

    def has_answer(self) -> bool:
        assert self.process.stdout is not None
        return bool(select.select([self.process.stdout], [], [], 0)[0])

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


class _Command:
    """A command that a nursery has started."""

    def __init__(self, nursery: _Nursery, pid: int) -> None:
        self.nursery, self.pid = nursery, pid
        self.exit_code: int | None = None

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        if self.exit_code is None and self.nursery.has_answer():
            self.exit_code = self.nursery.answer()["exit_code"]
        return self.exit_code


_STARTED: list[_Nursery] = []


def _nursery() -> _Nursery:
    """The nursery of this process: one for all commands it will start, so that libraries are loaded once."""
    if not (_STARTED and _STARTED[-1].is_alive):
        nursery = _Nursery()
        atexit.register(nursery.close)
        _STARTED[:] = [nursery]
    return _STARTED[-1]


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
            event = json.loads(line)
            self.on_telemetry(Telemetry(event["step"], event["epoch"], event["kind"], event["metrics"]))


def _child_environment() -> dict[str, str]:
    return {
        "BORDERLINE_PARENT_PID": str(os.getpid()),  # the nursery asks the kernel to die with us
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # deterministic matrix products on CUDA
    }


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
