"""What assets need of the outside world, as Protocols: a lake to read and publish, a launcher, a tracker, a registry.

The implementations are in `orchestration/resources/`; a test passes ten-line fakes.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import polars as pl

from contracts.config import ComputeConfig, Spec

Partition = tuple[str, ...]
"""(dataset,) or (dataset, experiment)."""


@dataclass(frozen=True)
class Version:
    """One whole, published version of one partition of an asset."""

    asset: str
    partition: Partition
    folder: Path
    data_version: str
    """Hash of what it holds: two versions with the same content have the same one."""
    fingerprint: str
    """Hash of what it was made from: code version, configuration and the data versions of its inputs."""
    manifest: Mapping[str, Any]

    def path(self, name: str) -> Path:
        """The file `name` of this version.

        Raises:
            FileNotFoundError: this version has no such file.
        """
        path = self.folder / name
        if not path.exists():
            raise FileNotFoundError(f"{self.asset} of {'|'.join(self.partition)} has no file {name} in {self.folder}.")
        return path

    @property
    def table_path(self) -> Path:
        """The asset's own Parquet file."""
        return self.path(f"{self.asset}.parquet")

    def table(self, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """The asset's own table, or some of its columns."""
        return pl.read_parquet(self.table_path, columns=list(columns) if columns else None, glob=False)

    def scan(self) -> pl.LazyFrame:
        """The asset's own table, read when it is collected: for one that need not fit in memory."""
        return pl.scan_parquet(self.table_path, glob=False)


class NotMaterialised(LookupError):
    """An asset that something needs has no published version of that partition; the message says how to make one."""


class Lake(Protocol):
    """Versions on disk. A reader sees the previous version or the new one, whole; never something between."""

    def current(self, asset: str, partition: Partition) -> Version | None:
        """The published version, its files checked against their recorded hashes; None when there is none."""
        ...

    def require(self, asset: str, partition: Partition) -> Version:
        """Like `current`, but raises `NotMaterialised`."""
        ...

    def newest_whole(self, asset: str, partition: Partition) -> Version | None:
        """The newest kept version none of whose files is damaged; None when there is none."""
        ...

    def partitions(self, asset: str) -> list[Partition]:
        """The partitions of an asset that have a published version, sorted."""
        ...

    def twin(self, asset: str, partition: Partition, fingerprint: str) -> Version | None:
        """The version that another experiment on the same data set has published from the same things, if one has."""
        ...

    def writing(self, asset: str, partition: Partition) -> AbstractContextManager[None]:
        """Holds the partition for one writer; a second one waits."""
        ...

    def staging(self, asset: str, partition: Partition) -> AbstractContextManager[Path]:
        """An empty folder to fill; removed when left unpublished, its logs kept in `failed/`."""
        ...

    def publish(
        self, asset: str, partition: Partition, staged: Path, *, fingerprint: str, manifest: Mapping[str, Any]
    ) -> Version:
        """Makes a filled staging folder the current version, atomically and durably."""
        ...


@dataclass(frozen=True)
class Telemetry:
    """One line of a command's `telemetry.jsonl`; or, of kind `system`, what the launcher saw it use meanwhile."""

    step: int
    epoch: float
    kind: str
    metrics: Mapping[str, float]


class TrainingFailed(RuntimeError):
    """A command ended with an error or a signal; the message holds its last lines and where its log is."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        """Negative: the signal that ended it."""


class Launcher(Protocol):
    """Runs a training command in a process of its own, so that neither its memory nor its death reaches the caller."""

    @property
    def compute(self) -> ComputeConfig:
        """On what device, and how."""
        ...

    @property
    def checkpoints_root(self) -> Path:
        """Where checkpoints of trainings under way are kept: a folder that outlives a failed run."""
        ...

    def run(self, stage: str, spec: Spec, on_telemetry: Callable[[Telemetry], None]) -> None:
        """Runs `python -m training.<stage>` to its end, reporting each telemetry line as it is written.

        Raises:
            TrainingFailed: it ended with another exit code than 0.
        """
        ...


PARENT_RUN_TAG = "mlflow/parent_run_id"
"""Run tag: the tracked run under which the runs of this one stand."""

RunStatus = Literal["FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True)
class TrackedRun:
    """A run of the experiment tracker, and the page that shows it."""

    run_id: str
    url: str


@dataclass(frozen=True)
class ModelCard:
    """What a registered version says about itself."""

    dataset: str
    experiment: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    histories_example: Sequence[Sequence[str]] = field(default_factory=tuple)
    """Raw item ids, oldest first, for the input example."""


@dataclass(frozen=True)
class RegisteredVersion:
    """A version in the registry."""

    version: str
    run_id: str
    """The tracked run that trained it."""
    aliases: tuple[str, ...]
    tags: Mapping[str, str]
    url: str


class VersionGone(LookupError):
    """The registry has no such version, or not its files; the message says what to do."""


class Tracker(Protocol):
    """Records runs, their curves and their models."""

    def tracked(
        self,
        dataset: str,
        experiment: str,
        *,
        params: Mapping[str, str],
        tags: Mapping[str, str],
        config: str = "",
        inputs: Sequence[Version] = (),
    ) -> AbstractContextManager["LiveRun"]:
        """A run that ends FINISHED, FAILED or KILLED however the block ends, with every metric logged so far.

        Args:
            dataset: its key.
            experiment: name of the run.
            params: flat, to search by.
            tags: `dagster.run_id` among them links the run to Dagster.
            config: YAML of the whole experiment; kept with the run, as are the installed packages.
            inputs: what the run reads; shown with their data versions.
        """
        ...

    def study(self, dataset: str, study: str, question: str) -> AbstractContextManager[TrackedRun]:
        """The run above those of a study's experiments: the one of before if there is one, so that a study that goes on
        stays one. Ends FINISHED, FAILED or KILLED however the block ends.
        """
        ...

    def find(self, run_id: str) -> TrackedRun | None:
        """The run with this id, if the tracker still has it."""
        ...

    def summarise(
        self, run_id: str, *, metrics: Mapping[str, float], tags: Mapping[str, str], artifacts: Sequence[Path]
    ) -> None:
        """Adds final metrics, tags and files to a run that has ended."""
        ...

    def attach(
        self, dataset: str, name: str, *, note: str, tags: Mapping[str, str], files: Sequence[Path]
    ) -> TrackedRun:
        """Puts files, tags and a description (Markdown) into the one run of the data set that bears this name.

        For what belongs to a data set and not to an experiment. The run is made at the first call.
        """
        ...

    def register(self, run_id: str, policy: Path, catalogue: Path, card: ModelCard) -> str:
        """Logs the policy as a servable model and registers it as `borderline-<dataset>`; returns the version.

        `catalogue` is a Parquet file with item_id, item, title and n_train, the users who touched the item in train.
        """
        ...

    def version_exists(self, dataset: str, version: str) -> bool:
        """Whether the registry still has this version, with its files."""
        ...

    def versions(self, dataset: str) -> list["RegisteredVersion"]:
        """Every version of `borderline-<dataset>`, oldest first."""
        ...

    def fetch(self, dataset: str, version: str, folder: Path) -> Path:
        """Copies a registered version into `folder`; returns where its `policy` and `catalogue.parquet` are.

        Raises:
            VersionGone: the registry has no such version, or its files are gone.
        """
        ...

    def champion(self, dataset: str) -> str | None:
        """The version with the alias `champion`."""
        ...

    def set_alias(self, dataset: str, alias: str, version: str, tags: Mapping[str, str]) -> None:
        """Moves an alias to a version and tags the version."""
        ...

    def version_url(self, dataset: str, version: str) -> str:
        """The page of a version."""
        ...


class LiveRun(Protocol):
    """A run while it is going on."""

    @property
    def tracked(self) -> TrackedRun:
        """Its id and page."""
        ...

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """One point on each curve; buffered, so that it never waits for the tracker."""
        ...

    def tag(self, tags: Mapping[str, str]) -> None:
        """Tags the run; buffered too."""
        ...


def partition_text(partition: Partition) -> str:
    """As Dagster writes it: `demo` or `demo|sft`."""
    return "|".join(partition)
