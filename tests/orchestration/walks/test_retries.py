"""What Dagster repeats of a walk whose worker was killed, under the settings of the deployed stack."""

from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from dagster._core.events import RunFailureReason
from dagster._core.execution.retries import auto_reexecution_should_retry_run

from orchestration.console import console
from orchestration.walks.runner import LayerRunner, tags_of

SETTINGS = yaml.safe_load((Path(__file__).parents[3] / "docker" / "dagster.yaml").read_text())["run_retries"]


@dg.asset(partitions_def=dg.StaticPartitionsDefinition(["shop"]))
def interactions() -> None:
    pass


@dg.job
def train() -> None:
    pass


def test_the_run_of_a_killed_walk_is_repeated_once_and_its_layers_are_not(tmp_path: Path) -> None:
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides={"run_retries": SETTINGS}) as instance:
        whole = instance.create_run_for_job(train, status=dg.DagsterRunStatus.FAILURE)
        jobs = [dg.define_asset_job("ingest", [interactions])]
        layers = dg.Definitions(assets=[interactions], jobs=jobs, loggers={"console": console})
        nothing: Any = None
        tags = tags_of(parent_run_id=whole.run_id)
        runner = LayerRunner(instance, layers.resolve_job_def, nothing, nothing, tags, say=lambda _: None)
        for _ in range(3):
            runner.layer("ingest", "shop")

        def is_repeated(run: dg.DagsterRun, why: RunFailureReason | None = None) -> bool:
            return auto_reexecution_should_retry_run(instance, run, why)

        assert is_repeated(whole)
        assert not is_repeated(whole, RunFailureReason.STEP_FAILURE)  # the step has its own second try
        for layer in instance.get_runs(filters=dg.RunsFilter(job_name="ingest")):
            dead = instance.create_run_for_job(train, tags=layer.tags, status=dg.DagsterRunStatus.FAILURE)
            assert not is_repeated(dead)
        again = {"dagster/parent_run_id": whole.run_id, "dagster/root_run_id": whole.run_id}
        instance.create_run_for_job(
            train, tags=again, status=dg.DagsterRunStatus.FAILURE, parent_run_id=whole.run_id, root_run_id=whole.run_id
        )
        assert not is_repeated(whole)
