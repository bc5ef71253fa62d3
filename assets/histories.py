"""Rows to learn from and to be judged on: what a user touched before, and what came next."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from assets.configuration import load_dataset
from assets.partitions import DATASETS
from assets.ports import Lake
from assets.publication import Content, Inputs, check, check_specs, leak_check, number, publish
from assets.transforms.guarantees import histories_precede_targets, training_touches_no_held_out_item
from assets.transforms.histories import build_histories
from evaluation.leakage import future_leakage, overlap_leakage


@dg.asset(
    deps=["interactions", "splits"],
    partitions_def=DATASETS,
    group_name="core",
    kinds={"polars", "parquet"},
    owners=["team:data"],
    code_version="2",
    check_specs=check_specs(
        "histories",
        "nothing_at_or_after_the_target",
        "no_held_out_item_in_train",
        "nothing_from_the_future",
        "train_holds_no_answers",
    ),
)
def histories(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[Any]]:
    """For each row, the user's items strictly before the target, oldest first, and the target."""
    dataset = context.partition_key
    config = load_dataset(dataset)

    def build(inputs: Inputs, staged: Mapping[str, Path]) -> dict[str, Content]:
        interactions = inputs["interactions"].table()
        table = build_histories(interactions, config.histories)
        lengths = table["history"].list.len()
        rows = {f"rows_{split}": count for split, count in table.group_by("split").len().sort("split").iter_rows()}
        return {
            "histories": Content(
                table,
                {
                    **rows,
                    "history_length_median": number(lengths.median()),
                    "history_length_max": number(lengths.max()),
                },
                [
                    check("nothing_at_or_after_the_target", histories_precede_targets(table, interactions)),
                    check("no_held_out_item_in_train", training_touches_no_held_out_item(table, interactions)),
                    leak_check(
                        "nothing_from_the_future",
                        future_leakage(table, interactions, at_one_time=config.split.kind == "global_time"),
                    ),
                    leak_check("train_holds_no_answers", overlap_leakage(table)),
                ],
            )
        }

    yield from publish(
        context,
        lake,
        build,
        partition=(dataset,),
        inputs=[("interactions", (dataset,)), ("splits", (dataset,))],
        config=config.histories.model_dump(mode="json"),
    )
