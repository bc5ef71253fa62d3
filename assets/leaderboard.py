"""The leaderboard of a data set: every experiment on identical rows, with intervals, above the blind floors."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from assets.acceptance import accepted_leaks
from assets.metrics import BOOTSTRAP_SEED, RESAMPLES, beyond_accuracy_of
from assets.partitions import DATASETS
from assets.plots import image
from assets.ports import Lake, Version
from assets.publication import Check, Content, Inputs, check_specs, publish
from assets.standing import Standing, standing
from evaluation import report

SPLITS = ("test", "validation")


@dataclass(frozen=True)
class Foreign:
    """A model that this project did not train, measured on the same rows."""

    name: str
    metrics: pl.DataFrame
    beyond_accuracy: Mapping[str, float]


def compared(
    dataset: str,
    split: str,
    now: Standing,
    measured: Mapping[str, Version],
    candidate_sets: Version,
    foreign: Foreign | None = None,
) -> report.Leaderboard:
    """The experiments that stand side by side on one split; with a foreign model, that one among them.

    Args:
        dataset: its key.
        split: validation or test.
        now: which experiments may be compared, and with what.
        measured: their metrics.
        candidate_sets: of the data set, with what rules without a model score on them.
        foreign: compared with what most experiments are compared with.
    """
    tables = {name: version.table() for name, version in measured.items()}
    kinds, bases = dict(now.kinds), dict(now.bases)
    beyond = {name: beyond_accuracy_of(version, split) for name, version in measured.items()}
    if foreign is not None:
        tables[foreign.name], kinds[foreign.name] = foreign.metrics, "foreign"
        beyond[foreign.name] = dict(foreign.beyond_accuracy)
        shared = max(sorted(set(bases.values())), key=list(bases.values()).count, default=None)
        if shared is not None:
            bases[foreign.name] = shared
    rules = candidate_sets.manifest["metadata"]["shortcuts"]["value"]
    return report.leaderboard(
        tables,
        kinds,
        dataset=dataset,
        split=split,
        bases=bases,
        left_out=now.left_out,
        floors=now.floors,
        beyond=beyond,
        leaks={name: {leak.name: leak.reasons for leak in accepted_leaks(v)} for name, v in measured.items()},
        shortcuts=[rule for rule in rules if rule["split"] == split],
        resamples=RESAMPLES,
        seed=BOOTSTRAP_SEED,
    )


@dg.asset(
    deps=["metrics", "histories", "candidate_sets"],
    partitions_def=DATASETS,
    group_name="evaluation",
    kinds={"polars"},
    owners=["team:evaluation"],
    code_version="5",
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
        measured_on = {split for version in measured.values() for split in version.table(["split"])["split"].unique()}
        for split in SPLITS:
            if split not in measured_on:
                continue
            board = compared(dataset, split, now, measured, inputs["candidate_sets"])
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
