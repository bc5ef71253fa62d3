"""An asset is validated whole before any of it is published."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest

from assets.lake.checks import Check, check_specs, leak_check
from assets.lake.leaks import accepted_leaks, leak_tags
from assets.lake.parquet import write_table
from assets.lake.publish import Content, Work, publish
from assets.lake.validate import SchemaError
from assets.lake.versions import Lake
from contracts.parquet_layout import ROW_GROUP
from contracts.words import ACCEPT_LEAKS_TAG
from evaluation.leakage import OverlapLeakage
from evaluation.schemas import schema_of
from orchestration.resources.lake import LakeStorage

PARTITION = ("demo",)
WAITED_S = 100.0


def run(folder: Path, *, is_sound: bool) -> tuple[bool, LakeStorage]:
    """Materialises two outputs of one step, the second of which may break a guarantee."""

    def write(work: Work) -> dict[str, Content]:
        for name, place in work.folders.items():
            (place / "content").write_text(name)
        return {"first": Content(waited_s=WAITED_S), "second": Content(checks=[Check("is_sound", is_sound)])}

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
    assert lake.require("first", PARTITION).manifest["seconds"] < 1 - WAITED_S  # what it took, without the wait
    succeeded, lake = run(tmp_path, is_sound=False)
    assert not succeeded
    assert lake.require("first", PARTITION).folder == before


def leaky_probe(reasons: tuple[str, ...]) -> OverlapLeakage:
    """A probe that found nothing, or all of train among the held-out rows."""
    return OverlapLeakage(rows=100, repeated=100 if reasons else 0, longest=5, sample=1.0)


class Graph:
    """`source` may leak; `derived` is made from it. Everything is kept in one lake."""

    def __init__(self, folder: Path) -> None:
        self.lake = LakeStorage(root=str(folder / "lake"), warehouse=str(folder / "warehouse.duckdb"))
        self.computed: list[str] = []

    def run(self, *, leaks: bool, version: str = "1", tags: dict[str, str] | None = None) -> dg.ExecuteInProcessResult:
        def content(name: str, *checks: Check) -> dict[str, Content]:
            self.computed.append(name)
            return {name: Content(metadata={"rows": 1}, checks=checks)}

        @dg.asset(code_version=version, check_specs=check_specs("source", "no_leak"))
        def source(context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]) -> Iterator[Any]:
            probe = leaky_probe(("leak",) if leaks else ())
            yield from publish(
                context,
                lake,
                lambda _: content("source", leak_check("no_leak", probe)),
                partition=PARTITION,
                config={},
            )

        @dg.asset(deps=["source"], code_version="1")
        def derived(context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]) -> Iterator[Any]:
            inputs = [("source", PARTITION)]
            yield from publish(
                context, lake, lambda _: content("derived"), partition=PARTITION, inputs=inputs, config={}
            )

        with dg.DagsterInstance.ephemeral() as instance:
            return dg.materialize(
                [source, derived],
                resources={"lake": self.lake},
                instance=instance,
                raise_on_error=False,
                tags=tags or {},
            )

    def leaks_of(self, asset: str) -> list[str]:
        return [leak.name for leak in accepted_leaks(self.lake.require(asset, PARTITION))]


ACCEPT = {ACCEPT_LEAKS_TAG: "true"}


def failure(result: dg.ExecuteInProcessResult) -> str:
    (failed,) = [event.step_failure_data.user_failure_data for event in result.all_events if event.is_step_failure]
    assert failed is not None
    return failed.description or ""


def test_a_leak_stops_the_publication_and_says_how_to_accept_it(tmp_path: Path) -> None:
    graph = Graph(tmp_path)
    result = graph.run(leaks=True)
    assert not result.success
    assert graph.lake.current("source", PARTITION) is None
    assert "100 of 100 held-out rows" in failure(result)
    assert "--accept-leaks" in failure(result)
    assert ACCEPT_LEAKS_TAG in failure(result)


def test_an_accepted_leak_is_a_failed_warning_and_is_recorded_in_everything_made_from_it(tmp_path: Path) -> None:
    graph = Graph(tmp_path)
    result = graph.run(leaks=True, tags=ACCEPT)
    assert result.success
    (verdict,) = [event for event in result.get_asset_check_evaluations() if event.check_name == "no_leak"]
    assert (verdict.passed, verdict.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert graph.leaks_of("source") == graph.leaks_of("derived") == ["source.no_leak"]
    (leak,) = accepted_leaks(graph.lake.require("derived", PARTITION))
    assert leak.run_id == result.run_id
    assert "train holds the answers" in leak.reasons


def test_what_was_accepted_is_not_reused_by_a_run_that_accepts_nothing(tmp_path: Path) -> None:
    graph = Graph(tmp_path)
    accepted = graph.run(leaks=True, tags=ACCEPT)
    result = graph.run(leaks=True)
    assert not result.success
    assert f"run {accepted.run_id} accepted" in failure(result)
    assert graph.computed == ["source", "derived"]
    assert graph.run(leaks=True, tags=ACCEPT).success
    assert graph.computed == ["source", "derived"], "the same leak is accepted again without computing again"


def test_what_is_made_from_an_accepted_leak_is_made_again_when_the_leak_is_gone(tmp_path: Path) -> None:
    """The probe changed its mind and the table is the same, byte for byte: only the verdict differs."""
    graph = Graph(tmp_path)
    assert graph.run(leaks=True, tags=ACCEPT).success
    assert graph.run(leaks=False, version="2").success
    assert graph.leaks_of("source") == graph.leaks_of("derived") == []
    assert graph.computed == ["source", "derived"] * 2


def test_a_tracked_run_says_whether_leaks_were_accepted(tmp_path: Path) -> None:
    graph = Graph(tmp_path)
    assert graph.run(leaks=True, tags=ACCEPT).success
    tags = leak_tags(accepted_leaks(graph.lake.require("derived", PARTITION)))
    assert (tags["leaks_accepted"], tags["leaks"]) == ("true", "source.no_leak")
    assert leak_tags([]) == {"leaks_accepted": "false"}


def test_a_table_is_the_same_bytes_however_its_rows_were_cut(tmp_path: Path) -> None:
    n = 600_000  # more than two row groups
    random = np.random.default_rng(0)
    whole = pl.DataFrame({"a": random.integers(0, 9, n), "b": random.random(n)}).with_columns(
        text=pl.format("{}", "a"), many=pl.concat_list("a", "a")
    )
    whole.write_parquet(tmp_path / "small groups.parquet", row_group_size=7_000)
    tables: list[pl.DataFrame | pl.LazyFrame] = [
        whole,
        pl.concat([whole[:1], whole[1:300_000], whole[300_000:]], rechunk=False),
        whole.lazy(),
        pl.scan_parquet(tmp_path / "small groups.parquet"),
    ]
    for place, table in enumerate(tables):
        write_table(table, tmp_path / f"{place}.parquet")
    contents = {(tmp_path / f"{place}.parquet").read_bytes() for place in range(len(tables))}
    assert len(contents) == 1


def test_a_large_table_that_breaks_its_contract_is_not_published(tmp_path: Path) -> None:
    def write(work: Work) -> dict[str, Content]:
        users = pl.LazyFrame({"user_id": range(10), "user": ["x"] * 10}).cast(schema_of("users"))
        users.sink_parquet(work.scratch / "users.parquet")
        return {"users": Content(pl.scan_parquet(work.scratch / "users.parquet"))}

    @dg.asset(code_version="1", check_specs=check_specs("users"))
    def users(context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]) -> Iterator[Any]:
        yield from publish(context, lake, write, partition=PARTITION, config={})

    lake = LakeStorage(root=str(tmp_path / "lake"), warehouse=str(tmp_path / "warehouse.duckdb"))
    with (
        dg.DagsterInstance.ephemeral() as instance,
        pytest.raises(SchemaError, match="users must have one row for each"),
    ):
        dg.materialize([users], resources={"lake": lake}, instance=instance)
    assert lake.current("users", PARTITION) is None
    assert [path.name for path in (tmp_path / "lake" / "users" / "demo").iterdir()] == [".lock"]  # nor does it linger


def reference_logps(n: int) -> pl.LazyFrame:
    row_id = pl.int_range(n, dtype=pl.Int32)
    logp = pl.lit(-1.5, pl.Float32)
    return pl.select(row_id=row_id, item_id=row_id, logp=logp, tokens=pl.lit(1, pl.Int32)).lazy()


def publish_path(folder: Path, table: pl.LazyFrame) -> LakeStorage:
    """Publishes a table that something else has written into the staging folder."""

    def write(work: Work) -> dict[str, Content]:
        path = work.folders["reference_logps"] / "reference_logps.parquet"
        write_table(table, path)
        return {"reference_logps": Content(path)}

    @dg.asset(code_version="1", check_specs=check_specs("reference_logps"))
    def reference_logps(context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]) -> Iterator[Any]:
        yield from publish(context, lake, write, partition=PARTITION, config={})

    lake = LakeStorage(root=str(folder / "lake"), warehouse=str(folder / "warehouse.duckdb"))
    with dg.DagsterInstance.ephemeral() as instance:
        dg.materialize([reference_logps], resources={"lake": lake}, instance=instance)
    return lake


def test_a_table_that_is_handed_on_by_its_path_is_never_whole_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n = 3 * ROW_GROUP
    seen: list[int] = []
    collect = pl.LazyFrame.collect

    def recorded(frame: pl.LazyFrame, **options: Any) -> Any:
        found = collect(frame, **options)
        seen.append(found.height)
        return found

    def whole(*_: Any, **__: Any) -> None:
        raise AssertionError("the table was read whole")

    monkeypatch.setattr(pl.LazyFrame, "collect", recorded)
    monkeypatch.setattr(pl, "read_parquet", whole)
    lake = publish_path(tmp_path, reference_logps(n))
    assert max(seen) == ROW_GROUP
    assert sum(seen) >= n  # it was looked at
    version = lake.require("reference_logps", PARTITION)
    assert version.manifest["checks"][0]["detail"] == {"rows": n}
    write_table(reference_logps(n), tmp_path / "same.parquet")
    assert version.table_path.read_bytes() == (tmp_path / "same.parquet").read_bytes()


def test_a_broken_row_far_into_a_file_is_named_and_nothing_is_published(tmp_path: Path) -> None:
    n, broken = 3 * ROW_GROUP, 2 * ROW_GROUP + 77_123
    never_computed = pl.when(pl.int_range(pl.len()) == broken).then(float("-inf")).otherwise("logp").cast(pl.Float32)
    with pytest.raises(SchemaError, match=rf"reference_logps\.logp .* got -inf in row {broken} \(1 of {n:,} rows\)"):
        publish_path(tmp_path, reference_logps(n).with_columns(logp=never_computed))
    assert not list((tmp_path / "lake").rglob("*.parquet"))
