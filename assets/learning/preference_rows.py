"""Preference rows: the chosen item of each training row, and the negatives an experiment takes from the shared pool."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import dagster as dg

from assets.lake.checks import check, check_specs
from assets.lake.partitions import BY_EXPERIMENT, Keys, keys_of, of_start
from assets.lake.publish import Content, Inputs, publish
from assets.lake.versions import Lake, Partition, partition_text
from assets.learning.policies import load_preference
from assets.learning.start import Start, start_of
from assets.transforms.guarantees.finding import no_train_item_among_negatives
from assets.transforms.preferences import Shortfall, choose_negatives, negatives_missing
from contracts.config import Negatives
from contracts.files.load import load_start, source_of


@dg.asset(
    deps=[of_start("mined_negatives"), "histories", "interactions"],
    partitions_def=BY_EXPERIMENT,
    group_name="negatives",
    kinds={"polars", "parquet"},
    owners=["team:training"],
    code_version="1",
    check_specs=check_specs("preference_rows", "no_train_item_among_the_rejected"),
)
def preference_rows(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[Any]]:
    """One chosen item against n rejected ones for each training row.

    The negatives of n = 1 are among those of n = 15, and no choice depends on the objective: two experiments with the
    same `negatives` read the same rows. A later round takes them from the pool that the policy before it mined.
    """
    keys = keys_of(context)
    experiment = load_preference("preference_rows", keys)
    start = start_of(keys, experiment)
    seed, pool = load_start(experiment).seed, start.pool
    refuse_pool_of_another_policy(lake, start, keys)

    def choose(inputs: Inputs, staged: Mapping[str, Path]) -> dict[str, Content]:
        rows = inputs["histories"].table(["row_id", "user_id", "split", "target"])
        table = choose_negatives(rows, inputs["mined_negatives"].table(), experiment.negatives, seed)
        found = no_train_item_among_negatives(
            table, rows, inputs["interactions"].table(["user_id", "item_id", "split"])
        )
        short = negatives_missing(table, experiment.negatives.n)
        refuse_empty(short, table.height, experiment.negatives, keys=keys, pool=pool)
        if short.missing:
            context.log.warning(
                f"preference_rows of {partition_text(keys)}: {short.short_rows:,} of {table.height:,} rows have fewer "
                f"than {experiment.negatives.n} negatives, {short.empty_rows:,} none: the pool of "
                f"{partition_text(pool)} has no more for them"
            )
        metadata = {
            **asdict(short),
            "start_from": dg.MetadataValue.md(f"`mined_negatives` of `{partition_text(pool)}`"),
        }
        return {"preference_rows": Content(table, metadata, [check("no_train_item_among_the_rejected", found)])}

    yield from publish(
        context,
        lake,
        choose,
        partition=keys,
        inputs=[
            ("mined_negatives", pool),
            ("histories", (keys.dataset,)),
            ("interactions", (keys.dataset,)),
        ],
        config={"negatives": experiment.negatives.model_dump(mode="json", exclude={"rounds"}), "seed": seed},
        shared=True,
    )


def refuse_pool_of_another_policy(lake: Lake, start: Start, keys: Keys) -> None:
    """Refuses negatives that were mined by an earlier version of the policy that the experiment starts from.

    Raises:
        dg.Failure: naming both.
    """
    policy, pool = lake.require(*start.policy_input), lake.require("mined_negatives", start.pool)
    miners = [entry["data_version"] for entry in pool.manifest["inputs"] if entry["asset"] == start.asset]
    if miners != [policy.data_version]:
        raise dg.Failure(
            f"preference_rows of {partition_text(keys)} must be of negatives that were mined by the policy it starts "
            f"from, got a pool of an earlier {start.asset} of {partition_text(start.policy)}. Launch the job `mine` "
            f"for {partition_text(start.pool)}, or run: borderline run --dataset {keys.dataset} --experiments "
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
