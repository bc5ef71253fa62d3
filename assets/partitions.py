"""The two dimensions of everything: a data set, and an experiment on it. Keys are file names in `datasets/` and `experiments/`."""

from typing import NamedTuple

import dagster as dg

DATASETS = dg.DynamicPartitionsDefinition(name="dataset")
EXPERIMENTS = dg.DynamicPartitionsDefinition(name="experiment")
BY_EXPERIMENT = dg.MultiPartitionsDefinition({"dataset": DATASETS, "experiment": EXPERIMENTS})


class Keys(NamedTuple):
    """A partition of a model asset; as a tuple, its place in the lake."""

    dataset: str
    experiment: str


def keys_of(context: dg.AssetExecutionContext) -> Keys:
    """The data set and the experiment that this step is for."""
    by_dimension = context.partition_key.keys_by_dimension  # type: ignore[attr-defined]
    return Keys(by_dimension["dataset"], by_dimension["experiment"])
