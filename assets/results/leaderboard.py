"""The leaderboard of a data set: every experiment on identical rows, with intervals, above the blind floors."""

from typing import Any

import dagster as dg

from assets.lake.asset import Step, asset
from assets.lake.checks import Check
from assets.lake.freshness import MeasuredExperiments
from assets.lake.leaks import accepted_in, leak_tags
from assets.lake.partitions import ANY_EXPERIMENT_FILE, DATASETS
from assets.lake.plots import image
from assets.lake.ports import Tracker
from assets.lake.publish import Content
from assets.lake.reads import Read, same_dataset
from assets.lake.versions import Version
from assets.results.comparison import compared
from assets.results.measurement import MLFLOW_RUN_ID, run_is_kept
from assets.results.stored_leaderboard import is_readable, page_of, write_down
from contracts.words import REPORTED
from evaluation.reports.leaderboard_document import as_markdown
from evaluation.reports.leaderboard_figures import cost_png, intervals_png
from evaluation.statistics.significance import STANDARD

CURRENT_METRICS = Read(
    "metrics", (dg.AssetDep("metrics"),), lambda partition, of: of.inputs(partition[0]), is_many=True
)


@asset(
    by=DATASETS,
    plan=lambda request: request.published.measured_experiments(request.partition[0]),
    file=ANY_EXPERIMENT_FILE,
    reads=[CURRENT_METRICS, same_dataset("candidate_sets")],
    config=lambda of: {
        "resamples": STANDARD.times,
        "bootstrap_seed": STANDARD.seed,
        "bases": of.bases,
        "left_out": of.left_out,
        "choices": of.choices,
    },
    group="evaluation",
    kinds={"polars", "mlflow"},
    owner="evaluation",
    checks=["every_entry_is_current"],
    still_valid=lambda version, of, tracker: run_is_kept(version, of, tracker) and is_readable(version),
)
def leaderboard(
    step: Step, of: MeasuredExperiments, metrics: list[Version], candidate_sets: Version, tracker: Tracker
) -> Content:
    """Every measured experiment that is still what its file says, on the current tables; the others are named.

    Costs are kept beside the results; the data version leaves them out.
    """
    (dataset,) = step.partition
    metadata: dict[str, Any] = {"experiments": len(of.current)}
    measured = {version.partition[1]: version for version in metrics}
    measured_on = {split for version in metrics for split in version.table(["split"])["split"].unique()}
    boards = {
        split: compared(dataset, split, of, measured, candidate_sets) for split in REPORTED if split in measured_on
    }
    for split, board in boards.items():
        write_down(board, step.folder)
        metadata[split] = dg.MetadataValue.md(as_markdown(board))
    first = next(iter(boards.values()))
    metadata["plot"] = dg.MetadataValue.md(image(intervals_png(first)))
    metadata["quality_against_cost"] = dg.MetadataValue.md(image(cost_png(first)))
    pages = [step.folder / page_of(split) for split in boards]
    tags = {"dagster.run_id": step.run_id, **leak_tags(accepted_in(step.inputs.versions))}
    page = tracker.attach(dataset, "leaderboard", note=as_markdown(first), tags=tags, files=pages)
    metadata |= {"mlflow_run": dg.MetadataValue.url(page.url), MLFLOW_RUN_ID: page.run_id}
    left_out = "; ".join(f"{name}: {why}" for name, why in of.left_out.items()) or "none"
    check = Check("every_entry_is_current", not of.left_out, {"left_out": left_out}, blocks=False)
    return Content(metadata=metadata, checks=[check])
