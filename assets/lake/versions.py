"""Published versions of tables and policies, and the lake that holds them, as a Protocol.

The implementation is in `orchestration/resources/lake.py`.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import polars as pl

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


def partition_text(partition: Partition) -> str:
    """As Dagster writes it: `demo` or `demo|sft`."""
    return "|".join(partition)
