"""What an asset declares is what it is handed, what Dagster draws and what its version rests on."""

import inspect
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from assets.lake.asset import Request, Step, asset
from assets.lake.publish import Content
from assets.lake.reads import Read, same_dataset
from assets.lake.versions import Version
from orchestration.resources.lake import LakeStorage
from tests.declared_reads import held_to_declarations

DATASETS = dg.StaticPartitionsDefinition(["demo"])
SHOWN: dict[str, Any] = {"group": "core", "kinds": {"polars"}, "owner": "data", "code_version": "1"}


@asset(by=DATASETS, plan=lambda request: None, config=lambda of: {}, **SHOWN)
def source(step: Step) -> Content:
    """The table that others are made from."""
    (step.folder / "content").write_text("source")
    return Content()


def materialise(folder: Path, *assets: dg.AssetsDefinition, **resources: object) -> dg.ExecuteInProcessResult:
    lake = LakeStorage(root=str(folder / "lake"), warehouse=str(folder / "warehouse.duckdb"))
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(
            list(dict.fromkeys([source, *assets])),
            partition_key="demo",
            resources={"lake": lake, **resources},
            instance=instance,
            raise_on_error=False,
        )


def test_an_edge_an_argument_and_an_input_of_the_manifest_come_from_one_declaration(tmp_path: Path) -> None:
    handed: list[Version] = []

    @asset(by=DATASETS, plan=lambda request: None, config=lambda of: {}, reads=[same_dataset("source")], **SHOWN)
    def derived(source: Version) -> Content:
        """Made from the source alone."""
        handed.append(source)
        return Content()

    assert materialise(tmp_path, derived).success
    files = {dg.AssetKey("dataset_files")}  # everything depends on the file that says how it is made
    assert derived.asset_deps[dg.AssetKey("derived")] - files == {dg.AssetKey("source")}
    assert [(version.asset, version.partition) for version in handed] == [("source", ("demo",))]
    manifest = json.loads((tmp_path / "lake/derived/demo/current/manifest.json").read_text())
    assert [(entry["asset"], entry["data_version"]) for entry in manifest["inputs"]] == [
        ("source", handed[0].data_version)
    ]


def test_a_table_that_is_declared_and_not_received_is_refused_when_the_module_loads() -> None:
    with pytest.raises(TypeError, match="lacks source"):

        @asset(by=DATASETS, config=lambda of: {}, reads=[same_dataset("source")], **SHOWN)
        def derived(step: Step) -> Content:
            return Content()


@pytest.mark.parametrize("undeclared", ["source", "lake", "context"])
def test_a_body_that_asks_for_what_it_does_not_declare_is_refused_when_the_module_loads(undeclared: str) -> None:
    def derived(**given: Any) -> Content:
        return Content()

    parameter = inspect.Parameter(undeclared, inspect.Parameter.KEYWORD_ONLY)
    derived.__signature__ = inspect.Signature([parameter])  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match=undeclared):
        asset(by=DATASETS, config=lambda of: {}, **SHOWN)(derived)


def test_a_table_that_is_not_wanted_is_none_and_no_input(tmp_path: Path) -> None:
    handed: list[Version | None] = []

    @asset(
        by=DATASETS,
        plan=lambda request: None,
        config=lambda of: {},
        reads=[same_dataset("source", when=lambda of: False)],
        **SHOWN,
    )
    def derived(source: Version | None) -> Content:
        """Has no use for the source here."""
        handed.append(source)
        return Content()

    assert materialise(tmp_path, derived).success
    assert handed == [None]
    manifest = json.loads((tmp_path / "lake/derived/demo/current/manifest.json").read_text())
    assert manifest["inputs"] == manifest["ancestry"] == []


def test_a_plan_cannot_look_at_what_is_not_declared(tmp_path: Path) -> None:
    def plan(request: Request) -> Version | None:
        return request.published.current("source", request.partition)

    @asset(by=DATASETS, plan=plan, config=lambda of: {}, **SHOWN)
    def derived() -> Content:
        """Looks at the source behind the graph's back."""
        return Content()

    result = materialise(tmp_path, derived)
    failed = [event.step_failure_data.error_display_string for event in result.all_events if event.is_step_failure]
    assert len(failed) == 1
    assert "source must be declared to be read" in failed[0]


def test_an_ancestry_reaches_over_every_table_to_the_first(tmp_path: Path) -> None:
    @asset(by=DATASETS, plan=lambda request: None, config=lambda of: {}, reads=[same_dataset("source")], **SHOWN)
    def derived(source: Version) -> Content:
        """Made from the source."""
        return Content()

    @asset(by=DATASETS, plan=lambda request: None, config=lambda of: {}, reads=[same_dataset("derived")], **SHOWN)
    def last(derived: Version) -> Content:
        """Made from what was made from the source."""
        return Content()

    assert materialise(tmp_path, derived, last).success
    manifest = json.loads((tmp_path / "lake/last/demo/current/manifest.json").read_text())
    assert [entry["asset"] for entry in manifest["ancestry"]] == ["derived", "source"]
    assert all(entry["seconds"] >= 0.0 for entry in manifest["ancestry"])


def test_several_versions_come_as_a_list(tmp_path: Path) -> None:
    both = Read(
        "sources",
        (dg.AssetDep("source"),),
        lambda partition, of: [("source", partition), ("source", partition)],
        is_many=True,
    )
    handed: list[list[Version]] = []

    @asset(by=DATASETS, plan=lambda request: None, config=lambda of: {}, reads=[both], **SHOWN)
    def derived(sources: list[Version]) -> Content:
        """Made from two sources."""
        handed.append(sources)
        return Content()

    assert materialise(tmp_path, derived).success
    assert [version.asset for version in handed[0]] == ["source", "source"]


def test_what_an_interrupted_step_left_is_found_again_and_goes_when_it_is_published(tmp_path: Path) -> None:
    launcher = SimpleNamespace(resume_points_root=tmp_path / "checkpoints")
    found: list[list[str]] = []

    def policy(fails: bool, seed: int) -> dg.AssetsDefinition:
        @asset(
            by=DATASETS, plan=lambda request: seed, config=lambda of: {"seed": of}, resumes_in="checkpoints", **SHOWN
        )
        def policies(step: Step, launcher: Any) -> Content:
            """Trained, if nobody interrupts it."""
            assert step.unfinished is not None
            found.append([path.name for path in sorted(step.unfinished.glob("*"))])
            step.unfinished.mkdir(parents=True, exist_ok=True)
            (step.unfinished / "step-1").touch()
            if fails:
                raise RuntimeError("interrupted")
            return Content()

        return policies

    folder = tmp_path / "checkpoints" / "demo"
    for seed in (0, 1):
        assert not materialise(tmp_path, policy(fails=True, seed=seed), launcher=launcher).success
    assert len(list(folder.iterdir())) == 1, "what another seed left is gone"
    assert materialise(tmp_path, policy(fails=False, seed=1), launcher=launcher).success
    assert found == [[], [], ["step-1"]]
    assert not folder.exists()


@pytest.mark.parametrize("is_declared", [True, False])
def test_a_step_that_opens_a_version_behind_its_declaration_is_found(tmp_path: Path, is_declared: bool) -> None:
    lake = LakeStorage(root=str(tmp_path / "lake"), warehouse=str(tmp_path / "warehouse.duckdb"))
    reads = [same_dataset("source")] if is_declared else []

    def derived(step: Step, **versions: Version) -> Content:
        lake.require("source", step.partition).path("content")
        return Content()

    names = ["step", *(read.name for read in reads)]
    parameters = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in names]
    derived.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    made = asset(by=DATASETS, plan=lambda request: None, config=lambda of: {}, reads=reads, **SHOWN)(derived)
    seen: set[tuple[str, str]] = set()
    assert materialise(tmp_path, source).success
    with held_to_declarations(seen):
        result = materialise(tmp_path, made)
    assert result.success == is_declared
    assert seen == ({("derived", "source")} if is_declared else set())
