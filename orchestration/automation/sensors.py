"""Turn new files in `datasets/`, `experiments/` and `studies/` into partitions."""

import dagster as dg

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
