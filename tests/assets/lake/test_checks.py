"""A check speaks for the partition that it looked at: another data set's refusal is not its own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus as Status

from assets.lake.asset import Step, asset
from assets.lake.checks import Check
from assets.lake.publish import Content
from assets.lake.shown import NAMES_OF_NUMBERS
from evaluation.leakage import candidate_leakage
from orchestration.resources.lake import LakeStorage

DATASETS = dg.StaticPartitionsDefinition(["shop", "leaky"])
SOUND = dg.AssetCheckKey(dg.AssetKey("source"), "is_sound")


@asset(
    by=DATASETS,
    plan=lambda request: request.partition[0] == "shop",
    config=lambda of: {"sound": of},
    group="core",
    kinds={"polars"},
    owner="data",
    code_version="1",
    checks=["is_sound"],
)
def source(step: Step, of: bool) -> Content:
    """A table of each data set, of which one must not be published."""
    (step.folder / "content").write_text("source")
    return Content(checks=[Check("is_sound", of, {"message": "it leaks"})])


def test_every_number_of_a_candidate_probe_has_a_name_for_readers_and_keeps_its_own_in_the_manifest(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    rows = pl.DataFrame(
        {
            "row_id": range(40),
            "user_id": range(40),
            "split": ["train", "test"] * 20,
            "history": [[row % 7] for row in range(40)],
            "target": [row // 2 % 5 for row in range(40)],
        }
    )
    held_out = rows.filter(pl.col("split") == "test")
    lists = held_out.select("row_id", candidates=pl.concat_list("target", pl.lit(5), pl.lit(6) + pl.col("row_id") % 3))
    probe = candidate_leakage(lists, rows, n_items=9)
    names = probe.detail.keys() - {"message", "lists_read"}
    assert "blind_item_slot_by_rights" in names
    assert names <= NAMES_OF_NUMBERS.keys()
    lake = LakeStorage(root=str(tmp_path / "lake"), warehouse=str(tmp_path / "warehouse.duckdb"))

    @asset(
        by=DATASETS, plan=lambda request: None, config=lambda of: {}, group="core", kinds={"polars"}, owner="data",
        code_version="1", checks=["is_probed"],
    )  # fmt: skip
    def probed(step: Step) -> Content:
        """A table whose check has the numbers of a probe."""
        (step.folder / "content").write_text("probed")
        return Content(checks=[Check("is_probed", True, probe.detail)])

    run = dg.materialize([probed], partition_key="shop", resources={"lake": lake}, instance=instance)
    [verdict] = run.get_asset_check_evaluations()
    assert not names & verdict.metadata.keys()
    assert verdict.metadata.keys() == {NAMES_OF_NUMBERS.get(name, name) for name in probe.detail}
    [kept] = lake.require("probed", ("shop",)).manifest["checks"]
    assert kept["detail"].keys() == probe.detail.keys()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def test_a_refused_data_set_does_not_fail_the_check_of_another(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    lake = LakeStorage(root=str(tmp_path / "lake"), warehouse=str(tmp_path / "warehouse.duckdb"))
    given: dict[str, Any] = {"resources": {"lake": lake}, "instance": instance, "raise_on_error": False}
    assert dg.materialize([source], partition_key="shop", **given).success
    assert not dg.materialize([source], partition_key="leaky", **given).success
    found = instance.event_log_storage.get_asset_check_partition_info([SOUND])
    assert {one.partition_key: one.latest_execution_status for one in found} == {
        "shop": Status.SUCCEEDED,
        "leaky": Status.FAILED,
    }
