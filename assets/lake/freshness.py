"""Which versions are current: made from files and tables as they are now. Where a version comes from is here too."""

from collections.abc import Iterator, Set
from dataclasses import dataclass, field

from assets.lake.versions import Lake, Partition, Version, partition_text
from contracts.config import BaselineExperiment, PreferenceExperiment
from contracts.files.experiments import definition, listed_candidates
from contracts.files.load import load_experiment
from contracts.files.names import experiment_keys, study_keys, study_of, written_as
from contracts.files.yaml_lines import ConfigurationError


@dataclass(frozen=True)
class MeasuredExperiments:
    """The experiments of one data set that have metrics."""

    current: tuple[str, ...]
    """Those whose metrics may be compared: nothing above them has changed."""
    kinds: dict[str, str]
    """Kind of each current one: sft, preference or baseline."""
    bases: dict[str, str]
    """What each current one is compared with: what it started from; else the start that most experiments share."""
    left_out: dict[str, str]
    """All others, and what has changed since they were measured."""
    floors: tuple[str, ...] = ()
    """The current ones that ignore the user."""
    choices: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    """What the file of each current one chose: objective, representation, seed, as far as its kind has them."""

    def inputs(self, dataset: str) -> list[tuple[str, Partition]]:
        """The metrics of the current ones, as a `Read` finds its inputs."""
        return [("metrics", (dataset, experiment)) for experiment in self.current]


def measured_experiments(lake: Lake, dataset: str) -> MeasuredExperiments:
    """Judges every measured experiment of a data set."""
    left_out: dict[str, str] = {}
    kinds: dict[str, str] = {}
    starts: dict[str, str] = {}
    floors: list[str] = []
    for partition in lake.partitions("metrics"):
        if partition[0] != dataset or study_of(partition[1]) is not None:  # a study has a report of its own
            continue
        experiment = partition[1]
        changed = what_changed(lake, lake.require("metrics", partition))
        if changed is not None:
            left_out[experiment] = changed
            continue
        config = load_experiment(experiment)
        kinds[experiment] = config.kind
        if isinstance(config, PreferenceExperiment):
            starts[experiment] = config.start_from
        if isinstance(config, BaselineExperiment) and config.ignores_user:
            floors.append(experiment)
    of_kind_sft = [experiment for experiment in sorted(kinds) if kinds[experiment] == "sft"]
    shared = max(of_kind_sft, key=list(starts.values()).count, default=None)
    bases = {experiment: starts.get(experiment, shared) for experiment in kinds}
    return MeasuredExperiments(
        current=tuple(sorted(kinds)),
        kinds=kinds,
        bases={experiment: base for experiment, base in bases.items() if base in kinds},
        left_out=left_out,
        floors=tuple(floors),
        choices={experiment: _choices(experiment) for experiment in kinds},
    )


def _choices(experiment: str) -> dict[str, str]:
    config = load_experiment(experiment)
    match config:
        case BaselineExperiment():
            return {"seed": str(config.seed)}
        case PreferenceExperiment():
            start = _choices(config.start_from)
            return {**start, "objective": config.objective.kind, "seed": str(config.seed)}
        case _:
            representation, listed = config.representation.kind, listed_candidates(config)
            if listed is not None:
                representation += f", {listed.n} candidates in the prompt"
            return {"objective": "next-item", "representation": representation, "seed": str(config.seed)}


def what_changed(lake: Lake, metrics: Version) -> str | None:
    """What has changed since these metrics were measured, in the files or in any table above; None: nothing has."""
    measured = metrics.partition[1]
    study, experiment = study_of(measured), written_as(measured)
    file = f"experiments/{experiment}.yaml" if study is None else f"studies/{study}.yaml"
    if (experiment if study is None else study) not in (experiment_keys() if study is None else study_keys()):
        return f"{file} is gone"
    try:
        now = definition(measured)
    except ConfigurationError:
        return f"{file}, or that of its start, is wrong now"
    if metrics.manifest["metadata"].get("definition", {}).get("value") != now:
        return f"{file}, or that of its start, has changed since it was measured"
    queue, seen = [metrics], {(metrics.asset, metrics.partition)}
    while queue:
        for entry in queue.pop().manifest["inputs"]:
            asset, partition = entry["asset"], tuple(entry["partition"])
            above = lake.current(asset, partition)
            if above is None or above.data_version != entry["data_version"]:
                return f"{asset} of {partition_text(partition)} has changed since it was measured"
            if (asset, partition) not in seen:
                seen.add((asset, partition))
                queue.append(above)
    return None


@dataclass(frozen=True)
class Ancestor:
    """A table or policy that a version was made from, directly or through others."""

    depth: int
    """1 for what was read directly."""
    asset: str
    partition: Partition
    data_version: str
    """Of what was read."""
    version: Version | None
    """The published one, if it still is what was read."""

    @property
    def name(self) -> str:
        """`histories of demo`."""
        return f"{self.asset} of {partition_text(self.partition)}"


def ancestors(lake: Lake, version: Version) -> Iterator[Ancestor]:
    """Everything above a version, each once, nearest first along each branch."""
    seen: set[tuple[str, Partition, str]] = set()

    def above(of: Version, depth: int) -> Iterator[Ancestor]:
        for entry in of.manifest["inputs"]:
            key = (entry["asset"], tuple(entry["partition"]), entry["data_version"])
            if key in seen:
                continue
            seen.add(key)
            current = lake.current(key[0], key[1])
            found = current if current is not None and current.data_version == key[2] else None
            yield Ancestor(depth, *key, found)
            if found is not None:
                yield from above(found, depth + 1)

    yield from above(version, 1)


def raw_files(version: Version) -> dict[str, str]:
    """The raw files that a raw table was read from, and their sha256; none for any other table."""
    entry = version.manifest["metadata"].get("sha256")
    return dict(entry["value"]) if entry else {}


class Published:
    """What a plan may know of the lake: which versions of some assets there are, and whether they are current.

    A plan chooses what is read by it: the measured experiments of a study, the contenders of a promotion.
    """

    def __init__(self, lake: Lake, assets: Set[str]) -> None:
        self._lake, self._assets = lake, assets

    def current(self, asset: str, partition: Partition) -> Version | None:
        """The published version, or None.

        Raises:
            ValueError: the asset is not among those that may be read.
        """
        if asset not in self._assets:
            raise ValueError(f"{asset} must be declared to be read, got {', '.join(sorted(self._assets)) or 'none'}.")
        return self._lake.current(asset, partition)

    def current_metrics(self, dataset: str, experiment: str) -> Version | None:
        """The metrics of an experiment, if they are those of the files and tables as they are."""
        version = self.current("metrics", (dataset, experiment))
        return version if version is not None and self.what_changed(version) is None else None

    def measured_experiments(self, dataset: str) -> MeasuredExperiments:
        """See `measured_experiments`."""
        return measured_experiments(self._lake, dataset)

    def what_changed(self, metrics: Version) -> str | None:
        """See `what_changed`."""
        return what_changed(self._lake, metrics)
