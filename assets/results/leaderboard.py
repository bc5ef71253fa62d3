"""The leaderboard of a data set: every experiment on identical rows, with intervals, above the blind floors."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
from pydantic import ValidationError

from assets.lake.checks import Check, check_specs
from assets.lake.freshness import Standing, standing
from assets.lake.leaks import accepted_in, accepted_leaks, leak_tags
from assets.lake.partitions import DATASETS
from assets.lake.plots import image
from assets.lake.ports import Tracker
from assets.lake.publish import Content, Inputs, publish
from assets.lake.versions import Lake, NotMaterialised, Version
from assets.results.costs import cost_of
from assets.results.metrics import beyond_accuracy_of
from contracts.words import REPORTED
from evaluation.reports import leaderboard as report
from evaluation.reports.leaderboard import Entry, as_json, from_json
from evaluation.reports.leaderboard_document import as_html, as_markdown
from evaluation.reports.leaderboard_figures import cost_png, intervals_png
from evaluation.statistics.significance import STANDARD

COSTS_FILE = "costs.json"
"""Beside the results of each split: by experiment, what it cost."""


@dataclass(frozen=True)
class Foreign:
    """A model that this project did not train, measured on the same rows."""

    name: str
    metrics: pl.DataFrame
    beyond_accuracy: Mapping[str, float]


def compared(
    lake: Lake,
    dataset: str,
    split: str,
    now: Standing,
    measured: Mapping[str, Version],
    candidate_sets: Version,
    foreign: Foreign | None = None,
) -> report.Leaderboard:
    """The experiments that stand side by side on one split; with a foreign model, that one among them.

    Args:
        lake: where the policies and predictions say what they cost.
        dataset: its key.
        split: validation or test.
        now: which experiments may be compared, and with what.
        measured: their metrics.
        candidate_sets: of the data set, with what rules without a model score on them.
        foreign: compared with what most experiments are compared with.
    """
    entries = {
        name: Entry(
            metrics=version.table(),
            kind=now.kinds[name],
            is_floor=name in now.floors,
            base=now.bases.get(name),
            beyond_accuracy=beyond_accuracy_of(version, split),
            leaks={leak.name: leak.reasons for leak in accepted_leaks(version)},
            choices=now.choices.get(name, {}),
            cost=cost_of(lake, version.partition),
        )
        for name, version in measured.items()
    }
    if foreign is not None:
        bases = list(now.bases.values())
        entries[foreign.name] = Entry(
            metrics=foreign.metrics,
            kind="foreign",
            base=max(sorted(set(bases)), key=bases.count, default=None),
            beyond_accuracy=foreign.beyond_accuracy,
        )
    rules = candidate_sets.manifest["metadata"]["shortcuts"]["value"]
    return report.leaderboard(
        entries,
        dataset=dataset,
        split=split,
        left_out=now.left_out,
        shortcuts=[rule for rule in rules if rule["split"] == split],
        how=STANDARD,
    )


@dg.asset(
    deps=["metrics", "histories", "candidate_sets"],
    partitions_def=DATASETS,
    group_name="evaluation",
    kinds={"polars", "mlflow"},
    owners=["team:evaluation"],
    code_version="6",
    check_specs=check_specs("leaderboard", "every_entry_is_current"),
)
def leaderboard(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], tracker: dg.ResourceParam[Tracker]
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[Any]]:
    """Every measured experiment that is still what its file says, on the current tables; the others are named.

    Costs are measured anew with every run: they are kept beside the results, and are no part of their data version.
    """
    dataset = context.partition_key
    now = standing(lake, dataset)

    def compare(inputs: Inputs, staged: Mapping[str, Path]) -> dict[str, Content]:
        folder = staged["leaderboard"]
        metadata: dict[str, Any] = {"experiments": len(now.current)}
        measured = {version.partition[1]: version for version in inputs.all("metrics")}
        measured_on = {split for version in measured.values() for split in version.table(["split"])["split"].unique()}
        boards = {
            split: compared(lake, dataset, split, now, measured, inputs["candidate_sets"])
            for split in REPORTED
            if split in measured_on
        }
        for split, board in boards.items():
            _write_down(board, folder)
            metadata[split] = dg.MetadataValue.md(as_markdown(board))
        first = next(iter(boards.values()))
        metadata["plot"] = dg.MetadataValue.md(image(intervals_png(first)))
        metadata["quality_against_cost"] = dg.MetadataValue.md(image(cost_png(first)))
        pages = [folder / page_of(split) for split in boards]
        tags = {"dagster.run_id": context.run.run_id, **leak_tags(accepted_in(inputs.versions))}
        page = tracker.attach(dataset, "leaderboard", note=as_markdown(first), tags=tags, files=pages)
        metadata |= {"mlflow_run": dg.MetadataValue.url(page.url), "mlflow_run_id": page.run_id}
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
        config={
            "resamples": STANDARD.times,
            "bootstrap_seed": STANDARD.seed,
            "bases": now.bases,
            "left_out": now.left_out,
            "choices": now.choices,
        },
        still_valid=lambda version: (
            tracker.find(version.manifest["metadata"]["mlflow_run_id"]["value"]) is not None and _is_readable(version)
        ),
    )


def stored(version: Version, split: str) -> report.Leaderboard | None:
    """The leaderboard of a published version, with the costs of its experiments; None where the split has no rows.

    Raises:
        NotMaterialised: another version of this project wrote it, and this one cannot read it.
    """
    if not (version.folder / _results_of(split)).exists():
        return None
    plain = json.loads(version.path(_results_of(split)).read_text(encoding="utf-8"))
    costs = json.loads(version.path(COSTS_FILE).read_text(encoding="utf-8"))
    try:
        return from_json({**plain, "costs": costs})
    except ValidationError as error:
        dataset = version.partition[0]
        raise NotMaterialised(
            f"the leaderboard of {dataset} was written by another version, which this one cannot read. Rebuild it: "
            f"borderline run --dataset {dataset}"
        ) from error


def _is_readable(version: Version) -> bool:
    try:
        for split in REPORTED:
            stored(version, split)
    except NotMaterialised:
        return False
    return True


def page_of(split: str) -> str:
    """The name of the HTML page of a split."""
    return f"{split}.html"


def _results_of(split: str) -> str:
    return f"{split}.json"


def _write_down(board: report.Leaderboard, folder: Path) -> None:
    results = as_json(replace(board, costs={}))
    costs = as_json(board).get("costs", {})
    (folder / _results_of(board.split)).write_text(json.dumps(results, indent=1), encoding="utf-8")
    (folder / COSTS_FILE).write_text(json.dumps(costs, indent=1), encoding="utf-8")
    (folder / page_of(board.split)).write_text(as_html(board), encoding="utf-8")
