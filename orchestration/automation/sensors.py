"""Keep partitions equal to what can be walked, record what changed files say, and end orphaned runs in MLflow."""

import dagster as dg

from contracts.config import fingerprint_of
from orchestration.file_versions import changed_files, files_stamp
from orchestration.partitions import changes
from orchestration.resources.mlflow_runs import MlflowTracker
from orchestration.walks.dead_runs import end_orphaned


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Within half a minute a new YAML in datasets/, experiments/ or studies/ becomes a partition: a data "
    "set as soon as its raw files are here too. It is none any more when its YAML or its raw files are gone.",
)
def yaml_files_become_partitions(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Ask for the partitions that are new, and for the end of those that cannot be walked any more."""
    found = changes(context.instance)
    requests = [
        *(definition.build_add_request(new) for definition, new, _ in found if new),
        *(definition.build_delete_request(gone) for definition, _, gone in found if gone),
    ]
    if not requests:
        return dg.SkipReason("no file is new or gone")
    return dg.SensorResult(dynamic_partitions_requests=requests)


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Within half a minute the graph shows what a changed file in datasets/ or experiments/ makes stale.",
)
def changed_files_are_recorded(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Record what each changed file says now; the cursor tells whether any file was touched."""
    partitions = {name: list(context.instance.get_dynamic_partitions(name)) for name in ("dataset", "experiment")}
    stamp = files_stamp() + fingerprint_of(partitions)
    if stamp == context.cursor:
        return dg.SkipReason("no file was touched")
    return dg.SensorResult(asset_events=list(changed_files(context.instance)), cursor=stamp)


@dg.sensor(
    minimum_interval_seconds=600,
    description="Every ten minutes: MLflow runs that are left as running although their Dagster run is over are ended. "
    "Each walk does so too; switch it on where walks are rare.",
)
def orphaned_mlflow_runs_are_ended(
    context: dg.SensorEvaluationContext, tracker: dg.ResourceParam[MlflowTracker]
) -> dg.SkipReason:
    """End what a training left because MLflow did not answer at its end; studies wait for the next walk."""
    said: list[str] = []
    end_orphaned(context.instance, tracker, said.append, alone=False)
    return dg.SkipReason("; ".join(said) or "no MLflow run was left as running")
