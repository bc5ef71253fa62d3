"""A check speaks for the partition that it looked at: another data set's refusal is not its own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus as Status

from assets.lake.asset import Step, asset
from assets.lake.checks import Check
from assets.lake.publish import Content
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
