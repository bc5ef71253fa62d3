"""A study is killed, goes on where it stood, and ends in one report; the data set's leaderboard never hears of it."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from assets.lake.freshness import measured_experiments
from orchestration.resources.lake import LakeStorage
from tests.pipeline.shop import borderline_in, client_of, lake_of, start, wait_until, write_project

SMALL = """\
# borderline study small --dataset shop
kind: grid
question: How many negatives?
experiment:
  kind: preference
  start_from: sft
  objective: {kind: dmpo, beta: 1.0}
  negatives: {miner: uniform}
  optimizer: {kind: adamw}
  budget: {epochs: 1, batch_size: 256, validations: 2}
axes:
  negatives:
    k1: {negatives: {n: 1}}
    k5: {negatives: {n: 5}}
seeds: [0]
select:
  axis: rate
  once_per: []
  at: {negatives: k5}
  among:
    low: {optimizer: {lr: 1.0e-5}}
    high: {optimizer: {lr: 1.0e-2}}
"""
FIRST, SECOND = "small.k5-low-s0", "small.k5-high-s0"


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("studied")
    write_project(folder)
    (folder / "studies").mkdir()
    (folder / "studies" / "small.yaml").write_text(SMALL, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def lake(home: Path) -> LakeStorage:
    return lake_of(home)


@pytest.fixture(scope="module")
def killed(studied: Path, home: Path) -> str:
    """The version of the one experiment that was finished when SIGKILL came."""
    process = start(studied, home, "study", "small", "-d", "shop")
    training = home / "lake" / "preference_policies" / "shop" / SECOND
    wait_until(lambda: list(training.glob(".staging-*/telemetry.jsonl")), process, seconds=300)
    process.kill()
    process.communicate()
    return os.readlink(home / "lake" / "metrics" / "shop" / FIRST / "current")


@pytest.fixture(scope="module")
def resumed(studied: Path, home: Path, killed: str) -> subprocess.CompletedProcess[str]:
    result = borderline_in(studied, home)("study", "small", "--dataset", "shop")
    assert result.returncode == 0, result.stderr
    return result


@pytest.fixture(scope="module")
def runs(resumed: object, home: Path) -> list[Any]:
    client = client_of(home)
    experiment = client.get_experiment_by_name("borderline/shop")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


def test_a_killed_study_goes_on_without_repeating_what_was_finished(
    resumed: subprocess.CompletedProcess[str], home: Path, killed: str
) -> None:
    assert f"metrics of shop|{FIRST}: unchanged, reused" in resumed.stderr
    assert os.readlink(home / "lake" / "metrics" / "shop" / FIRST / "current") == killed
    trained = re.findall(r"preference_policies of shop\|(\S+): [\d.]+ s$", resumed.stderr, flags=re.MULTILINE)
    assert trained[0] == SECOND
    assert len(trained) == 2


def test_it_says_where_it_is_and_how_much_is_left(resumed: subprocess.CompletedProcess[str]) -> None:
    said = re.findall(r"small: experiment (\d) of (\d) \((\S+)\)(.*)", resumed.stderr)
    assert [(place, total) for place, total, _, _ in said] == [("1", "3"), ("2", "3"), ("3", "3")]
    assert re.fullmatch(r": \d+ s each, about \d+ s left", said[-1][3])


def test_the_better_candidate_on_validation_is_the_one_that_goes_on(
    resumed: subprocess.CompletedProcess[str], lake: LakeStorage
) -> None:
    found = re.search(r"rate of all is (\w+) \(validation: low ([\d.]+), high ([\d.]+)\)", resumed.stderr)
    assert found is not None
    best = "low" if float(found[2]) >= float(found[3]) else "high"
    assert found[1] == best
    measured = {partition[1] for partition in lake.partitions("metrics") if "." in partition[1]}
    assert measured == {FIRST, SECOND, f"small.k1-{best}-s0"}


def test_the_negatives_and_their_reference_are_shared(resumed: object, lake: LakeStorage) -> None:
    for asset in ("preference_rows", "reference_logps"):
        versions = [lake.require(asset, ("shop", name)) for name in (FIRST, SECOND)]
        assert versions[0].data_version == versions[1].data_version
        assert versions[0].manifest["seconds"] == versions[1].manifest["seconds"]


def test_the_leaderboard_and_the_promotion_do_not_know_its_experiments(
    resumed: object, lake: LakeStorage, studied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BORDERLINE_PROJECT", str(studied))
    now = measured_experiments(lake, "shop")
    assert set(now.current) == {"sft", "popularity", "random"}
    assert now.left_out == {}
    assert lake.partitions("registered_models") == []


def test_the_report_is_a_page_and_its_numbers(resumed: subprocess.CompletedProcess[str], lake: LakeStorage) -> None:
    report = lake.require("study_reports", ("shop", "small"))
    html = report.path("report.html").read_text(encoding="utf-8")
    assert "How many negatives?" in html
    assert "data:image/png;base64," in html
    assert str(report.path("report.html")) in resumed.stdout
    assert {entry["asset"] for entry in report.manifest["inputs"]} == {"metrics", "preference_policies", "sft_policies"}


def test_mlflow_shows_one_run_for_the_study_and_its_experiments_below(runs: list[Any], killed: str) -> None:
    (parent,) = [run for run in runs if run.data.tags.get("kind") == "study"]
    assert (parent.info.run_name, parent.info.status) == ("small", "FINISHED")
    assert parent.data.metrics["experiments"] == 2
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    finished = [run.info.run_name for run in children if run.info.status == "FINISHED"]
    assert len(finished) == len(set(finished)) == 3
    assert [run.info.run_name for run in children if run.info.status == "KILLED"] == [SECOND]


def test_a_finished_study_computes_nothing_again(studied: Path, home: Path, resumed: object, lake: LakeStorage) -> None:
    before = lake.require("study_reports", ("shop", "small")).folder
    again = borderline_in(studied, home)("study", "small", "--dataset", "shop")
    assert again.returncode == 0, again.stderr
    steps = [line for line in again.stderr.splitlines() if " of shop" in line]
    assert [line for line in steps if not line.endswith("unchanged, reused")] == []
    assert lake.require("study_reports", ("shop", "small")).folder == before


def test_a_mistake_is_told_before_anything_is_computed(studied: Path, tmp_path: Path) -> None:
    borderline = borderline_in(studied, tmp_path / "untouched")
    for arguments, said in [
        (("study", "smal", "-d", "shop"), "unknown study 'smal'. Did you mean 'small'?"),
        (("study", "small", "-d", "shop", "--only", "negatives=k7"), "Accepted: k1, k5."),
        (("study", "small", "-d", "shop", "--seeds", "1"), "'1' must be labels of the axis seed"),
        (("study", "small", "-d", "shop", "--only", "k1"), "--only must be AXIS=LABEL,LABEL, got 'k1'"),
    ]:
        refused = borderline(*arguments)
        assert refused.returncode == 2
        assert said in refused.stderr
        assert "Traceback" not in refused.stderr
    assert not (tmp_path / "untouched" / "lake").exists()
