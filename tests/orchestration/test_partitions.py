"""Dagster's partitions are what can be walked: a data set has one while its YAML and its raw files are here."""

from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from assets.lake.partitions import DATASETS
from orchestration.automation.sensors import yaml_files_become_partitions
from orchestration.partitions import update_partitions

LOG = "source: {kind: tabular, path: log.csv, user: user, item: item, time: {column: at, format: seconds}}\n"
SIMULATED = "source: {kind: demo, users: 50, items: 50, seed: 3}\n"


Update = Callable[[dg.DagsterInstance], None]


@dg.asset(partitions_def=DATASETS)
def table() -> None:
    """Something that a data set has published."""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BORDERLINE_PROJECT", str(tmp_path))
    monkeypatch.setenv("BORDERLINE_RAW", str(tmp_path / "raw"))
    for name, text in {
        "datasets/shop": SIMULATED,
        "datasets/books": LOG,
        "datasets/wrong": "source: {kind: none}\n",
        "experiments/popularity": "kind: baseline\nbaseline: popularity\n",
    }.items():
        path = tmp_path / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def download(project: Path) -> Path:
    log = project / "raw" / "books" / "log.csv"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("user,item,at\na,1,1714557600\n", encoding="utf-8")
    return log


def datasets_of(instance: dg.DagsterInstance) -> list[str]:
    return sorted(instance.get_dynamic_partitions("dataset"))


def by_walk(instance: dg.DagsterInstance) -> None:
    update_partitions(instance)


def by_sensor(instance: dg.DagsterInstance) -> None:
    """As the daemon carries out what the sensor asks for."""
    context = dg.build_sensor_context(instance=instance)
    result = yaml_files_become_partitions(context)
    assert isinstance(result, dg.SensorResult | dg.SkipReason)
    for request in (result.dynamic_partitions_requests or []) if isinstance(result, dg.SensorResult) else []:
        if isinstance(request, dg.AddDynamicPartitionsRequest):
            instance.add_dynamic_partitions(request.partitions_def_name, request.partition_keys)
        else:
            for key in request.partition_keys:
                instance.delete_dynamic_partition(request.partitions_def_name, key)


@pytest.mark.parametrize("update", [by_walk, by_sensor])
def test_a_data_set_is_a_partition_while_its_raw_files_are_here(
    project: Path, instance: dg.DagsterInstance, update: Update
) -> None:
    update(instance)
    assert datasets_of(instance) == ["shop", "wrong"], "what is wrong with a file is for its run to say"
    log = download(project)
    update(instance)
    assert datasets_of(instance) == ["books", "shop", "wrong"]
    log.unlink()
    update(instance)
    assert datasets_of(instance) == ["shop", "wrong"]
    (project / "datasets/wrong.yaml").unlink()
    update(instance)
    assert datasets_of(instance) == ["shop"]
    assert instance.get_dynamic_partitions("experiment") == ["popularity"]


@pytest.mark.parametrize("update", [by_walk, by_sensor])
def test_an_experiment_of_a_study_keeps_the_partition_that_its_walk_gave_it(
    project: Path, instance: dg.DagsterInstance, update: Update
) -> None:
    instance.add_dynamic_partitions("experiment", ["tiny.dmpo-s0"])
    update(instance)
    assert sorted(instance.get_dynamic_partitions("experiment")) == ["popularity", "tiny.dmpo-s0"]


def test_nothing_changes_twice(project: Path, instance: dg.DagsterInstance) -> None:
    update_partitions(instance)
    result = yaml_files_become_partitions(dg.build_sensor_context(instance=instance))
    assert isinstance(result, dg.SkipReason)


def test_what_a_data_set_published_outlives_its_partition(project: Path, instance: dg.DagsterInstance) -> None:
    log = download(project)
    update_partitions(instance)
    run = dg.materialize([table], partition_key="books", instance=instance)
    log.unlink()
    update_partitions(instance)
    assert "books" not in datasets_of(instance)
    assert [found.run_id for found in instance.get_runs()] == [run.run_id]
    filters = dg.AssetRecordsFilter(table.key, asset_partitions=["books"])
    [record] = instance.fetch_materializations(filters, limit=5).records
    assert record.run_id == run.run_id
    download(project)
    update_partitions(instance)
    assert instance.get_materialized_partitions(table.key) == {"books"}
