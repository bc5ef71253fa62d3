"""Candidate sets, for evaluation only: the target among items the user never touched."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from assets.configuration import load_dataset
from assets.partitions import DATASETS
from assets.ports import Lake
from assets.publication import Check, Content, Inputs, check, check_specs, publish
from assets.transforms.candidates import draw_candidates
from assets.transforms.guarantees import candidates_are_untouched, one_target_per_candidate_set
from evaluation.leakage import candidate_leakage


@dg.asset(
    deps=["histories", "interactions", "items"],
    partitions_def=DATASETS,
    group_name="core",
    kinds={"polars", "parquet"},
    owners=["team:evaluation"],
    code_version="1",
    check_specs=check_specs("candidate_sets", "one_target", "others_never_touched", "answer_is_not_given_away"),
)
def candidate_sets(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[Any]]:
    """For each validation and test row its target and items the user never touched, drawn for the row, shuffled."""
    dataset = context.partition_key
    config = load_dataset(dataset)

    def draw(inputs: Inputs, staged: Mapping[str, Path]) -> dict[str, Content]:
        rows, interactions = inputs["histories"].table(), inputs["interactions"].table()
        n_items = inputs["items"].table(["item_id"]).height
        table = draw_candidates(rows, interactions, n_items, config.candidates, config.seed)
        leakage = candidate_leakage(table, rows, n_items=n_items)
        return {
            "candidate_sets": Content(
                table,
                {"length": config.candidates.n},
                [
                    check("one_target", one_target_per_candidate_set(rows, table)),
                    check("others_never_touched", candidates_are_untouched(rows, table, interactions)),
                    Check("answer_is_not_given_away", leakage.passed, leakage.detail),
                ],
            )
        }

    yield from publish(
        context,
        lake,
        draw,
        partition=(dataset,),
        inputs=[("histories", (dataset,)), ("interactions", (dataset,)), ("items", (dataset,))],
        config={"n": config.candidates.n, "seed": config.seed},
    )
