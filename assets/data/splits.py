"""What each split of a data set holds: a report beside the interactions, which nothing is computed from."""

from assets.lake.asset import asset
from assets.lake.partitions import DATASETS
from assets.lake.publish import Content
from assets.lake.reads import same_dataset
from assets.lake.versions import Version
from assets.transforms.splits import GUARANTEES, NO_TIMES, summarise_splits
from contracts.config.dataset import DatasetConfig


@asset(
    by=DATASETS,
    reads=[same_dataset("interactions")],
    config=lambda of: of.split.model_dump(mode="json"),
    group="core",
    kinds={"polars", "parquet"},
    owner="data",
)
def splits(of: DatasetConfig, interactions: Version) -> Content:
    """Interactions, users, items and time span of train, validation and test."""
    table = summarise_splits(interactions.scan())
    promise = GUARANTEES[of.split.kind]
    held_out = {f"{name}_from": str(first) for name, first in table.select("split", "first_at").rows()[1:] if first}
    counts = {f"interactions_{name}": n for name, n in table.select("split", "interactions").iter_rows()}
    is_dated = table["first_at"].null_count() < table.height
    return Content(
        table,
        {
            **counts,
            **held_out,
            "split": of.split.kind,
            "guarantees": promise.given,
            "does_not_guarantee": promise.not_given,
            **({} if is_dated or of.split.kind == "random_holdout" else {"order": NO_TIMES}),
        },
    )
