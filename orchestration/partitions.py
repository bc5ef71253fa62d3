"""Partitions equal to the files in `datasets/`, `experiments/` and `studies/`."""

import dagster as dg

from assets.lake.partitions import DATASETS, EXPERIMENTS, STUDIES
from contracts.files.experiments import experiment_partitions
from contracts.files.names import dataset_keys, study_keys

FILES = {DATASETS: dataset_keys, EXPERIMENTS: experiment_partitions, STUDIES: study_keys}


def new_partitions(instance: dg.DagsterInstance) -> dict[str, list[str]]:
    """Keys that a file asks for but whose partition does not exist, by dimension."""
    return {
        definition.name: [key for key in keys() if not instance.has_dynamic_partition(definition.name, key)]
        for definition, keys in FILES.items()
        if definition.name
    }


def add_new_partitions(instance: dg.DagsterInstance) -> None:
    """Add a partition for each file that has none."""
    for name, keys in new_partitions(instance).items():
        instance.add_dynamic_partitions(name, keys)
