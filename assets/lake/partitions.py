"""The dimensions of everything: a data set, and an experiment or a study on it. Keys are names of YAML files."""

import warnings
from typing import NamedTuple

import dagster as dg

DATASETS = dg.DynamicPartitionsDefinition(name="dataset")
EXPERIMENTS = dg.DynamicPartitionsDefinition(name="experiment")
STUDIES = dg.DynamicPartitionsDefinition(name="study")
BY_EXPERIMENT = dg.MultiPartitionsDefinition({"dataset": DATASETS, "experiment": EXPERIMENTS})

BY_STUDY = dg.MultiPartitionsDefinition({"dataset": DATASETS, "study": STUDIES})


class Keys(NamedTuple):
    """A partition of a model asset; as a tuple, its place in the lake."""

    dataset: str
    experiment: str


def partition_of(context: dg.AssetExecutionContext) -> tuple[str, ...]:
    """The place in the lake of what this step makes: (dataset,), a `Keys`, (dataset, study), or (study,)."""
    if not isinstance(context.partition_key, dg.MultiPartitionKey):
        return (context.partition_key,)
    keys = context.partition_key.keys_by_dimension
    if "experiment" in keys:
        return Keys(keys["dataset"], keys["experiment"])
    return keys["dataset"], keys["study"]


DATASET_FILE = dg.AssetDep("dataset_files")
EXPERIMENT_FILE = dg.AssetDep("experiment_files")
ANY_EXPERIMENT_FILE = dg.AssetDep("experiment_files", partition_mapping=dg.AllPartitionMapping())


def of_any_experiment(asset: str, of: str = "experiment") -> dg.AssetDep:
    """An edge to the partitions of other experiments on the same data set, whose names are in YAML files.

    Dagster cannot read those names, so it is told that any experiment may be meant; the metadata of a materialisation
    say which one was. `of` is the second dimension of the asset that reads.
    """
    with warnings.catch_warnings():
        # Beta in the pinned release; without it the graph would show an edge from the experiment to itself.
        warnings.simplefilter("ignore", dg.BetaWarning)
        mapping = dg.MultiPartitionMapping(
            {
                "dataset": dg.DimensionPartitionMapping("dataset", dg.IdentityPartitionMapping()),
                "experiment": dg.DimensionPartitionMapping(of, dg.AllPartitionMapping()),
            }
        )
    return dg.AssetDep(asset, partition_mapping=mapping)
