"""Rows to learn from and to be judged on: what a user touched before, and what came next."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from contracts.files.load import load_dataset
from contracts.config.dataset import PublishedSplit
from assets.lake.partitions import DATASETS
from assets.lake.versions import Lake
from assets.lake.publish import Content, Inputs, publish
from assets.lake.parquet import write_table
from assets.lake.checks import check, check_specs, leak_check
from assets.lake.validate import SCHEMAS
from assets.transforms.chunks import from_parts
from assets.transforms.histories import history_parts
from assets.transforms.guarantees.histories import histories_keep_their_guarantees
from assets.transforms.paper_rows import published_history_parts
from evaluation.leakage import future_leakage, overlap_leakage


@dg.asset(
    deps=["interactions", "splits", "paper_rows", "users", "items"],
    partitions_def=DATASETS,
    group_name="core",
    kinds={"polars", "parquet"},
    owners=["team:data"],
    code_version="3",
    check_specs=check_specs(
        "histories",
        "nothing_at_or_after_the_target",
        "no_held_out_item_in_train",
        "nothing_from_the_future",
        "train_holds_no_answers",
    ),
)
def histories(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[Any]]:
    """For each row, the user's items strictly before the target, oldest first, and the target."""
    dataset = context.partition_key
    config = load_dataset(dataset)
    published = ["paper_rows", "users", "items"] if isinstance(config.split, PublishedSplit) else []

    def build(inputs: Inputs, staged: Mapping[str, Path]) -> dict[str, Content]:
        interactions = inputs["interactions"].scan()
        at_one_time = config.split.kind == "global_time"

        def parts() -> Iterator[pl.DataFrame]:
            if isinstance(config.split, PublishedSplit):
                rows, users, items = (inputs[name].table() for name in published)
                return published_history_parts(rows, interactions, users, items, config.split, config.histories)
            return history_parts(interactions, config.histories, config.split)

        path = staged["histories"] / "histories.parquet"
        table = write_table(from_parts(parts, SCHEMAS["histories"].dtypes), path)
        precede, unseen, statistics = histories_keep_their_guarantees(
            table, interactions, train_until=_first_held_out(interactions) if at_one_time else None
        )
        return {
            "histories": Content(
                path,
                statistics.as_metadata(),
                [
                    check("nothing_at_or_after_the_target", precede),
                    check("no_held_out_item_in_train", unseen),
                    leak_check("nothing_from_the_future", future_leakage(table, interactions, at_one_time=at_one_time)),
                    leak_check("train_holds_no_answers", overlap_leakage(table)),
                ],
            )
        }

    yield from publish(
        context,
        lake,
        build,
        partition=(dataset,),
        inputs=[(name, (dataset,)) for name in ("interactions", "splits", *published)],
        config=config.model_dump(mode="json", include={"histories": True, "split": {"kind", "train"}}),
    )


def _first_held_out(interactions: pl.LazyFrame) -> datetime:
    """When validation begins: the time of the first interaction that is not in train."""
    held_out = interactions.filter(pl.col("split") != "train")
    return held_out.select(pl.col("at").min()).collect(engine="streaming").item()
