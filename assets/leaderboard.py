"""The leaderboard of a data set: every experiment on identical rows, with intervals, above the blind floors."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from assets.configuration import load_experiment
from assets.metrics import BOOTSTRAP_SEED, RESAMPLES
from assets.partitions import DATASETS
from assets.plots import image
from assets.ports import Lake, Partition, Version
from assets.publication import Check, Content, Inputs, check_specs, publish
from evaluation.report import Entry, leaderboard_of, leaderboard_plot

SPLITS = ("test", "validation")


@dg.asset(
    deps=["metrics", "histories"],
    partitions_def=DATASETS,
    group_name="evaluation",
    kinds={"polars"},
    owners=["team:evaluation"],
    code_version="1",
    check_specs=check_specs("leaderboard", "every_entry_is_current"),
)
def leaderboard(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[Any]]:
    """Every experiment with metrics on the current rows; one that was measured on older rows is left out and named."""
    dataset = context.partition_key
    entries, stale = current_metrics(lake, dataset)

    def compare(inputs: Inputs, staged: Mapping[str, Path]) -> dict[str, Content]:
        folder = staged["leaderboard"]
        metadata: dict[str, Any] = {"experiments": len(entries)}
        for split in SPLITS:
            board = leaderboard_of(
                [
                    Entry(
                        version.partition[1],
                        load_experiment(version.partition[1]).kind,
                        version.table().filter(pl.col("split") == split),
                    )
                    for version in inputs.all("metrics")
                ],
                dataset=dataset,
                split=split,
                resamples=RESAMPLES,
                seed=BOOTSTRAP_SEED,
            )
            (folder / f"{split}.json").write_text(json.dumps(board.to_json(), indent=1), encoding="utf-8")
            (folder / f"{split}.txt").write_text(board.to_text(), encoding="utf-8")
            (folder / f"{split}.md").write_text(board.to_markdown(), encoding="utf-8")
            metadata[split] = dg.MetadataValue.md(board.to_markdown())
            if split == "test":
                metadata["plot"] = dg.MetadataValue.md(image(leaderboard_plot(board)))
        check = Check(
            "every_entry_is_current",
            not stale,
            {"measured_on_other_rows": ", ".join(stale) or "none"},
            blocks=False,
        )
        return {"leaderboard": Content(metadata=metadata, checks=[check])}

    yield from publish(
        context,
        lake,
        compare,
        partition=(dataset,),
        inputs=entries,
        config={"resamples": RESAMPLES, "bootstrap_seed": BOOTSTRAP_SEED, "stale": stale},
    )


def current_metrics(lake: Lake, dataset: str) -> tuple[list[tuple[str, Partition]], list[str]]:
    """The metrics partitions that were measured on the current rows, and the experiments that were not."""
    rows = lake.require("histories", (dataset,)).data_version
    current: list[tuple[str, Partition]] = []
    stale: list[str] = []
    for partition in lake.partitions("metrics"):
        if partition[0] != dataset:
            continue
        if _rows_of(lake.require("metrics", partition)) == rows:
            current.append(("metrics", partition))
        else:
            stale.append(partition[1])
    return current, stale


def _rows_of(version: Version) -> str:
    return next(entry["data_version"] for entry in version.manifest["inputs"] if entry["asset"] == "histories")
