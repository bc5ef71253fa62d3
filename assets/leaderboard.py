"""The leaderboard of a data set: every experiment on identical rows, with intervals, above the blind floors."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from assets.acceptance import accepted_leaks
from assets.metrics import BOOTSTRAP_SEED, RESAMPLES, beyond_accuracy_of
from assets.partitions import DATASETS
from assets.plots import image
from assets.ports import Lake
from assets.publication import Check, Content, Inputs, check_specs, publish
from assets.standing import standing
from evaluation import report

SPLITS = ("test", "validation")


@dg.asset(
    deps=["metrics", "histories", "candidate_sets"],
    partitions_def=DATASETS,
    group_name="evaluation",
    kinds={"polars"},
    owners=["team:evaluation"],
    code_version="4",
    check_specs=check_specs("leaderboard", "every_entry_is_current"),
)
def leaderboard(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[Any]]:
    """Every measured experiment that is still what its file says, on the current tables; the others are named."""
    dataset = context.partition_key
    now = standing(lake, dataset)

    def compare(inputs: Inputs, staged: Mapping[str, Path]) -> dict[str, Content]:
        folder = staged["leaderboard"]
        metadata: dict[str, Any] = {"experiments": len(now.current)}
        measured = {version.partition[1]: version for version in inputs.all("metrics")}
        tables = {name: version.table() for name, version in measured.items()}
        leaks = {name: {leak.name: leak.reasons for leak in accepted_leaks(v)} for name, v in measured.items()}
        rules = inputs["candidate_sets"].manifest["metadata"]["shortcuts"]["value"]
        measured_on = {split for table in tables.values() for split in table["split"].unique()}
        for split in SPLITS:
            if split not in measured_on:
                continue
            board = report.leaderboard(
                tables,
                now.kinds,
                dataset=dataset,
                split=split,
                bases=now.bases,
                left_out=now.left_out,
                floors=now.floors,
                beyond={version.partition[1]: beyond_accuracy_of(version, split) for version in inputs.all("metrics")},
                leaks=leaks,
                shortcuts=[rule for rule in rules if rule["split"] == split],
                resamples=RESAMPLES,
                seed=BOOTSTRAP_SEED,
            )
            (folder / f"{split}.json").write_text(json.dumps(report.as_json(board), indent=1), encoding="utf-8")
            (folder / f"{split}.txt").write_text(report.as_text(board), encoding="utf-8")
            (folder / f"{split}.md").write_text(report.as_markdown(board), encoding="utf-8")
            metadata[split] = dg.MetadataValue.md(report.as_markdown(board))
            if "plot" not in metadata:
                metadata["plot"] = dg.MetadataValue.md(image(report.as_png(board)))
        if "test" not in measured_on:
            _say_that_test_is_missing(folder, dataset)
        check = Check(
            "every_entry_is_current",
            not now.left_out,
            {"left_out": "; ".join(f"{name}: {why}" for name, why in now.left_out.items()) or "none"},
            blocks=False,
        )
        return {"leaderboard": Content(metadata=metadata, checks=[check])}

    yield from publish(
        context,
        lake,
        compare,
        partition=(dataset,),
        inputs=[*now.inputs(dataset), ("candidate_sets", (dataset,))],
        config={"resamples": RESAMPLES, "bootstrap_seed": BOOTSTRAP_SEED, "bases": now.bases, "left_out": now.left_out},
    )


def _say_that_test_is_missing(folder: Path, dataset: str) -> None:
    """Writes the test leaderboard of a benchmark whose test part is not here: no rows, and validation below."""
    note = f"{dataset}, test: no rows; the publisher's test part is not in the raw folder. On validation:"
    (folder / "test.json").write_text(json.dumps({"dataset": dataset, "split": "test", "rows": []}), encoding="utf-8")
    for ending in ("txt", "md"):
        board = (folder / f"validation.{ending}").read_text(encoding="utf-8")
        (folder / f"test.{ending}").write_text(f"{note}\n\n{board}", encoding="utf-8")
