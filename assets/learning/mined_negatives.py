"""Dynamic negative mining as a materialised asset: a pool for each training row, scored by the policy that mined it."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from assets.lake.checks import check, check_specs
from assets.lake.partitions import BY_EXPERIMENT, Keys, keys_of
from assets.lake.plots import histograms_plot, image
from assets.lake.ports import Launcher
from assets.lake.publish import Content, Inputs, Metadata, number, publish
from assets.lake.versions import Lake, Partition, partition_text
from assets.learning.follower import Follower
from assets.learning.policies import wrong_kind
from assets.learning.start import start_of
from assets.transforms.guarantees.finding import no_train_item_among_negatives
from assets.transforms.rounds import compare_rounds
from contracts.config import BaselineExperiment, MineSpec, Pool, SftExperiment
from contracts.files.load import load_experiment, load_start, source_of
from contracts.words import FORCE_TAG


@dg.asset(
    deps=["sft_policies", "histories", "interactions", "items"],
    partitions_def=BY_EXPERIMENT,
    group_name="negatives",
    kinds={"torch", "parquet"},
    owners=["team:training"],
    code_version="2",
    pool="gpu",
    check_specs=check_specs("mined_negatives", "no_train_item_among_a_rows_negatives"),
)
def mined_negatives(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], launcher: dg.ResourceParam[Launcher]
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[Any]]:
    """Round 0 is mined once by the policy that experiments start from, and shared by all of them.

    A later round of an experiment is mined by its policy of the round before and belongs to it. That edge, from
    `preference_policies` back to here, would close a circle between assets, so Dagster does not show it: it stands in
    the metadata, the manifest and the lineage. The metadata also say what has changed since the round before.

    The whole catalogue is scored for every training row; a pool of hard and of drawn negatives is kept, each with its
    log-probability, rank, margin to the chosen item, and whether it lies on the decision boundary.
    """
    keys = keys_of(context)
    mining = _mining_of(keys)
    dataset = (keys.dataset,)
    shards = launcher.checkpoints_root.with_name("shards") / keys.dataset / keys.experiment
    if context.run.tags.get(FORCE_TAG) == "true":
        shutil.rmtree(shards, ignore_errors=True)

    def mine(inputs: Inputs, staged: Mapping[str, Path]) -> dict[str, Content]:
        spec = MineSpec(
            policy=inputs[mining.asset].path("policy"),
            policy_name=mining.policy.experiment,
            histories=inputs["histories"].table_path,
            items=inputs["items"].table_path,
            interactions=inputs["interactions"].table_path,
            pool=mining.pool,
            round=mining.round,
            seed=mining.seed,
            shards=shards,
            output=staged["mined_negatives"],
            compute=launcher.compute,
        )
        follower = Follower(context, f"mining with {mining.policy.experiment}")
        launcher.run("mine", spec, follower)
        reused = follower.curves.get("diagnostic/shards_of_an_earlier_attempt", [(0, 0.0)])[-1][1]
        table = pl.read_parquet(spec.output / "mined_negatives.parquet")
        rows = inputs["histories"].table(["row_id", "user_id", "split", "target"])
        found = no_train_item_among_negatives(table, rows, inputs["interactions"].table())
        metadata = {
            **_described(table),
            "policy": dg.MetadataValue.md(f"`{mining.asset}` of `{partition_text(mining.policy)}`"),
            "round": mining.round,
            "shards_of_an_interrupted_mining": int(reused),
        }
        if mining.pool_before is not None:
            metadata |= _since(inputs["mined_negatives"].table(), table, mining)
        return {"mined_negatives": Content(table, metadata, [check("no_train_item_among_a_rows_negatives", found)])}

    yield from publish(
        context,
        lake,
        mine,
        partition=keys,
        inputs=[*mining.inputs, ("histories", dataset), ("items", dataset), ("interactions", dataset)],
        config={
            "pool": mining.pool.model_dump(mode="json"),
            "seed": mining.seed,
            "policy": mining.policy.experiment,
            "round": mining.round,
        },
        shared=True,  # a later round of three is one of four
    )
    shutil.rmtree(shards, ignore_errors=True)


@dataclass(frozen=True)
class _Mining:
    """Who mines a pool, and for which round."""

    asset: str
    """Which policies the miner is one of."""
    policy: Keys
    pool: Pool
    seed: int
    round: int
    pool_before: Keys | None
    """The pool of the round before, that this one is compared with; none in round 0."""

    @property
    def inputs(self) -> list[tuple[str, Partition]]:
        before = [] if self.pool_before is None else [("mined_negatives", self.pool_before)]
        return [(self.asset, self.policy), *before]


def _mining_of(keys: Keys) -> _Mining:
    experiment = load_experiment(keys.experiment)
    if isinstance(experiment, SftExperiment):
        if experiment.pool is None:
            raise dg.Failure(
                f"mined_negatives of {partition_text(keys)} must have a pool to fill, got pool: null in "
                f"{source_of(keys.experiment)}. Give it a pool, or materialise sft_policies alone.",
                allow_retries=False,
            )
        return _Mining("sft_policies", keys, experiment.pool, experiment.seed, 0, None)
    if isinstance(experiment, BaselineExperiment):
        raise wrong_kind("mined_negatives", keys, "sft or preference", experiment.kind)
    start = start_of(keys, experiment)
    if start.pool_before is None:
        raise dg.Failure(
            f"mined_negatives holds a pool of {keys.experiment} only from its second round on, got round 0, whose pool "
            f"is that of {partition_text(start.pool)} ({source_of(keys.experiment)}). Launch the job `train` for "
            f"{partition_text(keys)}: it picks the right partitions.",
            allow_retries=False,
        )
    first = load_start(experiment)  # the same pool and draws in every round, so that only the policy differs
    assert first.pool is not None  # load_experiment refuses a start without one
    return _Mining(
        start.asset, start.policy, first.pool, first.seed, experiment.negatives.rounds - 1, start.pool_before
    )


def _described(table: pl.DataFrame) -> dict[str, Any]:
    medians = table.group_by("miner").agg(pl.col("margin").median()).sort("miner")
    n_rows = table["row_id"].n_unique()
    return {
        "rows": n_rows,
        "pool_per_row": table.height / max(1, n_rows),
        "boundary_share": number(table["on_boundary"].cast(pl.Float64).mean()),
        "violation_share": number((table["margin"] <= 0).cast(pl.Float64).mean()),
        **{f"margin_median_{miner}": number(margin) for miner, margin in medians.iter_rows()},
    }


def _since(before: pl.DataFrame, after: pl.DataFrame, mining: _Mining) -> Metadata:
    """What has changed since the round before."""
    assert mining.pool_before is not None
    found, earlier = compare_rounds(before, after), partition_text(mining.pool_before)
    rounds = {f"round {mining.round - 1}": found.shares_before, f"round {mining.round}": found.shares_after}
    return {
        "since_round_before": dg.MetadataValue.md(f"compared with `mined_negatives` of `{earlier}`"),
        "hard_kept": found.hard_kept,
        "boundary_stayed": found.boundary_stayed,
        "boundary_entered": found.boundary_entered,
        "boundary_left": found.boundary_left,
        "hard_margin_median_before": found.margin_median_before,
        "hard_margin_median_after": found.margin_median_after,
        "hard_violation_share_before": found.violation_share_before,
        "hard_violation_share_after": found.violation_share_after,
        "hardness": dg.MetadataValue.md(
            image(histograms_plot(found.edges, rounds, label="margin of the hard negatives to the chosen item (nats)"))
        ),
    }
