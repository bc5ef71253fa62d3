"""Rows to learn from and to be judged on: what a user touched before, and what came next."""

from collections.abc import Iterator
from datetime import datetime

import polars as pl

from assets.data.repeats import KEEPS_REPEATS, TARGETS_ARE_NEW, judged_config
from assets.lake.asset import Step, asset
from assets.lake.checks import check, leak_check, warning
from assets.lake.parquet import write_table
from assets.lake.partitions import DATASETS
from assets.lake.publish import Content
from assets.lake.reads import same_dataset
from assets.lake.versions import Version
from assets.transforms.chunks import from_parts
from assets.transforms.guarantees.histories import histories_keep_their_guarantees
from assets.transforms.histories import history_parts
from assets.transforms.paper_rows import published_history_parts
from assets.transforms.repeats import has_repeats
from contracts.config.dataset import DatasetConfig, PublishedSplit
from evaluation.leakage import future_leakage, overlap_leakage, repeat_leakage
from evaluation.schemas import schema_of


@asset(
    by=DATASETS,
    reads=[
        same_dataset("interactions"),
        same_dataset("paper_rows", when=lambda of: isinstance(of.split, PublishedSplit)),
        same_dataset("users", when=lambda of: isinstance(of.split, PublishedSplit)),
        same_dataset("items", when=lambda of: isinstance(of.split, PublishedSplit)),
    ],
    config=lambda of: {
        **of.model_dump(mode="json", include={"histories": True, "split": {"kind", "train"}}),
        **judged_config(of),
    },
    group="core",
    kinds={"polars", "parquet"},
    owner="data",
    checks=[
        "nothing_at_or_after_the_target",
        "no_held_out_item_in_train",
        "nothing_from_the_future",
        "train_holds_no_answers",
        TARGETS_ARE_NEW,
    ],
)
def histories(
    step: Step,
    of: DatasetConfig,
    interactions: Version,
    paper_rows: Version | None,
    users: Version | None,
    items: Version | None,
) -> Content:
    """For each row, the user's items strictly before the target, oldest first, and the target."""
    log = interactions.scan()
    at_one_time = of.split.kind == "global_time"

    def parts() -> Iterator[pl.DataFrame]:
        if isinstance(of.split, PublishedSplit):
            assert paper_rows is not None  # all three are read for every split that papers published
            assert users is not None
            assert items is not None
            tables = paper_rows.table(), log, users.table(), items.table()
            return published_history_parts(*tables, of.split, of.histories)
        return history_parts(log, of.histories, of.split)

    path = step.folder / "histories.parquet"
    table = write_table(from_parts(parts, schema_of("histories")), path)
    precede, unseen, statistics = histories_keep_their_guarantees(
        table, log, train_until=_first_held_out(log) if at_one_time else None
    )
    return Content(
        path,
        {**statistics.as_metadata(), KEEPS_REPEATS: of.cleaning.repeats == "all" and has_repeats(log)},
        [
            check("nothing_at_or_after_the_target", precede),
            check("no_held_out_item_in_train", unseen),
            leak_check("nothing_from_the_future", future_leakage(table, log, at_one_time=at_one_time)),
            leak_check("train_holds_no_answers", overlap_leakage(table)),
            warning(TARGETS_ARE_NEW, repeat_leakage(table)),
        ],
    )


def _first_held_out(interactions: pl.LazyFrame) -> datetime:
    """When validation begins: the time of the first interaction that is not in train."""
    held_out = interactions.filter(pl.col("split") != "train")
    return held_out.select(pl.col("at").min()).collect(engine="streaming").item()
