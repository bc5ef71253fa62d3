"""Candidate sets, for evaluation only: the target among items the user never touched."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from contracts.files.load import load_dataset
from assets.lake.partitions import DATASETS
from assets.lake.versions import Lake
from assets.lake.publish import Content, Inputs, publish
from assets.lake.parquet import write_table
from assets.lake.checks import check, check_specs, leak_check
from assets.lake.validate import SCHEMAS
from assets.transforms.guarantees.candidates import (
    candidates_are_untouched,
    candidates_were_available,
    one_target_per_candidate_set,
)
from assets.transforms.candidates import candidate_parts
from assets.transforms.chunks import from_parts
from assets.transforms.paper_rows import published_candidates
from evaluation.leakage import candidate_leakage, shortcut_report


@dg.asset(
    deps=["histories", "interactions", "items", "paper_rows", "users"],
    partitions_def=DATASETS,
    group_name="core",
    kinds={"polars", "parquet"},
    owners=["team:evaluation"],
    code_version="4",
    check_specs=check_specs(
        "candidate_sets",
        "one_target",
        "others_never_touched",
        "answer_is_not_given_away",
        "no_order_leads_to_the_target",
    ),
)
def candidate_sets(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[Any]]:
    """For each validation and test row its target and items the user never touched, drawn for the row, shuffled."""
    dataset = context.partition_key
    config = load_dataset(dataset)
    is_published = config.candidates.draw == "published"
    published = ["paper_rows", "users"] if is_published else []

    def draw(inputs: Inputs, staged: Mapping[str, Path]) -> dict[str, Content]:
        rows, interactions = inputs["histories"].scan(), inputs["interactions"].scan()
        n_items = inputs["items"].table(["item_id"]).height

        def parts() -> Iterator[pl.DataFrame]:
            if is_published:
                paper_rows, users = (inputs[name].table() for name in published)
                items = inputs["items"].table(["item_id", "item"])
                n = config.candidates.n
                return iter([published_candidates(paper_rows, inputs["histories"].table(), users, items, n)])
            return candidate_parts(rows, interactions, n_items, config.candidates, config.seed)

        path = staged["candidate_sets"] / "candidate_sets.parquet"
        table = write_table(from_parts(parts, SCHEMAS["candidate_sets"].dtypes), path)
        others = [candidates_are_untouched(rows, table, interactions)]
        if config.candidates.draw == "available":
            others.append(candidates_were_available(rows, table, interactions))
        shortcuts = shortcut_report(rows, table, interactions, n_items=n_items)
        return {
            "candidate_sets": Content(
                path,
                {
                    "length": config.candidates.n,
                    "draw": config.candidates.draw,
                    "shortcuts": dg.MetadataValue.json(shortcuts.as_json()),
                    "rules_without_a_model": dg.MetadataValue.md(shortcuts.as_markdown()),
                },
                [
                    check("one_target", one_target_per_candidate_set(rows, table)),
                    # Of published lists this is said and not refused: they are what their papers report on.
                    replace(check("others_never_touched", *others), blocks=not is_published),
                    leak_check("answer_is_not_given_away", candidate_leakage(table, rows, n_items=n_items)),
                    leak_check("no_order_leads_to_the_target", shortcuts),
                ],
            )
        }

    yield from publish(
        context,
        lake,
        draw,
        partition=(dataset,),
        inputs=[(name, (dataset,)) for name in ("histories", "interactions", "items", *published)],
        config={**config.candidates.model_dump(mode="json"), "seed": config.seed},
    )
