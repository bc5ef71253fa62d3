"""Raw data of every publisher, behind five functions.

Each kind of source has a module with `card`, `locate` and `read`. Archives, digests and the readers of text and Parquet
are here too, because the sources share them. Cleaning belongs to `assets/transforms`.
"""

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from assets.sources import amazon, demo, lastfm, movielens, online_retail, presplit, steam, tabular
from assets.sources.contract import (
    MissingRawFile,
    RawTables,
    SourceCard,
    UnusableSource,
    by_reason,
    compared_with_published,
)
from assets.sources.digests import DIFFERS
from assets.sources.digests import verdicts as digest_verdicts
from assets.sources.files import RawFile, hashed
from contracts.config import sources
from contracts.config.sources import Source

__all__ = [
    "DIFFERS",
    "MissingRawFile",
    "RawTables",
    "SourceCard",
    "UnusableSource",
    "by_reason",
    "compared_with_published",
    "file_verdicts",
    "located",
    "read_source",
    "source_card",
    "source_files",
]

_MODULES: dict[type, ModuleType] = {
    sources.DemoSource: demo,
    sources.MovieLensSource: movielens,
    sources.LastfmSource: lastfm,
    sources.SteamSource: steam,
    sources.OnlineRetailSource: online_retail,
    sources.AmazonSource: amazon,
    sources.TabularSource: tabular,
    sources.PresplitSource: presplit,
}


def source_card(config: Source) -> SourceCard:
    """Where this source comes from and what belongs into its folder."""
    return _MODULES[type(config)].card(config)


def located(config: Source, folder: Path) -> list[RawFile]:
    """Finds the raw files of a source by name; opens archives only to list their members.

    Raises:
        MissingRawFile: an expected file is not in `folder`.
        UnusableSource: an archive is broken, unsafe, or lacks a file.
    """
    return _MODULES[type(config)].locate(config, folder)


def source_files(config: Source, folder: Path) -> tuple[tuple[str, str], ...]:
    """The raw files of a source, relative to `folder`, and their sha256: what `read_source` will read.

    Raises:
        MissingRawFile: an expected file is not in `folder`.
        UnusableSource: an archive is broken, unsafe, or lacks a file.
    """
    return hashed(folder, located(config, folder))


def file_verdicts(config: Source, folder: Path, digests: Mapping[str, str]) -> dict[str, str]:
    """Each raw file → whether it is the publisher's, byte for byte; `digests` are those of `source_files`."""
    return digest_verdicts(source_card(config), located(config, folder), digests)


def read_source(config: Source, folder: Path, scratch: Path) -> RawTables:
    """Reads the raw tables of a source; the same files give the same tables.

    Args:
        config: which source, and what it needs to know.
        folder: where the raw files of this data set are: `BORDERLINE_RAW/<key>`.
        scratch: an empty folder for the Parquet files behind `interactions`; it must outlive them.

    Raises:
        MissingRawFile: an expected file is not in `folder`.
        UnusableSource: a file is there but is not what it should be, or too many of its rows are unusable.
    """
    return _MODULES[type(config)].read(config, folder, scratch)
