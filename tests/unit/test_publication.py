"""An asset is validated whole before any of it is published."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from assets.ports import Lake
from assets.publication import Check, Content, Inputs, check_specs, publish
from orchestration.resources.storage import LakeStorage

PARTITION = ("demo",)


def run(folder: Path, *, is_sound: bool) -> tuple[bool, LakeStorage]:
    """Materialises two outputs of one step, the second of which may break a guarantee."""

    def write(inputs: Inputs, staged: Mapping[str, Path]) -> dict[str, Content]:
        for name, place in staged.items():
            (place / "content").write_text(name)
        return {"first": Content(), "second": Content(checks=[Check("is_sound", is_sound)])}

    @dg.multi_asset(
        specs=[dg.AssetSpec(name, code_version="1") for name in ("first", "second")],
        check_specs=check_specs("second", "is_sound"),
    )
    def both(context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]) -> Iterator[Any]:
        yield from publish(context, lake, write, partition=PARTITION, config={"is_sound": is_sound})

    lake = LakeStorage(root=str(folder / "lake"), warehouse=str(folder / "warehouse.duckdb"))
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([both], resources={"lake": lake}, instance=instance, raise_on_error=False)
    return result.success, lake


def test_one_broken_output_publishes_none_and_keeps_the_previous_ones(tmp_path: Path) -> None:
    succeeded, lake = run(tmp_path, is_sound=False)
    assert not succeeded
    assert [lake.current(name, PARTITION) for name in ("first", "second")] == [None, None]
    succeeded, lake = run(tmp_path, is_sound=True)
    assert succeeded
    before = lake.require("first", PARTITION).folder
    succeeded, lake = run(tmp_path, is_sound=False)
    assert not succeeded
    assert lake.require("first", PARTITION).folder == before
