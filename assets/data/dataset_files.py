"""The files in `datasets/`, whose meaning every table of a data set depends on."""

from assets.lake.file_node import file_node, file_version
from assets.lake.partitions import DATASETS
from contracts.config import identity
from contracts.files.load import load_dataset
from contracts.files.names import dataset_keys


def dataset_file_version(key: str) -> str:
    """Hash of what the file says, whatever its comments and the order of its keys."""
    return file_version(lambda key: identity(load_dataset(key)), key)


dataset_files = file_node(
    "dataset_files",
    partitions=DATASETS,
    keys=dataset_keys,
    version_of=dataset_file_version,
    description="What a person wrote about each data set in datasets/; the data version is the meaning of the file.",
)
