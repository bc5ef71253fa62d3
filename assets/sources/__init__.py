"""Where raw data comes from: one file per format, behind one function."""

from collections.abc import Mapping
from pathlib import Path

from assets.lake.validate import SCHEMAS
from assets.sources import amazon, demo, lastfm, movielens, online_retail, presplit, steam, tabular
from assets.sources.contract import (
    MissingRawFile,
    PublishedStatistics,
    RawTables,
    SourceCard,
    UnusableSource,
    by_reason,
    compared_with_published,
)
from assets.sources.digests import DIFFERS
from assets.sources.digests import verdicts as digest_verdicts
from assets.sources.files import RawFile, hashed
from contracts.config.dataset import (
    AmazonSource,
    DemoSource,
    LastfmSource,
    MovieLensSource,
    OnlineRetailSource,
    PresplitSource,
    Source,
    SteamSource,
    TabularSource,
)

__all__ = [
    "DIFFERS",
    "MissingRawFile",
    "PublishedStatistics",
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

_DEMO_CARD = SourceCard(
    title="Demo (simulated film-rental shop)",
    files=(),
    page=None,
    terms="Simulated by this project; nobody in it exists.",
)


def source_card(config: Source) -> SourceCard:
    """Where this source comes from and what belongs into its folder."""
    match config:
        case DemoSource():
            return _DEMO_CARD
        case MovieLensSource():
            return movielens.card(config)
        case LastfmSource():
            return lastfm.card(config)
        case SteamSource():
            return steam.card(config)
        case OnlineRetailSource():
            return online_retail.card(config)
        case AmazonSource():
            return amazon.card(config)
        case TabularSource():
            return tabular.card(config)
        case PresplitSource():
            return presplit.card(config)


def located(config: Source, folder: Path) -> list[RawFile]:
    """The raw files of a source, found by name: nothing of them is read but the list of an archive's members.

    Raises:
        MissingRawFile: an expected file is not in `folder`.
        UnusableSource: an archive is broken, unsafe, or lacks a file.
    """
    match config:
        case DemoSource():
            return []
        case MovieLensSource():
            return movielens.locate(config, folder)
        case LastfmSource():
            return lastfm.locate(config, folder)
        case SteamSource():
            return steam.locate(config, folder)
        case OnlineRetailSource():
            return online_retail.locate(config, folder)
        case AmazonSource():
            return amazon.locate(config, folder)
        case TabularSource():
            return tabular.locate(config, folder)
        case PresplitSource():
            return presplit.locate(config, folder)


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
    """The raw tables of a source, the same for the same files.

    Args:
        config: which source, and what it needs to know.
        folder: where the raw files of this data set are: `BORDERLINE_RAW/<key>`.
        scratch: an empty folder for the Parquet files behind `interactions`; it must outlive them.

    Raises:
        MissingRawFile: an expected file is not in `folder`.
        UnusableSource: a file is there but is not what it should be, or too many of its lines are unusable.
    """
    match config:
        case DemoSource():
            interactions, items = demo.simulate(config.users, config.items, config.seed)
            return RawTables(interactions.lazy(), items, SCHEMAS["quarantine"].empty(), ())
        case MovieLensSource():
            return movielens.read(config, folder, scratch)
        case LastfmSource():
            return lastfm.read(config, folder, scratch)
        case SteamSource():
            return steam.read(config, folder, scratch)
        case OnlineRetailSource():
            return online_retail.read(config, folder, scratch)
        case AmazonSource():
            return amazon.read(config, folder, scratch)
        case TabularSource():
            return tabular.read(config, folder, scratch)
        case PresplitSource():
            return presplit.read(config, folder, scratch)
