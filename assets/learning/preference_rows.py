"""Preference rows: the chosen item of each training row, and the negatives an experiment takes from the shared pool."""

from dataclasses import asdict

import dagster as dg

from assets.lake.asset import Step, asset
from assets.lake.checks import check
from assets.lake.partitions import BY_EXPERIMENT, Keys, of_any_experiment
from assets.lake.publish import Content
from assets.lake.reads import Read, same_dataset
from assets.lake.versions import Partition, Version, partition_text
from assets.learning.start import START, Preferring, plan_preference
from assets.transforms.guarantees.finding import no_train_item_among_negatives
from assets.transforms.preferences import Shortfall, choose_negatives, negatives_missing
from contracts.config import Negatives
from contracts.files.load import load_start
from contracts.files.names import source_of

POOL = Read("pool", (of_any_experiment("mined_negatives"),), lambda keys, of: [("mined_negatives", of.start.pool)])


@asset(
    by=BY_EXPERIMENT,
    plan=plan_preference("preference_rows"),
    reads=[START, POOL, same_dataset("histories"), same_dataset("interactions")],
    config=lambda of: {
        "negatives": of.experiment.negatives.model_dump(mode="json", exclude={"rounds"}),
        "seed": load_start(of.experiment).seed,
    },
    group="negatives",
    kinds={"polars", "parquet"},
    owner="training",
    checks=["no_train_item_among_the_rejected"],
    shared=True,
)
def preference_rows(
    step: Step, of: Preferring, start: Version, pool: Version, histories: Version, interactions: Version
) -> Content:
    """One chosen item against n rejected ones for each training row.

    The negatives of n = 1 are among those of n = 15, and no choice depends on the objective: two experiments with the
    same `negatives` read the same rows. A later round takes them from the pool that the policy before it mined.
    """
    refuse_pool_of_another_policy(start, pool, of.keys)
    negatives = of.experiment.negatives
    rows = histories.table(["row_id", "user_id", "split", "target"])
    table = choose_negatives(rows, pool.table(), negatives, load_start(of.experiment).seed)
    found = no_train_item_among_negatives(table, rows, interactions.table(["user_id", "item_id", "split"]))
    short = negatives_missing(table, negatives.n)
    refuse_empty(short, table.height, negatives, keys=of.keys, pool=pool.partition)
    if short.missing:
        step.warn(
            f"preference_rows of {partition_text(of.keys)}: {short.short_rows:,} of {table.height:,} rows have fewer "
            f"than {negatives.n} negatives, {short.empty_rows:,} none: the pool of {partition_text(pool.partition)} "
            "has no more for them"
        )
    start_from = dg.MetadataValue.md(f"`mined_negatives` of `{partition_text(pool.partition)}`")
    checks = [check("no_train_item_among_the_rejected", found)]
    return Content(table, {**asdict(short), "start_from": start_from}, checks)


def refuse_pool_of_another_policy(start: Version, pool: Version, keys: Keys) -> None:
    """Refuses negatives that were mined by an earlier version of the policy that the experiment starts from.

    Raises:
        dg.Failure: naming both.
    """
    miners = [entry["data_version"] for entry in pool.manifest["inputs"] if entry["asset"] == start.asset]
    if miners != [start.data_version]:
        raise dg.Failure(
            f"preference_rows of {partition_text(keys)} must be of negatives that were mined by the policy it starts "
            f"from, got a pool of an earlier {start.asset} of {partition_text(start.partition)}. Launch the job `mine` "
            f"for {partition_text(pool.partition)}, or run: borderline run --dataset {keys.dataset} --experiments "
            f"{keys.experiment}",
            allow_retries=False,
        )


def refuse_empty(short: Shortfall, n_rows: int, negatives: Negatives, *, keys: Keys, pool: Partition) -> None:
    """Refuses rows of which not one has a negative: the policy that they train is the one it started from.

    Raises:
        dg.Failure: there are train rows, and all are empty.
    """
    if not n_rows or short.empty_rows < n_rows:
        return
    behind = f" that rank {negatives.min_rank} or lower" if negatives.min_rank > 1 else ""
    raise dg.Failure(
        f"preference_rows of {partition_text(keys)} must hold negatives, got none for any of {n_rows:,} rows: the pool "
        f"of {partition_text(pool)} holds no {negatives.miner} negatives{behind}. Is the catalogue smaller than that? "
        f"Change negatives in {source_of(keys.experiment)}, or the pool.",
        allow_retries=False,
    )
