"""An experiment in mining rounds: each is a partition of its own, mined by the policy before it, also its reference."""

import itertools
import json
import subprocess
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from orchestration.definitions import build_definitions
from orchestration.machine import lake as lake_of_home
from orchestration.machine import tracker
from orchestration.resources.lake import LakeStorage
from orchestration.walks.experiments import in_order
from orchestration.walks.runner import LayerFailed, LayerRunner
from tests.pipeline.shop import PREFERENCE, borderline_in, client_of, lake_of

ROUNDS = ("chain.round-0", "chain.round-1", "chain")


@pytest.fixture(scope="module")
def walked(project: Path, home: Path) -> subprocess.CompletedProcess[str]:
    text = PREFERENCE.format(kind="dmpo").replace("miner: mixed", "miner: mixed, rounds: 3")
    (project / "experiments" / "chain.yaml").write_text(text, encoding="utf-8")
    result = borderline_in(project, home)("run", "--dataset", "shop", "--experiments", "chain")
    assert result.returncode == 0, result.stderr
    return result


@pytest.fixture(scope="module")
def lake(walked: object, home: Path) -> LakeStorage:
    return lake_of(home)


def read(lake: LakeStorage, asset: str, experiment: str) -> set[tuple[str, str]]:
    entries = lake.require(asset, ("shop", experiment)).manifest["inputs"]
    return {(entry["asset"], "|".join(entry["partition"][1:])) for entry in entries}


def test_every_round_is_a_line_of_the_leaderboard_compared_with_the_first_start(
    project: Path, home: Path, walked: object
) -> None:
    shown = borderline_in(project, home)("leaderboard", "--dataset", "shop", "--format", "json")
    rows = {row["experiment"]: row for row in json.loads(shown.stdout)["rows"]}
    assert set(ROUNDS) | {"sft"} <= set(rows)
    assert {rows[name]["kind"] for name in ROUNDS} == {"preference"}


def test_each_round_is_mined_by_the_policy_of_the_round_before(lake: LakeStorage) -> None:
    assert lake.current("mined_negatives", ("shop", "chain.round-0")) is None  # its pool is the shared one
    for number, (before, experiment) in enumerate(itertools.pairwise(ROUNDS), start=1):
        table = lake.require("mined_negatives", ("shop", experiment)).table()
        assert table["round"].unique().to_list() == [number]
        assert table["policy"].unique().to_list() == [before]
    sft = lake.require("mined_negatives", ("shop", "sft")).table()
    later = lake.require("mined_negatives", ("shop", "chain")).table()
    assert sft["row_id"].unique().equals(later["row_id"].unique())
    assert not sft["item_id"].equals(later["item_id"])


def test_start_reference_and_pool_move_on_with_each_round_and_stand_in_every_manifest(lake: LakeStorage) -> None:
    pools = {"chain.round-0": "sft", "chain.round-1": "chain.round-1", "chain": "chain"}
    policies = {"chain.round-0": ("sft_policies", "sft")}
    policies |= {name: ("preference_policies", before) for before, name in itertools.pairwise(ROUNDS)}
    for name in ROUNDS:
        assert ("mined_negatives", pools[name]) in read(lake, "preference_rows", name)
        assert policies[name] in read(lake, "reference_logps", name)
        assert policies[name] in read(lake, "preference_policies", name)
        start = json.loads(lake.require("preference_policies", ("shop", name)).path("policy/policy.json").read_text())
        asset, experiment = policies[name]
        weights = json.loads(lake.require(asset, ("shop", experiment)).path("policy/policy.json").read_text())
        assert start["start"] == weights["files"]["model.safetensors"]
    assert read(lake, "mined_negatives", "chain.round-1") >= {
        ("preference_policies", "chain.round-0"),
        ("mined_negatives", "sft"),
    }


def test_a_later_pool_says_what_has_changed_since_the_round_before(lake: LakeStorage) -> None:
    for name, before in (("chain.round-1", "sft"), ("chain", "chain.round-1")):
        version = lake.require("mined_negatives", ("shop", name))
        said = {key: entry["value"] for key, entry in version.manifest["metadata"].items()}
        assert 0 < said["hard_kept"] <= 1
        pools = [lake.require("mined_negatives", ("shop", key)).table() for key in (before, name)]
        on_boundary = [pool.filter("on_boundary").height for pool in pools]
        assert said["boundary_stayed"] + said["boundary_left"] == on_boundary[0]
        assert said["boundary_stayed"] + said["boundary_entered"] == on_boundary[1]
        assert said["hardness"].startswith("![plot](data:image/png;base64,")
        assert before in said["since_round_before"]


def test_lineage_goes_through_every_round_to_the_raw_files(project: Path, home: Path, walked: object) -> None:
    shown = borderline_in(project, home)("lineage", "--dataset", "shop", "preference_policies/chain")
    assert shown.returncode == 0, shown.stderr
    for name in (
        *(f"preference_policies of shop|{key}" for key in ROUNDS),
        "sft_policies of shop|sft",
        "raw_interactions of shop",
    ):
        assert name in shown.stdout
    assert "has been made anew since" not in shown.stdout


def test_each_round_has_its_tracked_run(home: Path, walked: object) -> None:
    client: Any = client_of(home)
    experiment = client.get_experiment_by_name("borderline/shop")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert [runs[name].data.tags["round"] for name in ROUNDS] == ["0", "1", "2"]
    assert {runs[name].data.tags["rounds_of"] for name in ROUNDS} == {"chain"}
    assert "round" not in runs["sft"].data.tags


@pytest.fixture(scope="module")
def again(project: Path, home: Path, walked: object) -> str:
    """What a second run says, which has one more experiment."""
    result = borderline_in(project, home)("run", "--dataset", "shop", "--experiments", "chain,dmpo")
    assert result.returncode == 0, result.stderr
    return result.stderr


def test_the_same_again_computes_nothing(again: str) -> None:
    changed = ("|dmpo:", "leaderboard of shop:", "promotion of shop:")  # what one more experiment makes anew
    steps = [line for line in again.splitlines() if " of shop" in line and not any(it in line for it in changed)]
    assert any("mined_negatives of shop|chain:" in line for line in steps)
    assert [line for line in steps if not line.endswith("unchanged, reused")] == []


def test_a_walk_goes_through_the_rounds_in_order_and_no_further_than_asked(
    project: Path, walked: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BORDERLINE_PROJECT", str(project))
    assert in_order(["chain"]) == ["popularity", "random", "sft", *ROUNDS]
    assert in_order(["chain.round-1", "dmpo"]) == ["popularity", "random", "sft", *ROUNDS[:2], "dmpo"]


def test_a_first_round_shares_rows_and_reference_with_the_experiment_of_one_round(
    again: str, lake: LakeStorage
) -> None:
    for asset in ("preference_rows", "reference_logps"):
        assert f"{asset} of shop|dmpo: the same as of shop|chain.round-0, shared" in again
    ours = lake.require("predictions", ("shop", "dmpo"))
    assert ours.data_version == lake.require("predictions", ("shop", "chain.round-0")).data_version


def test_an_experiment_of_one_round_has_no_pool_of_its_own(
    project: Path, home: Path, walked: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BORDERLINE_PROJECT", str(project))
    monkeypatch.setenv("BORDERLINE_HOME", str(home))
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        runner = LayerRunner(instance, build_definitions().resolve_job_def, lake_of_home(), tracker())
        for experiment, said in (
            ("chain.round-0", r"only from its second round on, got round 0, whose pool is that of shop\|sft"),
            ("popularity", "holds experiments of kind sft or preference, but .*popularity.yaml is of kind baseline"),
        ):
            with pytest.raises(LayerFailed, match=said):
                runner.layer("mine", "shop", experiment)


def test_metrics_of_rounds_can_be_compared_row_by_row(lake: LakeStorage) -> None:
    tables = [lake.require("metrics", ("shop", name)).table().select("row_id", "metric") for name in ROUNDS]
    assert all(table.sort(pl.all()).equals(tables[0].sort(pl.all())) for table in tables)


def test_another_number_of_rounds_mines_no_round_again(project: Path, home: Path, walked: object) -> None:
    path = project / "experiments" / "chain.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("rounds: 3", "rounds: 2"), encoding="utf-8")
    result = borderline_in(project, home)("run", "--dataset", "shop", "--experiments", "chain")
    assert result.returncode == 0, result.stderr
    for asset in ("mined_negatives", "preference_rows", "reference_logps"):
        assert f"{asset} of shop|chain: the same as of shop|chain.round-1, shared" in result.stderr
