"""A layer's run belongs to the code location, names who started it, and fails in the words of its step."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError

from assets.lake.versions import NotMaterialised
from contracts.files.yaml_lines import ConfigurationError
from orchestration.console import console
from orchestration.walks.runner import (
    FORCE_TAG,
    PARENT_TAG,
    LayerFailed,
    LayerInterrupted,
    LayerRefused,
    LayerRunner,
    tags_of,
)

DATASETS, EXPERIMENTS = dg.StaticPartitionsDefinition(["shop"]), dg.StaticPartitionsDefinition(["sft"])
ERRORS = {
    "refused": ConfigurationError("unknown data set 'shp'. Accepted: shop."),
    "missing": NotMaterialised("histories of shop is not materialised."),
    "broken": ValueError("loss must be finite, got nan"),
    "described": dg.Failure("the registry does not answer"),
    "interrupted": DagsterExecutionInterruptedError(),  # a signal becomes this one inside a step
}


@dg.asset(partitions_def=dg.MultiPartitionsDefinition({"dataset": DATASETS, "experiment": EXPERIMENTS}))
def sft_policies() -> None:
    pass


@dg.asset(partitions_def=sft_policies.partitions_def, deps=[sft_policies])
def mined_negatives() -> None:
    pass


@dg.asset(partitions_def=DATASETS)
def histories(context: dg.AssetExecutionContext) -> None:
    error = ERRORS.get(context.run.tags.get("raises", ""))
    if error is not None:
        raise error


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return dg.Definitions(
        assets=[histories, sft_policies, mined_negatives],
        jobs=[
            dg.define_asset_job("ingest", [histories]),
            dg.define_asset_job("train_sft", [sft_policies, mined_negatives]),
        ],
        loggers={"console": console},
        executor=dg.multiprocess_executor,
    )


@pytest.fixture
def runner(definitions: dg.Definitions) -> Iterator[LayerRunner]:
    nothing: Any = None
    with dg.DagsterInstance.ephemeral() as instance:
        yield LayerRunner(instance, definitions.resolve_job_def, nothing, nothing, say=list[str]().append)


def only_run(runner: LayerRunner) -> dg.DagsterRun:
    [run] = runner.instance.get_runs()
    return run


def test_a_run_belongs_to_a_job_of_the_code_location(runner: LayerRunner) -> None:
    runner.layer("ingest", "shop")
    run = only_run(runner)
    assert run.status is dg.DagsterRunStatus.SUCCESS
    assert run.job_name == "ingest"
    assert run.remote_job_origin is not None
    assert run.remote_job_origin.location_name == "borderline"
    of_location = dg.RunsFilter(tags={".dagster/repository": "__repository__@borderline"})
    assert [found.run_id for found in runner.instance.get_runs(filters=of_location)] == [run.run_id]


def test_a_run_has_the_tags_of_its_partition_and_of_the_walk(runner: LayerRunner) -> None:
    runner.tagged(tags_of(force=True)).layer("train_sft", "shop", "sft", mines=True)
    tags = only_run(runner).tags
    assert (tags["dagster/partition/dataset"], tags["dagster/partition/experiment"]) == ("shop", "sft")
    assert (tags["borderline/dataset"], tags[FORCE_TAG]) == ("shop", "true")
    assert FORCE_TAG not in runner.tags


@pytest.mark.parametrize("mines", [False, True])
def test_a_supervised_policy_mines_only_when_it_is_told_to(runner: LayerRunner, mines: bool) -> None:
    runner.layer("train_sft", "shop", "sft", mines=mines)
    made = runner.instance.get_materialized_partitions(dg.AssetKey("mined_negatives"))
    assert bool(made) is mines
    assert runner.instance.get_materialized_partitions(dg.AssetKey("sft_policies"))


def test_a_run_that_another_started_names_it_and_is_named_by_it(runner: LayerRunner) -> None:
    runner.layer("ingest", "shop")
    assert runner.say.__self__ == []  # type: ignore[attr-defined]
    runner.tagged(tags_of(parent_run_id="of train")).layer("ingest", "shop")
    child = runner.instance.get_runs()[0]
    assert child.tags[PARENT_TAG] == "of train"
    assert child.parent_run_id is None  # which would call it a re-execution
    [line] = runner.say.__self__  # type: ignore[attr-defined]
    assert "ingest of shop" in line
    assert child.run_id in line


@pytest.mark.parametrize(
    ("raises", "kind", "exit_code"),
    [
        ("refused", LayerRefused, 2),
        ("missing", LayerRefused, 2),
        ("broken", LayerFailed, 1),
        ("described", LayerFailed, 1),
        ("interrupted", LayerInterrupted, 130),
    ],
)
def test_a_failure_says_what_the_step_said_and_where_the_run_is(
    runner: LayerRunner, raises: str, kind: type[LayerFailed], exit_code: int
) -> None:
    with pytest.raises(LayerFailed) as failure:
        runner.tagged({"raises": raises}).layer("ingest", "shop")
    assert type(failure.value) is kind
    assert failure.value.exit_code == exit_code
    said, where = str(failure.value).splitlines()
    assert said.startswith("histories")
    assert raises == "interrupted" or said == f"histories: {ERRORS[raises]}"
    assert only_run(runner).run_id in where


def test_a_partition_that_does_not_exist_is_no_run(runner: LayerRunner) -> None:
    with pytest.raises(dg.DagsterUnknownPartitionError, match="shp"):
        runner.layer("ingest", "shp")
    assert runner.instance.get_runs() == []
