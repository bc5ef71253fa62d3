"""Partitions equal to what can be walked: data sets whose raw files are here, experiments with their rounds, studies.

A backfill of every partition then meets no data set that cannot be read. What a removed partition has published stays
in the lake and in the event log, and its runs stay listed; it is there again when its files are.
"""

from typing import NamedTuple

import dagster as dg

from assets.lake.partitions import DATASETS, EXPERIMENTS, STUDIES
from assets.sources import MissingRawFile, UnusableSource, located
from contracts.files.experiments import experiment_partitions
from contracts.files.load import load_dataset, raw_folder
from contracts.files.names import dataset_keys, study_keys
from contracts.files.yaml_lines import ConfigurationError


def datasets_here() -> list[str]:
    """The data sets whose raw files are here, sorted; simulated ones always are."""
    return [key for key in dataset_keys() if _is_here(key)]


def _is_here(dataset: str) -> bool:
    try:
        located(load_dataset(dataset).source, raw_folder(dataset))
    except MissingRawFile:
        return False
    except (ConfigurationError, UnusableSource):
        pass  # its run says what is wrong with its file, or with its archive
    return True


WANTED = {DATASETS: datasets_here, EXPERIMENTS: experiment_partitions, STUDIES: study_keys}


class Change(NamedTuple):
    """What one dimension lacks, and what it has too many."""

    definition: dg.DynamicPartitionsDefinition
    new: list[str]
    gone: list[str]
    """Only of data sets. Walks add the experiments of studies, which have no file each; and what was made from the
    removed file of an experiment shows as stale."""


def changes(instance: dg.DagsterInstance) -> list[Change]:
    """What has to be added to each dimension, and removed from it."""
    found: list[Change] = []
    for definition, keys in WANTED.items():
        wanted, there = keys(), instance.get_dynamic_partitions(str(definition.name))
        gone = sorted(set(there) - set(wanted)) if definition is DATASETS else []
        found.append(Change(definition, [key for key in wanted if key not in there], gone))
    return found


def update_partitions(instance: dg.DagsterInstance) -> None:
    """Add and remove the partitions that `changes` names."""
    for definition, new, gone in changes(instance):
        instance.add_dynamic_partitions(str(definition.name), new)
        for key in gone:
            instance.delete_dynamic_partition(str(definition.name), key)
