"""Record in Dagster what the files in `datasets/` and `experiments/` say: the UI then shows what a change makes stale.

Walks and a sensor do so. The nodes of the graph are in `assets/data/dataset_files.py` and
`assets/learning/experiment_files.py`.
"""

from collections.abc import Iterator, Sequence

import dagster as dg

from assets.data.dataset_files import dataset_file_version
from assets.lake.partitions import DATASETS, EXPERIMENTS
from assets.learning.experiment_files import experiment_file_version
from contracts.config import fingerprint_of
from contracts.files.names import project_folder

DATA_VERSION_TAG = "dagster/data_version"


def changed_files(
    instance: dg.DagsterInstance, *, experiments: Sequence[str] | None = None
) -> Iterator[dg.AssetObservation]:
    """An observation of each file whose meaning is another than the one last recorded, or that has none recorded.

    With `experiments`, only theirs.
    """
    if experiments is None:
        experiments = instance.get_dynamic_partitions(str(EXPERIMENTS.name))
        for key in sorted(instance.get_dynamic_partitions(str(DATASETS.name))):
            yield from _changed(instance, "dataset_files", key, dataset_file_version(key))
    for key in sorted(experiments):
        yield from _changed(instance, "experiment_files", key, experiment_file_version(key))


def record_files(instance: dg.DagsterInstance, *, experiments: Sequence[str] | None = None) -> None:
    """Record what every file says now, or the files of some experiments."""
    for observation in changed_files(instance, experiments=experiments):
        instance.report_runless_asset_event(observation)


def _changed(instance: dg.DagsterInstance, node: str, key: str, version: str) -> Iterator[dg.AssetObservation]:
    if version != _recorded(instance, node, key):
        yield dg.AssetObservation(node, partition=key, tags={DATA_VERSION_TAG: version})


def files_stamp() -> str:
    """Changes when a file in `datasets/`, `experiments/` or `studies/` may have: only by names, sizes and times."""
    folders = (project_folder() / name for name in ("datasets", "experiments", "studies"))
    files = sorted(path for folder in folders for path in folder.glob("*.yaml"))
    seen = [(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files]
    return fingerprint_of(seen)


def _recorded(instance: dg.DagsterInstance, node: str, partition: str) -> str | None:
    filters = dg.AssetRecordsFilter(dg.AssetKey(node), asset_partitions=[partition])
    for record in instance.fetch_observations(filters, limit=1).records:
        observation = record.asset_observation
        return None if observation is None else observation.tags.get(DATA_VERSION_TAG)
    return None
