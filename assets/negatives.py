"""Dynamic negative mining as a materialised asset: a pool for each training row, scored by the policy that mined it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from assets.configuration import load_experiment
from assets.partitions import BY_EXPERIMENT, keys_of
from assets.policies import wrong_kind
from assets.ports import Lake, Launcher
from assets.progress import Follower
from assets.publication import Content, Inputs, check, check_specs, number, publish
from assets.transforms.guarantees import no_train_item_among_negatives
from training.config import MineSpec, SftExperiment


@dg.asset(
    deps=["sft_policies", "histories", "interactions", "items"],
    partitions_def=BY_EXPERIMENT,
    group_name="negatives",
    kinds={"torch", "parquet"},
    owners=["team:training"],
    code_version="1",
    pool="gpu",
    check_specs=check_specs("mined_negatives", "no_train_item_among_a_rows_negatives"),
)
def mined_negatives(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], launcher: dg.ResourceParam[Launcher]
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[Any]]:
    """Round 0, mined once by the policy that experiments start from, and shared by all of them.

    The whole catalogue is scored for every training row; a pool of hard and of uniform negatives is kept, each with its
    log-probability, rank, margin to the chosen item, and whether it lies on the decision boundary.
    """
    keys = keys_of(context)
    experiment = load_experiment(keys.experiment)
    if not isinstance(experiment, SftExperiment):
        raise wrong_kind("mined_negatives", keys, "sft", experiment.kind)
    dataset = (keys.dataset,)

    def mine(inputs: Inputs, staged: Mapping[str, Path]) -> dict[str, Content]:
        spec = MineSpec(
            policy=inputs["sft_policies"].path("policy"),
            policy_name=keys.experiment,
            histories=inputs["histories"].table_path,
            items=inputs["items"].table_path,
            interactions=inputs["interactions"].table_path,
            pool=experiment.pool,
            seed=experiment.seed,
            output=staged["mined_negatives"],
            compute=launcher.compute,
        )
        launcher.run("mine", spec, Follower(context, f"mining with {keys.experiment}"))
        table = pl.read_parquet(spec.output / "mined_negatives.parquet")
        rows = inputs["histories"].table(["row_id", "user_id", "split", "target"])
        found = no_train_item_among_negatives(table, rows, inputs["interactions"].table())
        medians = table.group_by("miner").agg(pl.col("margin").median()).sort("miner")
        metadata = {
            "rows": table["row_id"].n_unique(),
            "pool_per_row": table.height / max(1, table["row_id"].n_unique()),
            "boundary_share": number(table["on_boundary"].cast(pl.Float64).mean()),
            "violation_share": number((table["margin"] <= 0).cast(pl.Float64).mean()),
            **{f"margin_median_{miner}": number(margin) for miner, margin in medians.iter_rows()},
            "policy": keys.experiment,
            "round": 0,
        }
        return {"mined_negatives": Content(table, metadata, [check("no_train_item_among_a_rows_negatives", found)])}

    yield from publish(
        context,
        lake,
        mine,
        partition=keys,
        inputs=[("sft_policies", keys), ("histories", dataset), ("items", dataset), ("interactions", dataset)],
        config={"pool": experiment.pool.model_dump(mode="json"), "seed": experiment.seed, "policy": keys.experiment},
    )
