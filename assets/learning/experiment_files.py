"""The files in `experiments/` and the points of studies, which every policy and its results depend on."""

from assets.lake.file_node import file_node, file_version
from assets.lake.partitions import EXPERIMENTS
from contracts.config import identity
from contracts.files.experiments import experiment_partitions
from contracts.files.load import load_experiment


def experiment_file_version(key: str) -> str:
    """The identity of the experiment, whatever comments and the order of keys."""
    return file_version(lambda key: identity(load_experiment(key)), key)


experiment_files = file_node(
    "experiment_files",
    partitions=EXPERIMENTS,
    keys=experiment_partitions,
    version_of=experiment_file_version,
    description="What a person wrote about each experiment in experiments/ or as a point of a study's grid; the data "
    "version is the experiment's identity.",
)
