"""What assets need of the outside world, as Protocols: a lake to read and publish, a launcher, a tracker, a registry.

The implementations are in `orchestration/resources/`; a test passes ten-line fakes.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from assets.lake.versions import Version
from contracts.config import ComputeConfig, Spec


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
    def resume_points_root(self) -> Path:
        """Where checkpoints of trainings under way are kept: a folder that outlives a failed run."""
        ...

    def run(self, stage: str, spec: Spec, on_telemetry: Callable[[Telemetry], None]) -> float:
        """Runs `python -m training.<stage>` to its end, reporting each telemetry line as it is written.

        Returns:
            The seconds that it waited before, for the command of another run to leave the device.

        Raises:
            TrainingFailed: it ended with another exit code than 0.
        """
        ...


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
