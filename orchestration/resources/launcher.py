"""Runs a training command as a child in a process group of its own, follows its telemetry, and leaves no orphan."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import dagster as dg

from assets.ports import Telemetry, TrainingFailed
from training.config import ComputeConfig, Spec

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
    package: str = "training"
    """Where the commands are."""

    @classmethod
    def from_environment(cls) -> "SubprocessLauncher":
        """Device, precision and threads from `BORDERLINE_DEVICE`, `BORDERLINE_PRECISION` and `BORDERLINE_THREADS`."""
        threads = os.environ.get("BORDERLINE_THREADS")
        return cls(
            device=os.environ.get("BORDERLINE_DEVICE", "auto"),
            precision=os.environ.get("BORDERLINE_PRECISION", "auto"),
            threads=int(threads) if threads else None,
        )

    @property
    def compute(self) -> ComputeConfig:
        """See `assets.ports.Launcher`."""
        return ComputeConfig.model_validate(
            {"device": self.device, "precision": self.precision, "threads": self.threads}
        )

    def run(self, stage: str, spec: Spec, on_telemetry: Callable[[Telemetry], None]) -> None:
        """See `assets.ports.Launcher`."""
        output = spec.output
        spec_path = output / "spec.json"
        spec_path.write_text(spec.model_dump_json(indent=1), encoding="utf-8")
        log_path = output / "train.log"
        with log_path.open("wb") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", f"{self.package}.{stage}", str(spec_path)],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # one signal to the group reaches whatever the child starts
                env={**os.environ, **_child_environment()},
            )
        try:
            with _Tail(output / "telemetry.jsonl", on_telemetry) as tail:
                while child.poll() is None:
                    tail.read()
                    time.sleep(POLL_S)
                tail.read()
        except BaseException:  # an interrupt or a failing callback: whatever it is, the child must not outlive it
            self._stop(child)
            raise
        finally:
            _signal_group(child.pid, signal.SIGKILL)  # grandchildren, if any are left
        if child.returncode != 0:
            # A command that a signal asked to end leaves by itself, with 128 + the signal's number.
            exit_code = 128 - child.returncode if child.returncode > 128 else child.returncode
            raise TrainingFailed(_failure(stage, exit_code, log_path), exit_code)

    def _stop(self, child: subprocess.Popen[bytes]) -> None:
        for number, grace in ((signal.SIGINT, self.interrupt_grace_s), (signal.SIGTERM, self.terminate_grace_s)):
            _signal_group(child.pid, number)
            try:
                child.wait(timeout=grace)
                return
            except subprocess.TimeoutExpired:
                continue
        _signal_group(child.pid, signal.SIGKILL)
        child.wait()


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
        "BORDERLINE_PARENT_PID": str(os.getpid()),  # the child asks the kernel to die with us
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
