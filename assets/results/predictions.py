"""Predictions: for every validation and test row the best items, and the rank of the target, on both protocols."""

from pathlib import Path
from typing import Any

import polars as pl

from assets.data.repeats import judged_config, keeps_repeats
from assets.lake.asset import Step, asset
from assets.lake.checks import Check
from assets.lake.partitions import BY_EXPERIMENT
from assets.lake.ports import Launcher
from assets.lake.publish import Content
from assets.lake.reads import same_dataset
from assets.lake.versions import Version
from assets.learning.experiments import OWN_POLICY, Planned, plan_experiment
from assets.learning.follower import Follower
from assets.results.baselines import baseline_predictions
from assets.results.measurement import TOP_K
from contracts.config import BaselineExperiment, ScoreSpec


@asset(
    by=BY_EXPERIMENT,
    plan=plan_experiment,
    reads=[
        OWN_POLICY,
        same_dataset("histories"),
        same_dataset("candidate_sets"),
        same_dataset("items"),
        same_dataset("interactions", when=lambda of: of.is_baseline),
    ],
    config=lambda of: {
        **({"experiment": of.experiment.model_dump(mode="json")} if of.is_baseline else {}),
        "top_k": TOP_K,
        **judged_config(of.dataset),
    },
    group="evaluation",
    kinds={"torch", "parquet"},
    owner="evaluation",
    checks=["every_row_is_predicted"],
)
def predictions(
    step: Step,
    of: Planned,
    policy: Version | None,
    histories: Version,
    candidate_sets: Version,
    items: Version,
    interactions: Version | None,
    launcher: Launcher,
) -> Content:
    """Both protocols from one set of weights: each row's candidate set, and the full catalogue without its history.

    Where the data set keeps repeats, the catalogue holds the items of the history too.
    """
    metadata: dict[str, Any] = {}
    if isinstance(of.experiment, BaselineExperiment):
        assert interactions is not None  # read for baselines
        predicted = baseline_predictions(
            of.experiment, histories, candidate_sets, items, interactions, top_k=TOP_K, say=step.info
        )
        table: pl.DataFrame | Path = predicted.table
        metadata["train_seconds"] = predicted.fit_seconds
        metadata["score_ms_per_user"] = 1000.0 * predicted.rank_seconds / (predicted.table["row_id"].n_unique() or 1)
    else:
        assert policy is not None  # read for all but baselines
        spec = ScoreSpec(
            policy=policy.path("policy"),
            histories=histories.table_path,
            items=items.table_path,
            candidate_sets=candidate_sets.table_path,
            top_k=TOP_K,
            keeps_repeats=keeps_repeats(histories),
            output=step.folder,
            compute=launcher.compute,
        )
        follower = Follower(step.info, f"scoring {of.keys.experiment}")
        launcher.run("score", spec, follower)
        metadata |= scoring_cost(follower)
        table = step.folder / "predictions.parquet"
    n_rows = histories.scan().filter(pl.col("split") != "train").select(pl.len()).collect().item()
    protocols = _protocols(table.lazy() if isinstance(table, pl.DataFrame) else pl.scan_parquet(table, glob=False))
    missing = n_rows * len(protocols) - sum(protocols.values())
    check = Check("every_row_is_predicted", missing == 0, {"rows": n_rows, "missing": missing})
    metadata["protocols"] = ", ".join(protocols)
    return Content(table, metadata, [check])


def _protocols(table: pl.LazyFrame) -> dict[str, int]:
    """The number of rows of each protocol, by name."""
    counted = table.group_by("protocol").len().sort("protocol").collect(engine="streaming")
    return dict(counted.iter_rows())


def scoring_cost(follower: Follower) -> dict[str, float]:
    """Milliseconds for each row while rows are scored, and peak memory in bytes."""
    cost = {name: value for name, value in follower.end.items() if name.startswith("peak_")}
    if follower.rates.get("rows"):
        cost["score_ms_per_user"] = 1000.0 / follower.rates["rows"]
    return cost
