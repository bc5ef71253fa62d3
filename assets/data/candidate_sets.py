"""Candidate sets, for evaluation only: the target among items the user never touched, or does not take next."""

from collections.abc import Iterator
from dataclasses import replace

import dagster as dg
import polars as pl

from assets.data.repeats import KEEPS_REPEATS, judged_config, keeps_repeats
from assets.lake.asset import Step, asset
from assets.lake.checks import check, leak_check
from assets.lake.parquet import write_table
from assets.lake.partitions import DATASETS
from assets.lake.publish import Content
from assets.lake.reads import same_dataset
from assets.lake.versions import Version
from assets.transforms.candidates import candidate_parts
from assets.transforms.chunks import from_parts
from assets.transforms.guarantees.candidates import (
    candidates_are_not_taken_next,
    candidates_are_untouched,
    candidates_were_available,
    one_target_per_candidate_set,
)
from assets.transforms.paper_rows import published_candidates
from contracts.config.dataset import DatasetConfig
from evaluation.leakage import candidate_leakage, repeat_leakage, shortcut_report
from evaluation.schemas import schema_of


@asset(
    by=DATASETS,
    reads=[
        same_dataset("histories"),
        same_dataset("interactions"),
        same_dataset("items"),
        same_dataset("paper_rows", when=lambda of: of.candidates.draw == "published"),
        same_dataset("users", when=lambda of: of.candidates.draw == "published"),
    ],
    config=lambda of: {**of.candidates.model_dump(mode="json"), "seed": of.seed, **judged_config(of)},
    group="core",
    kinds={"polars", "parquet"},
    owner="evaluation",
    checks=["one_target", "others_are_no_answers", "answer_is_not_given_away", "no_order_leads_to_the_target"],
)
def candidate_sets(
    step: Step,
    of: DatasetConfig,
    histories: Version,
    interactions: Version,
    items: Version,
    paper_rows: Version | None,
    users: Version | None,
) -> Content:
    """For each validation and test row its target and items the user never touched, drawn for the row, shuffled.

    Where the data set keeps repeats, up to half of a set are items of the row's history, the target counted.
    """
    rows, log, repeats = histories.scan(), interactions.scan(), keeps_repeats(histories)
    n_items = items.table(["item_id"]).height

    def parts() -> Iterator[pl.DataFrame]:
        if of.candidates.draw == "published":
            assert paper_rows is not None  # both are read wherever lists of papers are taken
            assert users is not None
            catalogue = items.table(["item_id", "item"])
            tables = paper_rows.table(), histories.table(), users.table(), catalogue
            return iter([published_candidates(*tables, of.candidates.n)])
        return candidate_parts(rows, log, n_items, of.candidates, of.seed, keeps_repeats=repeats)

    path = step.folder / "candidate_sets.parquet"
    table = write_table(from_parts(parts, schema_of("candidate_sets")), path)
    are_negatives = candidates_are_not_taken_next if repeats else candidates_are_untouched
    others = [are_negatives(rows, table, log)]
    if of.candidates.draw == "available":
        others.append(candidates_were_available(rows, table, log))
    shortcuts = shortcut_report(rows, table, log, n_items=n_items, keeps_repeats=repeats)
    return Content(
        path,
        {
            "length": of.candidates.n,
            "draw": of.candidates.draw,
            KEEPS_REPEATS: repeats,
            "repeated_targets": dg.MetadataValue.json(dict(repeat_leakage(rows).numbers)),
            "shortcuts": dg.MetadataValue.json(shortcuts.as_json()),
            "rules_without_a_model": dg.MetadataValue.md(shortcuts.as_markdown()),
        },
        [
            check("one_target", one_target_per_candidate_set(rows, table)),
            # Of lists that papers published this is said and not refused: they are what their results rest on.
            replace(check("others_are_no_answers", *others), blocks=of.candidates.draw != "published"),
            leak_check(
                "answer_is_not_given_away", candidate_leakage(table, rows, n_items=n_items, keeps_repeats=repeats)
            ),
            leak_check("no_order_leads_to_the_target", shortcuts),
        ],
    )
