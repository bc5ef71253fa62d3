"""What each split of a data set holds."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from assets.partitions import DATASETS
from assets.ports import Lake
from assets.publication import Content, Inputs, check_specs, publish
from assets.transforms.splits import summarise_splits


@dg.asset(
    deps=["interactions"],
    partitions_def=DATASETS,
    group_name="core",
    kinds={"polars", "parquet"},
    owners=["team:data"],
    code_version="1",
    check_specs=check_specs("splits"),
)
def splits(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[Any]]:
    """Interactions, users, items and time span of train, validation and test."""
    dataset = context.partition_key

    def summarise(inputs: Inputs, staged: Mapping[str, Path]) -> dict[str, Content]:
        return {"splits": Content(summarise_splits(inputs["interactions"].table()))}

    yield from publish(context, lake, summarise, partition=(dataset,), inputs=[("interactions", (dataset,))], config={})
