"""What each split of a data set holds."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from contracts.files.load import load_dataset
from assets.lake.partitions import DATASETS
from assets.lake.versions import Lake
from assets.lake.publish import Content, Inputs, publish
from assets.lake.checks import check_specs
from assets.transforms.splits import GUARANTEES, NO_TIMES, summarise_splits


@dg.asset(
    deps=["interactions"],
    partitions_def=DATASETS,
    group_name="core",
    kinds={"polars", "parquet"},
    owners=["team:data"],
    code_version="2",
    check_specs=check_specs("splits"),
)
def splits(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[Any]]:
    """Interactions, users, items and time span of train, validation and test."""
    dataset = context.partition_key
    split = load_dataset(dataset).split

    def summarise(inputs: Inputs, staged: Mapping[str, Path]) -> dict[str, Content]:
        table = summarise_splits(inputs["interactions"].scan())
        promise = GUARANTEES[split.kind]
        held_out = {f"{name}_from": str(first) for name, first in table.select("split", "first_at").rows()[1:] if first}
        counts = {f"interactions_{name}": n for name, n in table.select("split", "interactions").iter_rows()}
        is_dated = table["first_at"].null_count() < table.height
        metadata = {
            **counts,
            **held_out,
            "split": split.kind,
            "guarantees": promise.given,
            "does_not_guarantee": promise.not_given,
            **({} if is_dated or split.kind == "random_holdout" else {"order": NO_TIMES}),
        }
        return {"splits": Content(table, metadata)}

    yield from publish(
        context,
        lake,
        summarise,
        partition=(dataset,),
        inputs=[("interactions", (dataset,))],
        config=split.model_dump(mode="json"),
    )
