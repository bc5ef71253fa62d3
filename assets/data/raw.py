"""The raw log of a data set, typed: what could be read, and what could not, with its reason."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from contracts.files.load import load_dataset, raw_folder
from assets.lake.partitions import DATASETS
from assets.lake.versions import Lake
from assets.learning.follower import heartbeat
from assets.lake.publish import SCRATCH, Content, Inputs, publish
from assets.lake.shown import preview
from assets.lake.checks import check_specs
from assets.sources import (
    DIFFERS,
    by_reason,
    compared_with_published,
    file_verdicts,
    read_source,
    source_card,
    source_files,
)

SPEC = {"group_name": "raw", "kinds": {"duckdb", "parquet"}, "owners": ["team:data"], "code_version": "4"}
TABLES = ("raw_interactions", "raw_items", "paper_rows", "quarantine")


@dg.multi_asset(
    specs=[
        dg.AssetSpec(
            "raw_interactions",
            description="Every interaction of the raw log that could be read, with the file and line it came from.",
            **SPEC,
        ),
        dg.AssetSpec(
            "raw_items",
            description="The raw catalogue: what is known of each item besides who touched it.",
            **SPEC,
        ),
        dg.AssetSpec(
            "paper_rows",
            description="The rows of a benchmark that publishes rows, with raw ids; empty for a log.",
            **SPEC,
        ),
        dg.AssetSpec(
            "quarantine",
            description="Rows of the raw files that could not be used, each with its file, line and reason.",
            **SPEC,
        ),
    ],
    partitions_def=DATASETS,
    check_specs=[spec for table in TABLES for spec in check_specs(table)],
)
def raw(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[Any]]:
    """Reads the publisher's files as they are. Too many unreadable rows refuse the whole materialisation."""
    dataset = context.partition_key
    config = load_dataset(dataset)
    folder = raw_folder(dataset)
    files = dict(source_files(config.source, folder))

    def read(inputs: Inputs, staged: Mapping[str, Path]) -> dict[str, Content]:
        with heartbeat(context.log.info, f"reading {dataset}", staged[SCRATCH]):
            tables = read_source(config.source, folder, staged[SCRATCH])
        card = source_card(config.source)
        origin: dict[str, Any] = {"source": card.title, "terms": card.terms, "sha256": dg.MetadataValue.json(files)}
        if card.page:
            origin["official_page"] = dg.MetadataValue.url(card.page)
        if card.note:
            origin["note"] = card.note
        verdicts = file_verdicts(config.source, folder, files)
        if verdicts:
            origin["as_published"] = dg.MetadataValue.json(verdicts)
        for name in [name for name, verdict in verdicts.items() if verdict == DIFFERS]:
            context.log.warning(f"{name} {DIFFERS}, byte for byte; it is read all the same")
        counts: dict[str, Any] = {"quarantined_rows": tables.quarantine.height}
        if card.published:
            comparison = compared_with_published(tables, card.published)
            counts["published_statistics"] = dg.MetadataValue.md(preview(comparison))
        return {
            "raw_interactions": Content(tables.interactions, {**origin, **counts}),
            "raw_items": Content(tables.items, origin),
            "paper_rows": Content(tables.paper_rows, origin),
            "quarantine": Content(
                tables.quarantine,
                {**origin, "by_reason": dg.MetadataValue.md(preview(by_reason(tables.quarantine), rows=100))},
            ),
        }

    yield from publish(
        context,
        lake,
        read,
        partition=(dataset,),
        config={"source": config.source.model_dump(mode="json"), "files": files},
    )
