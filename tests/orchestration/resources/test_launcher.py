"""A child that fails is reported with its last words; one that must stop leaves no process behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from assets.lake.ports import Telemetry, TrainingFailed
from contracts.config import ComputeConfig, Spec
from orchestration.resources.device_lock import device_lock
from orchestration.resources.launcher import SubprocessLauncher

GOOD = """
import json, pathlib, sys, time
spec = json.loads(pathlib.Path(sys.argv[1]).read_text())
with open(pathlib.Path(spec["output"]) / "telemetry.jsonl", "a") as file:
    for step in range(3):
        metrics = {"loss": 1.0 / (step + 1)}
        line = json.dumps({"step": step, "epoch": 0.5, "at": "now", "kind": "train", "metrics": metrics})
        file.write(line[:10]); file.flush(); time.sleep(0.3)
        file.write(line[10:] + "\\n"); file.flush()
"""
BAD = "import sys; print('a line'); sys.exit('the reason')"
KILLED = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
STUBBORN = """
import json, os, pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGTERM, signal.SIG_IGN)
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
folder = pathlib.Path(json.loads(pathlib.Path(sys.argv[1]).read_text())["output"])
(folder / "pids.tmp").write_text(f"{os.getpid()} {grandchild.pid}"); (folder / "pids.tmp").rename(folder / "pids")
time.sleep(600)
"""
ONE_THAT_IS_KILLED = """
import sys
from pathlib import Path
from contracts.config import Spec
from orchestration.resources.launcher import SubprocessLauncher
if __name__ != "__main__":
    raise RuntimeError("a command imports the main module of the process that started it")
folder = Path(sys.argv[1])
spec = Spec(histories=folder / "h.parquet", items=folder / "i.parquet", output=folder / "output")
SubprocessLauncher(package="stages", home=str(folder)).run("stubborn", spec, lambda event: None)
"""
PRELOADED = (
    "import sys; assert 'torch' in sys.modules and 'transformers' in sys.modules; assert 'dagster' not in sys.modules"
)


@pytest.fixture
def stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = tmp_path / "stages"
    package.mkdir()
    codes = {"good": GOOD, "bad": BAD, "killed": KILLED, "stubborn": STUBBORN, "preloaded": PRELOADED}
    for name, code in codes.items():
        (package / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    return package


@pytest.fixture
def interruptible() -> Iterator[None]:
    """A shell starts what it runs in the background with SIGINT ignored, and Python keeps that."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


def spec_in(folder: Path) -> Spec:
    output = folder / "output"
    output.mkdir(exist_ok=True)
    return Spec(histories=folder / "h.parquet", items=folder / "i.parquet", output=output)


@pytest.fixture
def launcher(stages: Path) -> SubprocessLauncher:
    return SubprocessLauncher(package="stages", home=str(stages), interrupt_grace_s=0.3, terminate_grace_s=0.3)


def test_every_line_is_reported_once_and_whole_while_it_runs(launcher: SubprocessLauncher, tmp_path: Path) -> None:
    seen: list[tuple[Telemetry, float]] = []
    launcher.run("good", spec_in(tmp_path), lambda event: seen.append((event, time.monotonic())))
    assert [event.metrics["loss"] for event, _ in seen] == [1.0, 1 / 2, 1 / 3]
    assert seen[-1][1] - seen[0][1] > 0.3  # not all at the end


def test_a_failure_carries_the_last_lines_and_the_exit_code(launcher: SubprocessLauncher, tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match=r"(?s)ended with exit code 1.*a line.*the reason") as failure:
        launcher.run("bad", spec_in(tmp_path), lambda event: None)
    assert failure.value.exit_code == 1


def test_a_signal_is_named(launcher: SubprocessLauncher, tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match="was ended by SIGKILL") as failure:
        launcher.run("killed", spec_in(tmp_path), lambda event: None)
    assert failure.value.exit_code == -signal.SIGKILL


def test_the_wait_for_the_device_is_said_and_returned(launcher: SubprocessLauncher, tmp_path: Path) -> None:
    with device_lock(Path(launcher.home) / "device-cpu.lock", print):
        said: list[float] = []
        waiting = threading.Thread(target=lambda: said.append(launcher.run("preloaded", spec, lambda event: None)))
        spec = spec_in(tmp_path).model_copy(update={"compute": ComputeConfig(device="cpu")})
        waiting.start()
        time.sleep(1.0)
    waiting.join()
    assert 0.9 < said[0] < 2.0
    assert launcher.run("preloaded", spec, lambda event: None) < 0.5


def test_a_command_finds_its_libraries_loaded_and_not_those_of_the_parent(
    launcher: SubprocessLauncher, tmp_path: Path
) -> None:
    spec = spec_in(tmp_path)
    launcher.run("preloaded", spec, lambda event: None)
    started = time.monotonic()
    launcher.run("preloaded", spec, lambda event: None)
    assert time.monotonic() - started < 1.5  # the libraries take several seconds


def test_a_command_ends_with_the_process_it_was_forked_from_and_the_next_gets_another(
    launcher: SubprocessLauncher, tmp_path: Path
) -> None:
    spec = spec_in(tmp_path)
    pids = spec.output / "pids"

    def kill_server() -> None:
        os.kill(parent_of(int(wait_for(pids).split()[0])), signal.SIGKILL)

    threading.Thread(target=kill_server, daemon=True).start()
    with pytest.raises(TrainingFailed, match="forked from is gone"):
        launcher.run("stubborn", spec, lambda event: None)
    assert_gone(pids)
    launcher.run("preloaded", spec, lambda event: None)


def test_an_interrupt_leaves_neither_child_nor_grandchild(
    launcher: SubprocessLauncher, tmp_path: Path, interruptible: None
) -> None:
    spec = spec_in(tmp_path)
    pids = spec.output / "pids"

    def interrupt() -> None:
        wait_for(pids)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        launcher.run("stubborn", spec, lambda event: None)
    assert_gone(pids)


def test_a_killed_parent_takes_the_child_along(stages: Path, tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(ONE_THAT_IS_KILLED)
    pids = spec_in(tmp_path).output / "pids"
    path = os.pathsep.join([str(tmp_path), os.getcwd()])
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "main.py"), str(tmp_path)], env={**os.environ, "PYTHONPATH": path}
    )
    child, grandchild = map(int, wait_for(pids).split())
    server = parent_of(child)
    parent.kill()
    parent.wait()
    os.kill(grandchild, signal.SIGKILL)  # a command ends what it starts; this one is stubborn
    assert_gone(pids)
    assert not is_running(server)


def wait_for(path: Path) -> str:
    deadline = time.monotonic() + 60
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return path.read_text()


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def assert_gone(pids: Path) -> None:
    for pid in map(int, pids.read_text().split()):
        deadline = time.monotonic() + 10
        while is_running(pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not is_running(pid)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
