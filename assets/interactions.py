"""Clean interactions with dense ids, and the tables that map the ids back."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from assets.configuration import load_dataset
from assets.partitions import DATASETS
from assets.ports import Lake
from assets.publication import (
    SCRATCH,
    Content,
    Inputs,
    check,
    check_specs,
    leak_check,
    preview,
    publish,
    warning,
    write_table,
)
from assets.schemas import SCHEMAS
from assets.transforms.chunks import from_parts
from assets.transforms.guarantees import interactions_are_chronological
from assets.transforms.interactions import clean_interactions
from assets.transforms.split_guarantees import split_keeps_its_guarantee
from assets.transforms.splits import describe_log, order_of, split_parts
from evaluation.leakage import order_leakage, title_leakage

TABLES = ("interactions", "users", "items")
SPEC = {"group_name": "core", "kinds": {"polars", "parquet"}, "owners": ["team:data"], "code_version": "4"}


@dg.multi_asset(
    specs=[
        dg.AssetSpec(
            "interactions",
            description="One row for each user and item that met, in time order, with its split.",
            deps=["raw_interactions", "raw_items"],
            **SPEC,
        ),
        dg.AssetSpec(
            "users",
            description="Every user that cleaning kept: the dense id, and the raw id it stands for.",
            deps=["raw_interactions", "raw_items"],
            **SPEC,
        ),
        dg.AssetSpec(
            "items",
            description="The catalogue: dense item ids, what they were, titles and categories.",
            deps=["raw_interactions", "raw_items"],
            **SPEC,
        ),
    ],
    partitions_def=DATASETS,
    check_specs=[
        *check_specs("interactions", "in_time_order", "split_keeps_its_guarantee", "order_is_one_in_time"),
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

    def clean(inputs: Inputs, staged: Mapping[str, Path]) -> dict[str, Content]:
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
            **describe_log(interactions),
            "ordered_by": order,
            "n_users": result.users.height,
            "n_items": result.items.height,
            "density": result.report.interactions / max(1, result.users.height * result.items.height),
        }
        return {
            "interactions": Content(
                path,
                statistics,
                [
                    check("in_time_order", interactions_are_chronological(interactions)),
                    check("split_keeps_its_guarantee", split_keeps_its_guarantee(interactions, config.split)),
                    leak_check("order_is_one_in_time", order_leakage(interactions)),
                ],
            ),
            "users": Content(result.users),
            # A warning: whether a model reads titles is an experiment's choice, and one that reads ids does not mind.
            "items": Content(
                result.items, checks=[warning("titles_tell_items_apart", title_leakage(result.items, interactions))]
            ),
        }

    yield from publish(
        context,
        lake,
        clean,
        partition=(dataset,),
        inputs=[("raw_interactions", (dataset,)), ("raw_items", (dataset,))],
        config=config.model_dump(mode="json", include={"cleaning", "split", "seed"}),
    )
