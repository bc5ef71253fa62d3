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


def of_start(asset: str) -> dg.AssetDep:
    """A dependency on the partition of another experiment: the one that an experiment's `start_from` names.

    Dagster cannot read that name from the file, so it is told that any experiment on the same data set may be meant.
    Which one it was stands in the materialisation's metadata.
    """
    return _of_any_experiment(asset, of="experiment")


def of_every_experiment(asset: str) -> dg.AssetDep:
    """A dependency of a study on the partitions of its experiments, whose names Dagster cannot read from its file."""
    return _of_any_experiment(asset, of="study")


def _of_any_experiment(asset: str, of: str) -> dg.AssetDep:
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


def keys_of(context: dg.AssetExecutionContext) -> Keys:
    """The data set and the experiment that this step is for."""
    by_dimension = context.partition_key.keys_by_dimension  # type: ignore[attr-defined]
    return Keys(by_dimension["dataset"], by_dimension["experiment"])
