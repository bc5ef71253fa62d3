"""Clean interactions with dense ids, and the tables that map the ids back: one step makes the three of them."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from assets.lake.asset import Step, assets
from assets.lake.checks import Check, check, leak_check, warning
from assets.lake.parquet import write_table
from assets.lake.partitions import DATASETS
from assets.lake.publish import Content
from assets.lake.reads import same_dataset
from assets.lake.shown import preview
from assets.lake.versions import Version
from assets.transforms.chunks import from_parts
from assets.transforms.cleaning.interactions import clean_interactions
from assets.transforms.guarantees.finding import interactions_are_chronological
from assets.transforms.guarantees.splits import split_keeps_its_guarantee
from assets.transforms.paper_rows import as_published, published_lists
from assets.transforms.splits import describe_log, order_of, split_parts
from contracts.config.dataset import DatasetConfig, PublishedSplit, Split
from evaluation.leakage import candidate_leakage, order_leakage, title_leakage
from evaluation.schemas import schema_of

LISTS = "published_lists_give_nothing_away"
NO_LISTS = Check(LISTS, True, {"message": "No published candidate lists are used."})


@assets(
    {
        "interactions": "One row for each user and item that met, in time order, with its split.",
        "users": "Every user that cleaning kept: the dense id, and the raw id it replaces.",
        "items": "The catalogue: dense item ids, what they were, titles and categories.",
    },
    by=DATASETS,
    reads=[
        same_dataset("raw_interactions"),
        same_dataset("raw_items"),
        same_dataset("paper_rows", when=lambda of: isinstance(of.split, PublishedSplit)),
    ],
    config=lambda of: {
        **of.model_dump(mode="json", include={"cleaning", "split", "seed"}),
        **({"published_lists": of.candidates.n} if of.candidates.draw == "published" else {}),
    },
    group="core",
    kinds={"polars", "parquet"},
    owner="data",
    checks={
        "interactions": ["in_time_order", "split_keeps_its_guarantee", "order_is_one_in_time", LISTS],
        "items": ["titles_tell_items_apart"],
    },
)
def cleaned(
    step: Step, of: DatasetConfig, raw_interactions: Version, raw_items: Version, paper_rows: Version | None
) -> dict[str, Content]:
    """Duplicates and unwanted events dropped, k-core to a fixed point, ids dense, each interaction in its split."""
    path = step.folders["interactions"] / "interactions.parquet"
    if isinstance(of.split, PublishedSplit):
        assert paper_rows  # read for every split that papers published
        return _of_papers(path, of, raw_interactions.table(), raw_items.table(), paper_rows.table())
    result = clean_interactions(
        raw_interactions.table_path,
        raw_items.table(),
        of.cleaning,
        seed=of.seed,
        scratch=step.scratch,
        say=step.info,
    )
    order = order_of(raw_interactions.scan())

    def parts() -> Iterator[pl.DataFrame]:
        return split_parts(
            result.interactions, of.split, order=order, users=result.users, items=result.items, seed=of.seed
        )

    interactions = write_table(from_parts(parts, schema_of("interactions")), path)
    statistics = {
        **{name: count for name, count in asdict(result.report).items() if name != "other_events"},
        "cleaning": dg.MetadataValue.md(preview(result.report.as_table(), rows=100)),
        "ordered_by": order,
        "density": result.report.interactions / max(1, result.users.height * result.items.height),
    }
    return _contents(path, interactions, result.users, result.items, of.split, statistics, NO_LISTS)


def _of_papers(
    path: Path, of: DatasetConfig, raw_interactions: pl.DataFrame, raw_items: pl.DataFrame, rows: pl.DataFrame
) -> dict[str, Content]:
    tables = as_published(raw_interactions, raw_items, rows)
    lists = NO_LISTS
    if of.candidates.draw == "published":
        # Here already, and with the lists of train rows too: a refusal then names the order and the lists together.
        shown = published_lists(rows, tables.users, tables.items, of.candidates.n)
        lists = leak_check(LISTS, candidate_leakage(shown, shown, n_items=tables.items.height))
    interactions = write_table(tables.interactions, path)
    return _contents(path, interactions, tables.users, tables.items, of.split, {"ordered_by": "position"}, lists)


def _contents(
    path: Path,
    interactions: pl.LazyFrame,
    users: pl.DataFrame,
    items: pl.DataFrame,
    split: Split,
    statistics: Mapping[str, Any],
    lists: Check,
) -> dict[str, Content]:
    counts = {"n_users": users.height, "n_items": items.height}
    return {
        "interactions": Content(
            path,
            {**statistics, **describe_log(interactions), **counts},
            [
                check("in_time_order", interactions_are_chronological(interactions)),
                check("split_keeps_its_guarantee", split_keeps_its_guarantee(interactions, split)),
                leak_check("order_is_one_in_time", order_leakage(interactions)),
                lists,
            ],
        ),
        "users": Content(users),
        # A warning: whether a model reads titles is an experiment's choice, and one that reads ids does not mind.
        "items": Content(items, checks=[warning("titles_tell_items_apart", title_leakage(items, interactions))]),
    }
