"""Commands that are interrupted or killed: what they say, what they leave, and how the next run goes on."""

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tests.pipeline.shop import (
    SFT,
    SHOP,
    borderline_in,
    client_of,
    command_under,
    lake_of,
    start,
    telemetry_under,
    wait_until,
    write_project,
)

LONG = """\
kind: sft
backbone: {kind: scratch, hidden: 16, layers: 1, heads: 2, context: 32}
optimizer: {kind: adamw, lr: 5.0e-3}
budget: {epochs: 12, batch_size: 256, validations: 4}
"""
RUN = ("run", "--dataset", "shop", "--experiments", "sft")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("long")
    write_project(folder)
    (folder / "experiments" / "sft.yaml").write_text(LONG, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def finished(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which nobody interrupted anything."""
    home = tmp_path_factory.mktemp("finished")
    whole = borderline_in(project, home)(*RUN)
    assert whole.returncode == 0, whole.stderr
    return home


def policy(home: Path) -> Any:
    return lake_of(home).require("sft_policies", ("shop", "sft"))


def tracked(home: Path) -> list[Any]:
    """The MLflow runs of the experiment, oldest first."""
    client = client_of(home)
    experiment = client.get_experiment_by_name("borderline/shop")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])
    return [run for run in runs if run.info.run_name == "sft"]


def another_under(home: Path, command: str, *, than: int) -> int:
    """The pid of the command that was started after another one; 0 until there is one."""
    try:
        pid = command_under(home, command)
    except AssertionError:
        return 0
    return 0 if pid == than else pid


def status_of_the_dagster_run_behind(home: Path, run: Any) -> dg.DagsterRunStatus:
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        dagster_run = instance.get_run_by_id(run.data.tags["dagster.run_id"])
        assert dagster_run is not None
        return dagster_run.status


def test_a_killed_training_is_tried_once_more_in_the_same_walk(project: Path, finished: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    process = start(project, home, *RUN, BORDERLINE_CHECKPOINT_EVERY_S="0")
    wait_until(lambda: '"saved_step"' in telemetry_under(home), process)
    os.kill(command_under(home, "training.sft"), signal.SIGKILL)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert "training.sft was ended by SIGKILL" in said
    assert_it_went_on(home, finished, said)


def test_the_next_run_goes_on_where_an_interrupted_one_was(project: Path, finished: Path, tmp_path: Path) -> None:
    """SIGINT, as of Ctrl-C, reaches the command line, which stops the training."""
    home = tmp_path / "home"
    process = start(project, home, *RUN, BORDERLINE_CHECKPOINT_EVERY_S="3600")
    wait_until(lambda: '"train"' in telemetry_under(home), process)
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "was interrupted; what was published" in said
    assert "Traceback" not in said
    assert list((home / "checkpoints" / "shop" / "sft").glob("*/step-*")), said
    assert status_of_the_dagster_run_behind(home, tracked(home)[-1]) is dg.DagsterRunStatus.FAILURE

    again = borderline_in(project, home)(*RUN)
    assert again.returncode == 0, again.stderr
    assert_it_went_on(home, finished, again.stderr)


def assert_it_went_on(home: Path, finished: Path, said: str) -> None:
    """The second attempt began where the first was, and ended as if nobody had interrupted it."""
    assert "sft: resumed from step" in said
    assert not (home / "checkpoints" / "shop" / "sft").exists()
    interrupted, resumed = tracked(home)
    assert (interrupted.info.status, resumed.info.status) == ("KILLED", "FINISHED")
    assert resumed.data.tags["resumed_from"] == interrupted.info.run_id
    step = int(resumed.data.tags["resumed_from_step"])
    assert step > 0
    steps = [point.step for point in client_of(home).get_metric_history(resumed.info.run_id, "train/loss")]
    assert sorted(set(steps)) == steps  # none twice
    assert steps[0] == 1  # and none missing
    assert policy(home).manifest["metadata"]["resumed_from_step"]["value"] == step
    assert policy(home).data_version == policy(finished).data_version


def test_a_hangup_ends_with_130_and_leaves_the_previous_version(project: Path, finished: Path) -> None:
    before = policy(finished).folder
    process = start(project, finished, *RUN, "--force")
    wait_until(lambda: telemetry_under(finished), process)
    process.send_signal(signal.SIGHUP)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "was interrupted; what was published before it stays" in said
    assert "Traceback" not in said
    assert policy(finished).folder == before


def test_a_killed_command_line_leaves_no_process_and_stops_no_later_run(project: Path, finished: Path) -> None:
    before = policy(finished).folder
    process = start(project, finished, *RUN, "--force")
    wait_until(lambda: telemetry_under(finished), process)
    child = command_under(finished, "training.sft")
    process.kill()
    process.communicate()
    wait_until(lambda: not Path(f"/proc/{child}").exists(), seconds=20)
    again = borderline_in(project, finished)(*RUN)
    assert again.returncode == 0, again.stderr
    assert "was left by a process that is gone; it is ended as failed" in again.stderr
    killed = tracked(finished)[-1]
    assert killed.info.status == "KILLED"
    assert status_of_the_dagster_run_behind(finished, killed) is dg.DagsterRunStatus.FAILURE
    assert policy(finished).folder == before


def test_the_next_run_goes_on_after_the_last_shard_of_an_interrupted_mining(tmp_path: Path) -> None:
    project, home = tmp_path / "project", tmp_path / "home"
    write_project(project)
    shop = SHOP.replace("users: 300", "users: 2400")  # three shards
    (project / "datasets" / "shop.yaml").write_text(shop, encoding="utf-8")
    (project / "experiments" / "sft.yaml").write_text(
        SFT.replace("epochs: 2, batch_size: 256, validations: 2", "epochs: 1, batch_size: 4096, validations: 1"),
        encoding="utf-8",
    )
    arguments = (*RUN, "--mine")
    process = start(project, home, *arguments)
    wait_until(lambda: list((home / "shards").rglob("rows-*.parquet")), process, seconds=300)
    first = command_under(home, "training.mine")
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: another_under(home, "training.mine", than=first), process, seconds=60)
    os.kill(another_under(home, "training.mine", than=first), signal.SIGKILL)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1, said  # the second failure is final
    assert said.count("training.mine was ended by SIGKILL") >= 2
    assert "Traceback" not in said
    left = len(list((home / "shards" / "shop" / "sft").rglob("rows-*.parquet")))
    assert left

    again = borderline_in(project, home)(*arguments)
    assert again.returncode == 0, again.stderr
    assert not (home / "shards" / "shop" / "sft").exists()
    resumed = lake_of(home).require("mined_negatives", ("shop", "sft"))
    assert resumed.manifest["metadata"]["shards_of_an_interrupted_mining"]["value"] == left
    shutil.rmtree(home / "lake" / "mined_negatives")
    anew = borderline_in(project, home)(*arguments)
    assert anew.returncode == 0, anew.stderr
    whole = lake_of(home).require("mined_negatives", ("shop", "sft"))
    assert whole.manifest["metadata"]["shards_of_an_interrupted_mining"]["value"] == 0
    assert whole.data_version == resumed.data_version
