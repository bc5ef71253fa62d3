"""What every source gives and says about itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from contracts.config.sources import StatedCounts
from evaluation.schemas import empty


@dataclass(frozen=True)
class RawTables:
    """What a source's files hold, typed; what could not be used is in `quarantine`, with its file, line and reason."""

    interactions: pl.LazyFrame
    """Table `raw_interactions`: a scan of Parquet files in a scratch folder, never held in memory as a whole."""
    items: pl.DataFrame
    """Table `raw_items`."""
    quarantine: pl.DataFrame
    paper_rows: pl.DataFrame = field(default_factory=lambda: empty("paper_rows"))
    """Of a benchmark that publishes rows; empty for a log."""
    notes: tuple[str, ...] = ()
    """What is worth knowing of the files and refuses nothing, a sentence each."""


@dataclass(frozen=True)
class SourceCard:
    """Where a data set comes from, what its files are called, and on what terms it may be used."""

    title: str
    files: tuple[str, ...]
    """What belongs into the data set's folder; none for simulated data."""
    page: str | None
    """The publisher's own page."""
    terms: str
    published: StatedCounts | None = None
    sha256: Mapping[str, str] = field(default_factory=dict)
    """File name → digest of the publisher's file, where the publisher does not change it; archives and members."""
    note: str | None = None
    """What a reader of results must know of these files, such as that they are a part of what was published."""


class MissingRawFile(FileNotFoundError):
    """A raw file is not where it is looked for; the message names folder, file and official page."""

    def __init__(self, card: SourceCard, folder: Path) -> None:
        found = sorted(path.name for path in folder.iterdir())[:5] if folder.is_dir() else None
        state = "the folder does not exist" if found is None else f"found {', '.join(found) or 'nothing'}"
        remedy = f"Download it from {card.page} and put it there" if card.page else "Put it there"
        super().__init__(
            f"{card.title} must have {' or '.join(card.files)} in {folder}, but {state}. {remedy}, or set "
            f"BORDERLINE_RAW to the folder that holds {folder.name}/."
        )


class UnusableSource(ValueError):
    """A raw file is there and cannot be used; the message names file, line and remedy."""


class EmptyFile(UnusableSource):
    """A raw file that holds no row: it may lie among others that do."""


def compared_with_published(raw: RawTables, published: StatedCounts) -> pl.DataFrame:
    """statistic, published, read: the publisher's counts beside what was read; `published` is missing if not stated."""
    counted = raw.interactions.select(
        interactions=pl.len(), users=pl.col("user").n_unique(), items=pl.col("item").n_unique()
    )
    read = counted.collect(engine="streaming").row(0, named=True)
    read |= {"catalogue": raw.items.height, "quarantine": raw.quarantine.height}
    return pl.DataFrame(
        [(name, getattr(published, name, None), count) for name, count in read.items()],
        schema={"statistic": pl.String, "published": pl.Int64, "read": pl.Int64},
        orient="row",
    )


def by_reason(quarantine: pl.DataFrame) -> pl.DataFrame:
    """file, reason, rows, first_line: what was set aside, most frequent first.

    >>> reason = "rating must be a number"
    >>> bad = pl.DataFrame({"file": ["a.csv"] * 2, "line": [7, 3], "reason": [reason] * 2, "text": ["x", "y"]})
    >>> by_reason(bad).rows()
    [('a.csv', 'rating must be a number', 2, 3)]
    """
    counted = quarantine.group_by("file", "reason").agg(rows=pl.len(), first_line=pl.col("line").min())
    return counted.sort("rows", "file", "first_line", "reason", descending=[True, False, False, False])
