"""The leaderboard of a data set: every experiment on identical rows, with intervals, above the blind floors."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from assets.configuration import load_experiment
from assets.metrics import BOOTSTRAP_SEED, RESAMPLES
from assets.partitions import DATASETS
from assets.plots import image
from assets.ports import Lake, Partition, Version
from assets.publication import Check, Content, Inputs, check_specs, publish
from evaluation import report

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
        tables = {version.partition[1]: version.table() for version in inputs.all("metrics")}
        kinds = {name: load_experiment(name).kind for name in tables}
        base = next((name for name in sorted(kinds) if kinds[name] == "sft"), None)
        for split in SPLITS:
            board = report.leaderboard(
                tables, kinds, dataset=dataset, split=split, base=base, resamples=RESAMPLES, seed=BOOTSTRAP_SEED
            )
            (folder / f"{split}.json").write_text(json.dumps(report.as_json(board), indent=1), encoding="utf-8")
            (folder / f"{split}.txt").write_text(report.as_text(board), encoding="utf-8")
            (folder / f"{split}.md").write_text(report.as_markdown(board), encoding="utf-8")
            metadata[split] = dg.MetadataValue.md(report.as_markdown(board))
            if split == "test":
                metadata["plot"] = dg.MetadataValue.md(image(report.as_png(board)))
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
