"""Turn new files in `datasets/`, `experiments/` and `studies/` into partitions, and record what changed files say."""

import hashlib
import json

import dagster as dg

from orchestration.file_versions import changed_files, files_stamp
from orchestration.partitions import FILES, new_partitions


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="A new YAML in datasets/, experiments/ or studies/ becomes a partition within half a minute.",
)
def yaml_files_become_partitions(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Add a partition for each new file."""
    new = new_partitions(context.instance)
    requests = [
        definition.build_add_request(new[definition.name])
        for definition in FILES
        if definition.name and new[definition.name]
    ]
    if not requests:
        return dg.SkipReason("no new file")
    return dg.SensorResult(dynamic_partitions_requests=requests)


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Within half a minute the graph shows what a changed file in datasets/ or experiments/ makes stale.",
)
def changed_files_are_recorded(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Record what each changed file says now; the cursor tells whether any file was touched."""
    partitions = {name: list(context.instance.get_dynamic_partitions(name)) for name in ("dataset", "experiment")}
    stamp = files_stamp() + hashlib.sha256(json.dumps(partitions).encode()).hexdigest()[:16]
    if stamp == context.cursor:
        return dg.SkipReason("no file was touched")
    return dg.SensorResult(asset_events=list(changed_files(context.instance)), cursor=stamp)
