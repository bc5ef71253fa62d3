"""Where raw data comes from: one file per format, behind one function."""

from pathlib import Path

from assets.datasets import DemoSource, MovieLensSource, Source, TabularSource
from assets.schemas import SCHEMAS
from assets.sources import demo, movielens, tabular
from assets.sources.contract import (
    MissingRawFile,
    PublishedStatistics,
    RawTables,
    SourceCard,
    UnusableSource,
    compared_with_published,
)
from assets.sources.files import hashed

__all__ = [
    "MissingRawFile",
    "PublishedStatistics",
    "RawTables",
    "SourceCard",
    "UnusableSource",
    "compared_with_published",
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
            return movielens.RELEASES[config.release].card
        case TabularSource():
            return tabular.card(config)


def source_files(config: Source, folder: Path) -> tuple[tuple[str, str], ...]:
    """The raw files of a source, relative to `folder`, and their sha256: what `read_source` will read.

    Raises:
        MissingRawFile: an expected file is not in `folder`.
        UnusableSource: an archive is broken, unsafe, or lacks a file.
    """
    match config:
        case DemoSource():
            return ()
        case MovieLensSource():
            return hashed(folder, movielens.locate(config.release, folder))
        case TabularSource():
            return tabular.hashed(config, folder)


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
        case TabularSource():
            return tabular.read(config, folder, scratch)
