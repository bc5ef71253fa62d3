"""The raw log of a data set, typed: what could be read, and what could not, with its reason; all from one step."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from assets.lake.asset import Request, Step, assets
from assets.lake.heartbeat import heartbeat
from assets.lake.partitions import DATASETS
from assets.lake.publish import Content
from assets.lake.shown import preview
from assets.sources import (
    DIFFERS,
    by_reason,
    compared_with_published,
    file_verdicts,
    read_source,
    source_card,
    source_files,
)
from contracts.config.dataset import DatasetConfig
from contracts.files.load import load_dataset, raw_folder


@assets(
    {
        "raw_interactions": "Every interaction of the raw log that could be read, with the file and line it came from.",
        "raw_items": "The raw catalogue: what is known of each item besides who touched it.",
        "paper_rows": "The rows of a benchmark that publishes rows, with raw ids; empty for a log.",
        "quarantine": "Rows of the raw files that could not be used, each with its file, line and reason.",
    },
    by=DATASETS,
    plan=lambda request: _raw_files(request),
    config=lambda of: {"source": of.config.source.model_dump(mode="json"), "files": of.sha256},
    group="raw",
    kinds={"duckdb", "parquet"},
    owner="data",
)
def raw(step: Step, of: "RawFiles") -> dict[str, Content]:
    """Reads the files of the data set's source as they are. Too many unreadable rows refuse all of them."""
    source = of.config.source
    with heartbeat(step.info, f"reading {step.partition[0]}", step.scratch):
        tables = read_source(source, of.folder, step.scratch)
    card = source_card(source)
    origin: dict[str, Any] = {"source": card.title, "terms": card.terms, "sha256": dg.MetadataValue.json(of.sha256)}
    if card.page:
        origin["official_page"] = dg.MetadataValue.url(card.page)
    if card.note:
        origin["note"] = card.note
    verdicts = file_verdicts(source, of.folder, of.sha256)
    if verdicts:
        origin["as_published"] = dg.MetadataValue.json(verdicts)
    for name in [name for name, verdict in verdicts.items() if verdict == DIFFERS]:
        step.warn(f"{name} {DIFFERS}, byte for byte; it is read all the same")
    for note in tables.notes:
        step.warn(note)
    if tables.notes:
        origin["notes"] = dg.MetadataValue.json(list(tables.notes))
    counts: dict[str, Any] = {"quarantined_rows": tables.quarantine.height}
    if card.published:
        counts["published_statistics"] = dg.MetadataValue.md(preview(compared_with_published(tables, card.published)))
    reasons = dg.MetadataValue.md(preview(by_reason(tables.quarantine), rows=100))
    return {
        "raw_interactions": Content(tables.interactions, {**origin, **counts}),
        "raw_items": Content(tables.items, origin),
        "paper_rows": Content(tables.paper_rows, origin),
        "quarantine": Content(tables.quarantine, {**origin, "by_reason": reasons}),
    }


@dataclass(frozen=True)
class RawFiles:
    """The raw files of a data set, which are all there."""

    config: DatasetConfig
    folder: Path
    sha256: Mapping[str, str]
    """By file name."""


def _raw_files(request: Request) -> RawFiles:
    (dataset,) = request.partition
    config, folder = load_dataset(dataset), raw_folder(dataset)
    return RawFiles(config, folder, dict(source_files(config.source, folder)))
