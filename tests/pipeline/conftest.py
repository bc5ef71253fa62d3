"""A project small enough to walk the whole way in a test: 300 users, a tiny policy, two preference experiments."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

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
        "PYTHONPATH": str(Path(__file__).parent.parent.parent),
    }


def with_default_signals() -> None:
    """For a child that is to be interrupted: a shell starts what it runs in the background with SIGINT ignored."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def borderline_in(project: Path, home: Path) -> Borderline:
    def borderline(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "borderline", *arguments],
            env=environment(project, home),
            cwd=project,
            capture_output=True,
            text=True,
            timeout=600,
        )

    return borderline


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    write_project(folder)
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")
