"""A project that is walked in seconds (300 users, a tiny policy, two preference experiments), and commands in it.

`borderline_in` calls the command line as a function, so that all walks of a test worker load the libraries once.
`start` opens a process of its own, for tests of signals, of kills, and of what a terminal shows.
"""

import contextlib
import io
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

from orchestration.resources.lake import LakeStorage

if TYPE_CHECKING:
    from mlflow import MlflowClient

ROOT = Path(__file__).parents[2]
SHOP = """\
source: {kind: demo, users: 300, items: 150, seed: 3}
histories: {max_length: 20}
"""
SFT = """\
kind: sft
backbone: {kind: scratch, hidden: 16, layers: 1, heads: 2, context: 32}
optimizer: {kind: adamw, lr: 5.0e-3}
budget: {epochs: 2, batch_size: 256, validations: 2}
pool: {hard: 4, uniform: 6}
"""
PREFERENCE = """\
kind: preference
start_from: sft
objective: {{kind: {kind}, beta: 1.0}}
negatives: {{n: 5, miner: mixed}}
optimizer: {{kind: adamw, lr: 1.0e-3}}
budget: {{epochs: 1, batch_size: 256, validations: 2}}
"""

Borderline = Callable[..., subprocess.CompletedProcess[str]]


def write_project(folder: Path) -> None:
    for name, text in {
        "datasets/shop": SHOP,
        "experiments/sft": SFT,
        "experiments/dmpo": PREFERENCE.format(kind="dmpo"),
        "experiments/dynamic": PREFERENCE.format(kind="dynamicpo-dmpo"),
        "experiments/popularity": "kind: baseline\nbaseline: popularity\n",
        "experiments/random": "kind: baseline\nbaseline: random\n",
    }.items():
        path = folder / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def environment(project: Path, home: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in ("DAGSTER_HOME", "MLFLOW_TRACKING_URI")}
    return {
        **kept,
        "BORDERLINE_PROJECT": str(project),
        "BORDERLINE_HOME": str(home),
        "BORDERLINE_RAW": str(project / "raw"),
        "BORDERLINE_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }


def borderline_in(project: Path, home: Path, **variables: str) -> Borderline:
    """The command line as a function: the exit code and both outputs of `borderline ARGUMENTS` in this interpreter."""

    def borderline(*arguments: str) -> subprocess.CompletedProcess[str]:
        from borderline.cli.main import main

        out, err = io.StringIO(), io.StringIO()
        with contextlib.ExitStack() as stack:
            stack.enter_context(mock.patch.dict(os.environ, environment(project, home) | variables, clear=True))
            stack.enter_context(mock.patch.object(sys, "argv", ["borderline", *arguments]))
            stack.enter_context(contextlib.chdir(project))
            stack.enter_context(warnings.catch_warnings(action="ignore"))  # as for a person, not errors as in tests
            stack.enter_context(contextlib.redirect_stdout(out))
            stack.enter_context(contextlib.redirect_stderr(err))
            code = 0
            try:
                main()
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        return subprocess.CompletedProcess(["borderline", *arguments], code, out.getvalue(), err.getvalue())

    return borderline


def start(project: Path, home: Path, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    """`python -m borderline ARGUMENTS` as a process of its own, which hears the signals that a terminal sends."""
    return subprocess.Popen(
        [sys.executable, "-m", "borderline", *arguments],
        env=environment(project, home) | variables,
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_with_default_signals,
    )


def _with_default_signals() -> None:
    """A shell starts what it runs in the background with SIGINT ignored."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def wait_until(
    is_true: Callable[[], object], process: subprocess.Popen[str] | None = None, seconds: float = 120
) -> None:
    """Waits for a moment in the life of a process that must not end before it."""
    deadline = time.monotonic() + seconds
    while not is_true():
        assert process is None or process.poll() is None, "it ended too early"
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s"
        time.sleep(0.01)


def command_under(home: Path, command: str) -> int:
    """The pid of a training command that works in this home."""
    for comm in Path("/proc").glob("[0-9]*/comm"):
        try:
            if comm.read_text().strip() == command and str(home).encode() in (comm.parent / "environ").read_bytes():
                return int(comm.parent.name)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    raise AssertionError(f"no {command} is going on")


def telemetry_under(home: Path) -> str:
    """All that the trainings that are going on in this home have written."""
    found = (home / "lake").glob("*_policies/*/*/.staging-*/telemetry.jsonl")
    return "".join(path.read_text() for path in found)


def lake_of(home: Path) -> LakeStorage:
    return LakeStorage(root=str(home / "lake"), warehouse=str(home / "warehouse.duckdb"))


def client_of(home: Path) -> "MlflowClient":
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")
