"""Dynamic negative mining as a materialised asset: a pool for each training row, scored by the policy that mined it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg
import polars as pl

from assets.lake.asset import Request, Step, asset
from assets.lake.checks import check
from assets.lake.partitions import BY_EXPERIMENT, Keys
from assets.lake.plots import histograms_plot, image
from assets.lake.ports import Launcher
from assets.lake.publish import Content
from assets.lake.reads import Read, same_dataset
from assets.lake.versions import Version, partition_text
from assets.learning.experiments import wrong_kind
from assets.learning.follower import Follower
from assets.learning.start import start_of
from assets.transforms.guarantees.finding import no_train_item_among_negatives
from assets.transforms.rounds import compare_rounds
from contracts.config import BaselineExperiment, MineSpec, Pool, SftExperiment
from contracts.files.load import load_experiment, load_start
from contracts.files.names import source_of
from contracts.words import MINERS

MINER = Read(
    "policy",
    (dg.AssetDep("sft_policies"),),
    lambda keys, of: [(of.asset, of.policy)],
    undrawn=("preference_policies",),
)
POOL_BEFORE = Read(
    "pool_before",
    (),
    lambda keys, of: [] if of.pool_before is None else [("mined_negatives", of.pool_before)],
    undrawn=("mined_negatives",),
)


@asset(
    by=BY_EXPERIMENT,
    plan=lambda request: _mining_of(request),
    reads=[MINER, POOL_BEFORE, same_dataset("histories"), same_dataset("items"), same_dataset("interactions")],
    config=lambda of: {
        "pool": of.pool.model_dump(mode="json"),
        "seed": of.seed,
        "policy": of.policy.experiment,
        "round": of.round,
    },
    group="negatives",
    kinds={"torch", "parquet"},
    owner="training",
    checks=["no_train_item_among_a_rows_negatives"],
    shared=True,  # a later round of three is one of four
    resumes_in="shards",
)
def mined_negatives(
    step: Step,
    of: "Mining",
    policy: Version,
    pool_before: Version | None,
    histories: Version,
    items: Version,
    interactions: Version,
    launcher: Launcher,
) -> Content:
    """Round 0 is mined once by the policy that experiments start from, and shared by all of them.

    A later round of an experiment is mined by its policy of the round before and belongs to it. That edge, from
    `preference_policies` back to here, would close a circle between assets, so Dagster does not show it; the
    metadata, the manifest and the lineage name it. The metadata also say what has changed since the round before.

    The whole catalogue is scored for every training row; a pool of hard and of drawn negatives is kept, each with its
    log-probability, rank, margin to the chosen item, and whether it lies on the decision boundary.
    """
    spec = MineSpec(
        policy=policy.path("policy"),
        policy_name=of.policy.experiment,
        histories=histories.table_path,
        items=items.table_path,
        interactions=interactions.table_path,
        pool=of.pool,
        round=of.round,
        seed=of.seed,
        shards=step.unfinished,
        output=step.folder,
        compute=launcher.compute,
    )
    follower = Follower(step.info, f"mining with {of.policy.experiment}")
    waited_s = launcher.run("mine", spec, follower)
    reused = follower.curves.get("diagnostic/shards_of_an_earlier_attempt", [(0, 0.0)])[-1][1]
    path = spec.output / "mined_negatives.parquet"
    table = pl.scan_parquet(path, glob=False)  # nothing below reads it whole
    found = no_train_item_among_negatives(table, histories.scan(), interactions.scan())
    metadata = {
        **described(table),
        "policy": dg.MetadataValue.md(f"`{of.asset}` of `{partition_text(of.policy)}`"),
        "round": of.round,
        "shards_of_an_interrupted_mining": int(reused),
    }
    if pool_before is not None:
        metadata |= _since(pool_before, table, of.round)
    return Content(path, metadata, [check("no_train_item_among_a_rows_negatives", found)], waited_s)


@dataclass(frozen=True)
class Mining:
    """Who mines a pool, and for which round."""

    asset: str
    """Which policies the miner is one of."""
    policy: Keys
    pool: Pool
    seed: int
    round: int
    pool_before: Keys | None
    """The pool of the round before, that this one is compared with; none in round 0."""


def _mining_of(request: Request) -> Mining:
    keys = Keys(*request.partition)
    experiment = load_experiment(keys.experiment)
    if isinstance(experiment, SftExperiment):
        if experiment.pool is None:
            raise dg.Failure(
                f"mined_negatives of {partition_text(keys)} must have a pool to fill, got pool: null in "
                f"{source_of(keys.experiment)}. Give it a pool, or materialise sft_policies alone.",
                allow_retries=False,
            )
        return Mining("sft_policies", keys, experiment.pool, experiment.seed, 0, None)
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
    return Mining(start.asset, start.policy, first.pool, first.seed, experiment.negatives.rounds - 1, start.pool_before)


def described(table: pl.LazyFrame) -> dict[str, Any]:
    """Sizes and shares of a pool, read from its file a part at a time."""
    sums = table.select(
        negatives=pl.len(),
        rows=pl.col("row_id").n_unique(),
        boundary=pl.col("on_boundary").sum(),
        violations=(pl.col("margin") <= 0).sum(),
    )
    found = sums.collect(engine="streaming").row(0, named=True)
    n = max(1, found["negatives"])
    return {
        "rows": found["rows"],
        "pool_per_row": found["negatives"] / max(1, found["rows"]),
        "boundary_share": found["boundary"] / n,
        "violation_share": found["violations"] / n,
        **{f"margin_median_{miner}": median for miner, median in _median_margins(table)},
    }


def _since(before: Version, after: pl.LazyFrame, number: int) -> Mapping[str, Any]:
    """What has changed since the round before round `number`."""
    found, earlier = compare_rounds(before.scan(), after), partition_text(before.partition)
    rounds = {f"round {number - 1}": found.shares_before, f"round {number}": found.shares_after}
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


def _median_margins(table: pl.LazyFrame) -> Iterator[tuple[str, float]]:
    """The median margin of each miner that found a negative; the margins of one miner at a time are in memory."""
    for miner in sorted(MINERS):
        of_miner = table.filter(pl.col("miner") == miner).select("margin").collect(engine="streaming")
        median: Any = of_miner["margin"].median()
        if median is not None:
            yield miner, float(median)
