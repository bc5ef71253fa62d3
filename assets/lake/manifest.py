"""What a manifest says of a version besides its files: metadata, and everything the version was made from.

A manifest is JSON in the version's folder; the lake adds sizes and hashes. How versions are written is not here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import dagster as dg

from assets.lake.freshness import ancestors, raw_files
from assets.lake.versions import Lake, Partition, Version

Metadata = Mapping[str, Any]
"""int, float, str, or a Dagster metadata value of kind md, url, path or json."""
CARRIED = ("code_version", "inputs", "ancestry", "metadata", "checks", "accepted_leaks", "run_id", "seconds")
"""What a version that takes over the content of another one says of it."""


def to_json(value: Any) -> dict[str, Any]:
    """A metadata value as a manifest holds it."""
    if isinstance(value, dg.MetadataValue):
        kind = type(value).__name__.removesuffix("MetadataValue").lower()
        return {"kind": kind, "value": value.value if kind != "path" else str(value.value)}
    return {"kind": "plain", "value": value}


def from_json(entry: Mapping[str, Any]) -> Any:
    """The metadata value that `to_json` wrote."""
    value = entry["value"]
    match entry["kind"]:
        case "markdown":
            return dg.MetadataValue.md(value)
        case "url":
            return dg.MetadataValue.url(value)
        case "path":
            return dg.MetadataValue.path(value)
        case "json":
            return dg.MetadataValue.json(value)
        case _:
            return value


def plain_metadata(version: Version) -> dict[str, Any]:
    """The metadata of a version by name, without their kinds."""
    return {name: entry["value"] for name, entry in version.manifest["metadata"].items()}


def seconds_of(version: Version) -> float | None:
    """Seconds that the step took which made the version; None for versions from before they were recorded."""
    return version.manifest.get("seconds")


def ancestry(version: Version) -> list[dict[str, Any]]:
    """Every table and policy the version was made from, nearest first, as recorded when it was published.

    Each has `asset`, `partition`, `data_version`, `seconds` (None: unknown) and `files` (name → sha256; raw tables).
    """
    return list(version.manifest.get("ancestry", ()))


def with_ancestry(lake: Lake, version: Version) -> Version:
    """The version, with its ancestry looked up where a release that did not record it has published the version."""
    if "ancestry" in version.manifest:
        return version
    above = [
        _entry(ancestor.asset, ancestor.partition, ancestor.data_version, ancestor.version)
        for ancestor in ancestors(lake, version)
    ]
    return replace(version, manifest={**version.manifest, "ancestry": above})


def joined_ancestry(inputs: Iterable[Version]) -> list[dict[str, Any]]:
    """The inputs of a version and everything above them, each once."""
    found: dict[tuple[str, tuple[str, ...], str], dict[str, Any]] = {}
    inputs = list(inputs)
    entries = [_entry(each.asset, each.partition, each.data_version, each) for each in inputs]
    for entry in [*entries, *(above for each in inputs for above in ancestry(each))]:
        found.setdefault((entry["asset"], tuple(entry["partition"]), entry["data_version"]), entry)
    return list(found.values())


def _entry(asset: str, partition: Partition, data_version: str, version: Version | None) -> dict[str, Any]:
    return {
        "asset": asset,
        "partition": list(partition),
        "data_version": data_version,
        "seconds": None if version is None else seconds_of(version),
        "files": {} if version is None else raw_files(version),
    }
