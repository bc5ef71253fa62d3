"""Clean interactions with dense ids, and the tables that map the ids back."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from contracts.files.load import load_dataset
from contracts.config.dataset import DatasetConfig, PublishedSplit, Split
from assets.lake.partitions import DATASETS
from assets.lake.versions import Lake
from assets.lake.publish import SCRATCH, Content, Inputs, publish
from assets.lake.shown import preview
from assets.lake.parquet import write_table
from assets.lake.checks import Check, check, check_specs, leak_check, warning
from assets.lake.validate import SCHEMAS
from assets.transforms.chunks import from_parts
from assets.transforms.guarantees.finding import interactions_are_chronological
from assets.transforms.cleaning.interactions import clean_interactions
from assets.transforms.paper_rows import as_published, published_lists
from assets.transforms.guarantees.splits import split_keeps_its_guarantee
from assets.transforms.splits import describe_log, order_of, split_parts
from evaluation.leakage import candidate_leakage, order_leakage, title_leakage

LISTS = "published_lists_give_nothing_away"
NO_LISTS = Check(LISTS, True, {"message": "No published candidate lists are used."})
TABLES = ("interactions", "users", "items")
SPEC = {"group_name": "core", "kinds": {"polars", "parquet"}, "owners": ["team:data"], "code_version": "5"}


@dg.multi_asset(
    specs=[
        dg.AssetSpec(
            "interactions",
            description="One row for each user and item that met, in time order, with its split.",
            deps=["raw_interactions", "raw_items", "paper_rows"],
            **SPEC,
        ),
        dg.AssetSpec(
            "users",
            description="Every user that cleaning kept: the dense id, and the raw id it stands for.",
            deps=["raw_interactions", "raw_items", "paper_rows"],
            **SPEC,
        ),
        dg.AssetSpec(
            "items",
            description="The catalogue: dense item ids, what they were, titles and categories.",
            deps=["raw_interactions", "raw_items", "paper_rows"],
            **SPEC,
        ),
    ],
    partitions_def=DATASETS,
    check_specs=[
        *check_specs("interactions", "in_time_order", "split_keeps_its_guarantee", "order_is_one_in_time", LISTS),
        *check_specs("users"),
        *check_specs("items", "titles_tell_items_apart"),
    ],
)
def cleaned(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[Any]]:
    """Duplicates and unwanted events dropped, k-core to a fixed point, ids dense, each interaction in its split."""
    dataset = context.partition_key
    config = load_dataset(dataset)
    published = ["paper_rows"] if isinstance(config.split, PublishedSplit) else []

    def clean(inputs: Inputs, staged: Mapping[str, Path]) -> dict[str, Content]:
        if isinstance(config.split, PublishedSplit):
            return _published(inputs, staged["interactions"], config, config.split)
        raw = inputs["raw_interactions"].scan()
        result = clean_interactions(
            inputs["raw_interactions"].table_path,
            inputs["raw_items"].table(),
            config.cleaning,
            seed=config.seed,
            scratch=staged[SCRATCH],
            say=context.log.info,
        )
        order = order_of(raw)

        def parts() -> Iterator[pl.DataFrame]:
            return split_parts(
                result.interactions,
                config.split,
                order=order,
                users=result.users,
                items=result.items,
                seed=config.seed,
            )

        path = staged["interactions"] / "interactions.parquet"
        interactions = write_table(from_parts(parts, SCHEMAS["interactions"].dtypes), path)
        statistics = {
            **{name: count for name, count in asdict(result.report).items() if name != "other_events"},
            "cleaning": dg.MetadataValue.md(preview(result.report.as_table(), rows=100)),
            "ordered_by": order,
            "density": result.report.interactions / max(1, result.users.height * result.items.height),
        }
        return _contents(path, interactions, result.users, result.items, config.split, statistics, NO_LISTS)

    yield from publish(
        context,
        lake,
        clean,
        partition=(dataset,),
        inputs=[(name, (dataset,)) for name in ("raw_interactions", "raw_items", *published)],
        config={
            **config.model_dump(mode="json", include={"cleaning", "split", "seed"}),
            **({"published_lists": config.candidates.n} if config.candidates.draw == "published" else {}),
        },
    )


def _published(inputs: Inputs, staged: Path, config: DatasetConfig, split: PublishedSplit) -> dict[str, Content]:
    raw_interactions, raw_items = inputs["raw_interactions"].table(), inputs["raw_items"].table()
    rows = inputs["paper_rows"].table()
    tables = as_published(raw_interactions, raw_items, rows)
    lists = NO_LISTS
    if config.candidates.draw == "published":
        # Here already, and with the lists of train rows too: a refusal then names the order and the lists together.
        shown = published_lists(rows, tables.users, tables.items, config.candidates.n)
        lists = leak_check(LISTS, candidate_leakage(shown, shown, n_items=tables.items.height))
    path = staged / "interactions.parquet"
    interactions = write_table(tables.interactions, path)
    return _contents(path, interactions, tables.users, tables.items, split, {"ordered_by": "position"}, lists)


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
