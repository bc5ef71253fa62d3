"""The lake: versions of tables and policies on disk, published atomically, checked when read, never pickled.

lake/<asset>/<dataset>[/<experiment>]/current -> .versions/<name>     a link that is swapped in one step
                                      .versions/<name>/manifest.json  size and sha256 of every file, written last
                                      .staging-<random>/              what is being written; no reader looks here
                                      failed/                         logs of the last attempt that did not publish
"""

import fcntl
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from assets.lake.versions import NotMaterialised, Partition, Version, partition_text
from contracts.config import fingerprint_of
from contracts.durable import commit, flush, sha256_of
from contracts.words import TELEMETRY
from orchestration.resources.warehouse import write_warehouse

VOLATILE = {TELEMETRY, "train.log", "spec.json", "run.json"}
"""Files that say how a version was made, not what it is: clocks and paths keep them out of its data version."""
MEASURED = {"costs.json", "test.html", "validation.html"}
"""Files with what something cost, beside what it is: no two runs cost the same, so they are out of the version too."""

KEPT_VERSIONS = 3
STAMP = "%Y%m%dT%H%M%S.%f"
"""What a version's name begins with, in UTC: names sort in the order of publication."""
PART = re.compile(r"[a-z0-9_][a-z0-9._-]{0,63}")


class CorruptVersion(RuntimeError):
    """A published file is not what was published; the message names it."""


@dataclass
class LakeStorage:
    """A lake in a local folder. Knows nothing of Dagster, so that a command which only reads answers at once."""

    root: str
    warehouse: str
    """The DuckDB file whose views show the current versions."""

    _verified: set[Path] = field(default_factory=set, repr=False)

    @classmethod
    def of(cls, home: Path) -> "LakeStorage":
        """The lake of a home."""
        return cls(root=str(home / "lake"), warehouse=str(home / "warehouse.duckdb"))

    def current(self, asset: str, partition: Partition) -> Version | None:
        """See `assets.lake.versions.Lake`."""
        link = self._folder(asset, partition) / "current"
        try:
            folder = link.parent / os.readlink(link)
        except FileNotFoundError:
            return None
        manifest = _manifest(folder)
        self._verify(folder, manifest)
        return Version(asset, partition, folder, manifest["data_version"], manifest["fingerprint"], manifest)

    def require(self, asset: str, partition: Partition) -> Version:
        """See `assets.lake.versions.Lake`."""
        version = self.current(asset, partition)
        if version is None:
            run = f"borderline run --dataset {partition[0]}"
            run += f" --experiments {partition[1]}" if len(partition) > 1 else ""
            run += _mining(asset)
            raise NotMaterialised(f"{asset} of {partition_text(partition)} is not materialised. Run: {run}")
        return version

    def newest_whole(self, asset: str, partition: Partition) -> Version | None:
        """See `assets.lake.versions.Lake`."""
        for folder in sorted((self._folder(asset, partition) / ".versions").glob("*"), reverse=True):
            try:
                manifest = _manifest(folder)
                self._verify(folder, manifest)
            except CorruptVersion:
                continue
            return Version(asset, partition, folder, manifest["data_version"], manifest["fingerprint"], manifest)
        return None

    def partitions(self, asset: str) -> list[Partition]:
        """See `assets.lake.versions.Lake`."""
        top = Path(self.root) / asset
        return sorted(link.parent.relative_to(top).parts for link in [*top.glob("*/current"), *top.glob("*/*/current")])

    def twin(self, asset: str, partition: Partition, fingerprint: str) -> Version | None:
        """See `assets.lake.versions.Lake`."""
        for other in self.partitions(asset):
            if other[:-1] != partition[:-1] or other == partition:
                continue
            # Only the one that is taken is hashed: a study has many others, of the size of its data set.
            manifest = _manifest((self._folder(asset, other) / "current").resolve())
            if manifest["fingerprint"] == fingerprint:
                return self.require(asset, other)
        return None

    @contextmanager
    def writing(self, asset: str, partition: Partition) -> Iterator[None]:
        """See `assets.lake.versions.Lake`."""
        folder = self._folder(asset, partition)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel frees it even when this process is killed
            for leftover in folder.glob(".staging-*"):
                shutil.rmtree(leftover)  # we hold the lock, so its maker is dead
            yield

    @contextmanager
    def staging(self, asset: str, partition: Partition) -> Iterator[Path]:
        """See `assets.lake.versions.Lake`."""
        folder = self._folder(asset, partition)
        staged = folder / f".staging-{secrets.token_hex(8)}"
        staged.mkdir(parents=True)
        try:
            yield staged
        finally:
            if staged.exists():
                logs = [staged / name for name in sorted(VOLATILE) if (staged / name).exists()]
                if logs:
                    shutil.rmtree(folder / "failed", ignore_errors=True)
                    (folder / "failed").mkdir()
                    for log in logs:
                        log.rename(folder / "failed" / log.name)
                shutil.rmtree(staged)

    def publish(
        self, asset: str, partition: Partition, staged: Path, *, fingerprint: str, manifest: Mapping[str, Any]
    ) -> Version:
        """See `assets.lake.versions.Lake`."""
        files = {
            path.relative_to(staged).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
            for path in sorted(staged.rglob("*"))
            if path.is_file()
        }
        content = {name: entry["sha256"] for name, entry in files.items() if name not in VOLATILE | MEASURED}
        data_version = fingerprint_of(content)
        now = datetime.now(UTC)
        whole = {
            **manifest,
            "asset": asset,
            "partition": list(partition),
            "fingerprint": fingerprint,
            "data_version": data_version,
            "published_at": now.isoformat(),
            "files": files,
        }
        (staged / "manifest.json").write_text(json.dumps(whole, indent=1), encoding="utf-8")
        folder = self._folder(asset, partition)
        versions = folder / ".versions"
        versions.mkdir(exist_ok=True)
        name = f"{_after_all(versions, now):{STAMP}}-{data_version}"
        commit(staged, versions / name)
        link = folder / f".current-{secrets.token_hex(8)}"
        link.symlink_to(Path(".versions") / name)
        os.replace(link, folder / "current")
        flush(folder)
        for old in sorted(versions.iterdir())[:-KEPT_VERSIONS]:
            shutil.rmtree(old)
        self._show(asset)
        return Version(asset, partition, versions / name, data_version, fingerprint, whole)

    def refresh_warehouse(self) -> None:
        """Makes the warehouse show what is published, also after somebody removed it or moved the lake."""
        assets = [top.name for top in Path(self.root).glob("*/")]
        write_warehouse(Path(self.warehouse), {asset: self._tables(asset) for asset in assets}, afresh=True)

    def _show(self, asset: str) -> None:
        """Makes the warehouse show what is published of one asset; what it shows of the others stays."""
        try:
            write_warehouse(Path(self.warehouse), {asset: self._tables(asset)}, afresh=False)
        except (FileNotFoundError, duckdb.Error):  # there is none yet, or somebody damaged it
            self.refresh_warehouse()

    def _tables(self, asset: str) -> list[Version]:
        """The current versions that hold a table, unverified: a damaged file must not stop other publications."""
        found = []
        for partition in self.partitions(asset):
            folder = (self._folder(asset, partition) / "current").resolve()
            if (folder / f"{asset}.parquet").exists():
                found.append(Version(asset, partition, folder, "", "", {}))
        return found

    def _folder(self, asset: str, partition: Partition) -> Path:
        for part in (asset, *partition):
            if not PART.fullmatch(part):
                raise ValueError(f"a name in the lake must match {PART.pattern}, got {part!r}. Rename it.")
        return Path(self.root).joinpath(asset, *partition)

    def _verify(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        if folder in self._verified:
            return
        again = f"Materialise {manifest['asset']} again with{_mining(manifest['asset'])} --force."
        for name, entry in manifest["files"].items():
            path = folder / name
            if not path.exists():
                raise CorruptVersion(f"{path} is missing. {again}")
            if path.stat().st_size != entry["bytes"] or sha256_of(path) != entry["sha256"]:
                raise CorruptVersion(f"{path} is not what was published (its sha256 differs). {again}")
        self._verified.add(folder)


def _mining(asset: str) -> str:
    """What a command that makes this asset says besides."""
    return " --mine" if asset == "mined_negatives" else ""


def _after_all(versions: Path, now: datetime) -> datetime:
    """Now, or just after the newest version where the clock has been set back: the newest is kept longest."""
    last = max((datetime.strptime(each.name.split("-")[0], STAMP) for each in versions.iterdir()), default=None)
    return now if last is None else max(now, last.replace(tzinfo=UTC) + timedelta(microseconds=1))


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CorruptVersion(f"{path} cannot be read ({error}). Materialise it again with --force.") from error
