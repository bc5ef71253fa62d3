"""Predictions: for every validation and test row the best items, and the rank of the target, on both protocols."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from assets.lake.checks import Check, check_specs
from assets.lake.partitions import BY_EXPERIMENT, keys_of
from assets.lake.ports import Launcher
from assets.lake.publish import Content, Inputs, publish
from assets.lake.versions import Lake, Partition
from assets.learning.follower import Follower
from assets.results.baselines import baseline_predictions
from contracts.config import BaselineExperiment, Experiment, ScoreSpec
from contracts.files.load import load_experiment
from contracts.words import POLICY_ASSETS

TOP_K = 50


@dg.asset(
    deps=["sft_policies", "preference_policies", "histories", "candidate_sets", "items", "interactions"],
    partitions_def=BY_EXPERIMENT,
    group_name="evaluation",
    kinds={"torch", "parquet"},
    owners=["team:evaluation"],
    code_version="1",
    pool="gpu",
    check_specs=check_specs("predictions", "every_row_is_predicted"),
)
def predictions(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], launcher: dg.ResourceParam[Launcher]
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[Any]]:
    """Both protocols from one set of weights: each row's candidate set, and the full catalogue without its history."""
    keys = keys_of(context)
    experiment = load_experiment(keys.experiment)
    dataset = (keys.dataset,)

    def predict(inputs: Inputs, staged: Mapping[str, Path]) -> dict[str, Content]:
        metadata: dict[str, Any] = {}
        if isinstance(experiment, BaselineExperiment):
            predicted = baseline_predictions(experiment, inputs, top_k=TOP_K, say=context.log.info)
            table = predicted.table
            metadata["train_seconds"] = predicted.fit_seconds
            metadata["score_ms_per_user"] = 1000.0 * predicted.rank_seconds / (table["row_id"].n_unique() or 1)
        else:
            table, cost = _scored(context, launcher, experiment, inputs, staged["predictions"])
            metadata |= cost
        rows = inputs["histories"].table(["row_id", "split"]).filter(pl.col("split") != "train")
        missing = rows.height * table["protocol"].n_unique() - table.height
        check = Check("every_row_is_predicted", missing == 0, {"rows": rows.height, "missing": missing})
        metadata["protocols"] = ", ".join(table["protocol"].unique().sort())
        return {"predictions": Content(table, metadata, [check])}

    inputs: list[tuple[str, Partition]] = [(name, dataset) for name in ("histories", "candidate_sets", "items")]
    if isinstance(experiment, BaselineExperiment):
        inputs.append(("interactions", dataset))
        config = {"experiment": experiment.model_dump(mode="json"), "top_k": TOP_K}
    else:
        inputs.append((POLICY_ASSETS[experiment.kind], keys))
        config = {"top_k": TOP_K}
    yield from publish(context, lake, predict, partition=keys, inputs=inputs, config=config)


def _scored(
    context: dg.AssetExecutionContext, launcher: Launcher, experiment: Experiment, inputs: Inputs, output: Path
) -> tuple[pl.DataFrame, dict[str, float]]:
    """The table, and what it cost: milliseconds for each row while rows are scored, and memory at the peak in bytes."""
    spec = ScoreSpec(
        policy=inputs[POLICY_ASSETS[experiment.kind]].path("policy"),
        histories=inputs["histories"].table_path,
        items=inputs["items"].table_path,
        candidate_sets=inputs["candidate_sets"].table_path,
        top_k=TOP_K,
        output=output,
        compute=launcher.compute,
    )
    follower = Follower(context, f"scoring {keys_of(context).experiment}")
    launcher.run("score", spec, follower)
    cost = {name: value for name, value in follower.end.items() if name.startswith("peak_")}
    if follower.rates.get("rows"):
        cost["score_ms_per_user"] = 1000.0 / follower.rates["rows"]
    return pl.read_parquet(output / "predictions.parquet"), cost
