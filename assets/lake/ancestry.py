"""Where a published version comes from, and what was made from it: read from manifests, up to the raw files."""

from collections.abc import Iterator
from dataclasses import dataclass

from assets.lake.ports import Lake, Partition, Version, partition_text


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
