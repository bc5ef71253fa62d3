"""Keeps the partitions equal to the files in `datasets/`, `experiments/` and `studies/`."""

import dagster as dg

from assets.lake.partitions import DATASETS, EXPERIMENTS, STUDIES
from contracts.files.load import dataset_keys, experiment_partitions, study_keys

FILES = {DATASETS: dataset_keys, EXPERIMENTS: experiment_partitions, STUDIES: study_keys}


def new_partitions(instance: dg.DagsterInstance) -> dict[str, list[str]]:
    """Keys that a file asks for but whose partition does not exist, by dimension."""
    return {
        definition.name: [key for key in keys() if not instance.has_dynamic_partition(definition.name, key)]
        for definition, keys in FILES.items()
        if definition.name
    }


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="A new YAML in datasets/, experiments/ or studies/ becomes a partition within half a minute.",
)
def yaml_files_become_partitions(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Adds a partition for each new file."""
    new = new_partitions(context.instance)
    requests = [
        definition.build_add_request(new[definition.name])
        for definition in FILES
        if definition.name and new[definition.name]
    ]
    if not requests:
        return dg.SkipReason("no new file")
    return dg.SensorResult(dynamic_partitions_requests=requests)
