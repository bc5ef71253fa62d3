"""A changed file is Dagster's own knowledge: its UI says what is stale because of it, and what is not."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import polars as pl
import pytest
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleCause, StaleStatus
from dagster._core.loader import LoadingContextForTest

from assets.data.dataset_files import dataset_files
from assets.lake.checks import Check
from assets.lake.publish import Content
from assets.learning import preference_policies as policies
from assets.learning.experiment_files import experiment_files
from contracts.config import ComputeConfig
from orchestration.automation.sensors import changed_files_are_recorded
from orchestration.file_versions import changed_files, record_files
from orchestration.partitions import update_partitions
from orchestration.resources.lake import LakeStorage

EXPERIMENTS = ("dmpo", "sdpo")
PREFERENCE = """\
kind: preference
start_from: sft
objective: {{kind: {kind}, beta: 1.0}}
negatives: {{n: 5, miner: mixed}}
optimizer: {{kind: adamw, lr: 1.0e-3}}
"""
SFT = """\
kind: sft
backbone: {kind: scratch, hidden: 16, layers: 1, heads: 2, context: 32}
optimizer: {kind: adamw, lr: 5.0e-3}
pool: {hard: 10, uniform: 10}
"""


class Lab:
    """Preference policies whose training takes no time, on tables without content, in an instance of their own."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        self.folder, self.instance = folder, instance
        self.write("datasets/shop", "source: {kind: demo, users: 50, items: 50, seed: 3}\n")
        self.write("experiments/sft", SFT)
        for name in EXPERIMENTS:
            self.write(f"experiments/{name}", PREFERENCE.format(kind=name))
        self.lake = LakeStorage(root=str(folder / "lake"), warehouse=str(folder / "warehouse.duckdb"))
        self.put("histories", "shop", file="histories.parquet")
        self.put("items", "shop", file="items.parquet")
        self.put("sft_policies", "shop", "sft", file="policy")
        for name in EXPERIMENTS:
            for table in ("preference_rows", "reference_logps"):
                self.put(table, "shop", name, file=f"{table}.parquet")

    def write(self, name: str, text: str) -> None:
        path = self.folder / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def put(self, asset: str, *partition: str, file: str) -> None:
        with self.lake.staging(asset, partition) as staged:
            pl.DataFrame({"row_id": [0]}).write_parquet(staged / file)
            self.lake.publish(asset, partition, staged, fingerprint="1", manifest={"inputs": [], "metadata": {}})

    def materialise(self, experiment: str) -> None:
        launcher = SimpleNamespace(compute=ComputeConfig(), resume_points_root=self.folder / "checkpoints")
        assert dg.materialize(
            [policies.preference_policies],
            partition_key=dg.MultiPartitionKey({"dataset": "shop", "experiment": experiment}),
            resources={"lake": self.lake, "launcher": launcher, "tracker": SimpleNamespace()},
            instance=self.instance,
        ).success

    def causes(self, experiment: str) -> list[StaleCause]:
        graph = AssetGraph.from_assets([policies.preference_policies, experiment_files, dataset_files])
        resolver = CachingStaleStatusResolver(self.instance, graph, LoadingContextForTest(self.instance))
        key = str(dg.MultiPartitionKey({"dataset": "shop", "experiment": experiment}))
        asset = dg.AssetKey("preference_policies")
        status = resolver.get_status(asset, key)
        found = list(resolver.get_stale_causes(asset, key))
        assert (status is StaleStatus.STALE) == bool(found)
        return found


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.setenv("BORDERLINE_PROJECT", str(tmp_path))
    checks = [Check("loss_is_finite", True), Check("improves_on_its_start", True), Check(policies.CHECK, True)]
    monkeypatch.setattr(policies, "run_tracked", lambda *_: Content(checks=checks))
    with dg.DagsterInstance.ephemeral() as instance:
        lab = Lab(tmp_path, instance)
        update_partitions(instance)
        record_files(instance)
        for name in EXPERIMENTS:
            lab.materialise(name)
        yield lab


def test_a_changed_lr_makes_the_policy_of_that_experiment_stale_and_no_other(lab: Lab) -> None:
    assert lab.causes("dmpo") == lab.causes("sdpo") == []
    lab.write("experiments/dmpo", PREFERENCE.format(kind="dmpo").replace("1.0e-3", "2.0e-3"))
    record_files(lab.instance)
    (cause,) = lab.causes("dmpo")
    assert cause.dependency is not None
    assert (cause.dependency.asset_key.to_user_string(), cause.dependency.partition_key) == ("experiment_files", "dmpo")
    assert lab.causes("sdpo") == []
    lab.materialise("dmpo")
    assert lab.causes("dmpo") == []


def test_a_comment_or_another_spelling_changes_nothing(lab: Lab) -> None:
    lab.write("experiments/dmpo", "# Why.\n" + PREFERENCE.format(kind="dmpo").replace("1.0e-3", "0.001"))
    assert list(changed_files(lab.instance)) == []


@pytest.mark.parametrize("breaks", ["removed", "wrong"])
def test_a_file_that_is_gone_or_wrong_makes_stale_what_was_made_from_it(lab: Lab, breaks: str) -> None:
    if breaks == "removed":
        (lab.folder / "experiments/dmpo.yaml").unlink()
    else:
        lab.write("experiments/dmpo", "kind: preference\nlearning_rate: 1\n")
    record_files(lab.instance)
    assert lab.causes("dmpo")


def test_the_sensor_records_a_change_once(lab: Lab) -> None:
    def events(cursor: str | None) -> tuple[list[tuple[str, str]], str | None]:
        context = dg.build_sensor_context(instance=lab.instance, cursor=cursor)
        result = changed_files_are_recorded(context)
        if isinstance(result, dg.SkipReason):
            return [], cursor
        assert isinstance(result, dg.SensorResult)
        for event in result.asset_events:
            lab.instance.report_runless_asset_event(event)
        return [
            (event.asset_key.to_user_string(), event.partition or "") for event in result.asset_events
        ], result.cursor

    found, cursor = events(None)
    assert found == []
    lab.write("datasets/shop", "source: {kind: demo, users: 60, items: 50, seed: 3}\n")
    found, cursor = events(cursor)
    assert found == [("dataset_files", "shop")]
    assert events(cursor) == ([], cursor)


def test_a_person_can_observe_every_file_from_the_ui(lab: Lab) -> None:
    lab.write("experiments/dmpo", PREFERENCE.format(kind="dmpo").replace("1.0e-3", "2.0e-3"))
    job = dg.Definitions(assets=[experiment_files]).resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(instance=lab.instance)
    observed = result.filter_events(lambda event: event.is_asset_observation)
    assert {event.partition for event in observed} == {"sft", *EXPERIMENTS}
    assert [cause.dependency.partition_key for cause in lab.causes("dmpo") if cause.dependency] == ["dmpo"]
