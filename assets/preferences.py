"""Preference rows: the chosen item of each training row, and the negatives an experiment takes from the shared pool."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import dagster as dg

from assets.configuration import load_start
from assets.partitions import BY_EXPERIMENT, keys_of, of_start
from assets.policies import load_preference
from assets.ports import Lake, partition_text
from assets.publication import Content, Inputs, check, check_specs, publish
from assets.rounds import start_of
from assets.transforms.guarantees import no_train_item_among_negatives
from assets.transforms.preferences import choose_negatives, negatives_missing


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
    seed, pool = load_start(experiment).seed, start_of(keys, experiment).pool

    def choose(inputs: Inputs, staged: Mapping[str, Path]) -> dict[str, Content]:
        rows = inputs["histories"].table(["row_id", "user_id", "split", "target"])
        table = choose_negatives(rows, inputs["mined_negatives"].table(), experiment.negatives, seed)
        found = no_train_item_among_negatives(
            table, rows, inputs["interactions"].table(["user_id", "item_id", "split"])
        )
        metadata = {
            **asdict(negatives_missing(table, experiment.negatives.n)),
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
