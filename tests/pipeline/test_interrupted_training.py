"""A training or mining that dies is continued by the next run, which says so, and ends as if nothing had happened."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from orchestration.resources.lake import LakeStorage
from tests.pipeline.conftest import SFT, SHOP, borderline_in, environment, with_default_signals, write_project

LONG = """\
kind: sft
backbone: {kind: scratch, hidden: 16, layers: 1, heads: 2, context: 32}
optimizer: {kind: adamw, lr: 5.0e-3}
budget: {epochs: 12, batch_size: 256, validations: 4}
"""


@pytest.fixture(scope="module")
def long_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("long")
    write_project(folder)
    (folder / "experiments" / "sft.yaml").write_text(LONG, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def uninterrupted(long_project: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The data version of the policy."""
    home = tmp_path_factory.mktemp("uninterrupted")
    whole = borderline_in(long_project, home)("run", "--dataset", "shop", "--experiments", "sft")
    assert whole.returncode == 0, whole.stderr
    return lake_of(home).require("sft_policies", ("shop", "sft")).data_version


def lake_of(home: Path) -> LakeStorage:
    return LakeStorage(root=str(home / "lake"), warehouse=str(home / "warehouse.duckdb"))


def client_of(home: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_the_next_run_goes_on_where_an_interrupted_one_stood(
    long_project: Path, uninterrupted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """SIGKILL ends the training command; SIGINT, as of Ctrl-C, the command line, which stops it."""
    monkeypatch.setenv("BORDERLINE_CHECKPOINT_EVERY_S", "0" if number == signal.SIGKILL else "3600")
    home = tmp_path / "home"
    process = subprocess.Popen(
        [sys.executable, "-m", "borderline", "run", "-d", "shop", "-e", "sft"],
        env=environment(long_project, home),
        cwd=long_project,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        preexec_fn=with_default_signals,
    )
    deadline, sign = time.monotonic() + 120, '"saved_step"' if number == signal.SIGKILL else '"train"'
    while sign not in telemetry_under(home):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(child_of(home, "training.sft") if number == signal.SIGKILL else process.pid, number)
    _, said = process.communicate(timeout=120)
    assert process.returncode != 0, said
    left = list((home / "checkpoints" / "shop" / "sft").glob("*/step-*"))
    assert left, said

    again = borderline_in(long_project, home)("run", "--dataset", "shop", "--experiments", "sft")
    assert again.returncode == 0, again.stderr
    assert "sft: resumed from step" in again.stderr
    assert not (home / "checkpoints" / "shop" / "sft").exists()

    client = client_of(home)
    experiment = client.get_experiment_by_name("borderline/shop")
    runs = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])
    interrupted, resumed = [run for run in runs if run.info.run_name == "sft"]
    assert (interrupted.info.status, resumed.info.status) == ("KILLED", "FINISHED")
    assert resumed.data.tags["resumed_from"] == interrupted.info.run_id
    step = int(resumed.data.tags["resumed_from_step"])
    assert step > 0
    steps = [point.step for point in client.get_metric_history(resumed.info.run_id, "train/loss")]
    assert sorted(set(steps)) == steps  # none twice
    assert steps[0] == 1  # and none missing
    published = lake_of(home).require("sft_policies", ("shop", "sft"))
    assert published.manifest["metadata"]["resumed_from_step"]["value"] == step
    assert published.data_version == uninterrupted


def telemetry_under(home: Path) -> str:
    found = (home / "lake" / "sft_policies").glob("*/*/.staging-*/telemetry.jsonl")
    return "".join(path.read_text() for path in found)


@pytest.mark.slow
def test_the_next_run_goes_on_behind_the_last_shard_of_an_interrupted_mining(tmp_path: Path) -> None:
    project, home = tmp_path / "project", tmp_path / "home"
    write_project(project)
    shop = SHOP.replace("users: 300", "users: 6000")  # five shards
    (project / "datasets" / "shop.yaml").write_text(shop, encoding="utf-8")
    (project / "experiments" / "sft.yaml").write_text(
        SFT.replace("epochs: 2, batch_size: 256, validations: 2", "epochs: 1, batch_size: 4096, validations: 1"),
        encoding="utf-8",
    )
    arguments = ("run", "--dataset", "shop", "--experiments", "sft", "--mine")
    process = subprocess.Popen(
        [sys.executable, "-m", "borderline", *arguments],
        env=environment(project, home),
        cwd=project,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        preexec_fn=with_default_signals,
    )
    deadline = time.monotonic() + 300
    while not list((home / "shards").rglob("rows-*.parquet")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(child_of(home, "training.mine"), signal.SIGKILL)
    _, said = process.communicate(timeout=120)
    assert process.returncode != 0, said
    left = len(list((home / "shards" / "shop" / "sft").rglob("rows-*.parquet")))
    assert left

    again = borderline_in(project, home)(*arguments)
    assert again.returncode == 0, again.stderr
    assert not (home / "shards" / "shop" / "sft").exists()
    resumed = lake_of(home).require("mined_negatives", ("shop", "sft"))
    assert resumed.manifest["metadata"]["shards_of_an_interrupted_mining"]["value"] == left
    forced = borderline_in(project, home)(*arguments, "--force")
    assert forced.returncode == 0, forced.stderr
    whole = lake_of(home).require("mined_negatives", ("shop", "sft"))
    assert whole.manifest["metadata"]["shards_of_an_interrupted_mining"]["value"] == 0
    assert whole.data_version == resumed.data_version


def child_of(home: Path, command: str) -> int:
    """The pid of a training command under this home."""
    for comm in Path("/proc").glob("[0-9]*/comm"):
        try:
            if comm.read_text().strip() == command and str(home).encode() in (comm.parent / "environ").read_bytes():
                return int(comm.parent.name)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    raise AssertionError(f"no {command} is going on")
