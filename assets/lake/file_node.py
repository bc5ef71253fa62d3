"""A folder of files that people write, as a node of the graph: Dagster then knows what a changed file makes stale.

Such a node holds no content. Assets read the files through their plans; `orchestration/file_versions.py` records what
the files say.
"""

import warnings
from collections.abc import Callable, Sequence

import dagster as dg
from dagster._core.definitions.external_asset import create_external_asset_from_source_asset

from contracts.files.yaml_lines import ConfigurationError

WRONG = "wrong"
"""The data version of a file that cannot be read."""


def file_node(
    name: str,
    *,
    partitions: dg.DynamicPartitionsDefinition,
    keys: Callable[[], Sequence[str]],
    version_of: Callable[[str], str],
    description: str,
) -> dg.AssetsDefinition:
    """An observable source with a partition for each file.

    Args:
        name: of the node.
        partitions: one for each file.
        keys: of the files that are there.
        version_of: the data version of a file; see `file_version`.
        description: for the UI.
    """

    def observe() -> dg.DataVersionsByPartition:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", dg.BetaWarning)
            return dg.DataVersionsByPartition({key: version_of(key) for key in keys()})

    with warnings.catch_warnings():
        # In the pinned release the decorator is beta, and its own conversion reads a deprecated property.
        warnings.simplefilter("ignore", dg.BetaWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        source = dg.observable_source_asset(
            name=name,
            partitions_def=partitions,
            group_name="files",
            description=description,
            tags={"dagster/kind/yaml": ""},
        )(observe)
        assert isinstance(source, dg.SourceAsset)
        return create_external_asset_from_source_asset(source)


def file_version(meaning: Callable[[str], str], key: str) -> str:
    """The meaning of the file of this key, as a hash; WRONG while the file is gone or cannot be read."""
    try:
        return meaning(key)
    except ConfigurationError:
        return WRONG
