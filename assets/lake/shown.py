"""What the Dagster UI shows of a table: first rows, columns, what each column is made of, and names of numbers."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
import polars as pl

from contracts.tables import TABLES
from evaluation.reports.document import Table, as_markdown

PREVIEW_ROWS = 5


def preview(table: pl.DataFrame, rows: int = PREVIEW_ROWS) -> str:
    """The first rows as a Markdown table; long lists are cut."""

    def cell(value: Any) -> str:
        text = (
            f"[{', '.join(map(str, value[:8]))}{', …' if len(value) > 8 else ''}]"
            if isinstance(value, list)
            else str(value)
        )
        return text.replace("\n", " ")[:120]

    head = table.head(rows)
    return as_markdown([Table(head.columns, [list(map(cell, row)) for row in head.rows()])])


_RULES = {
    "popularity": "the most popular candidate",
    "slot": "the position that most targets have",
    "item_slot": "the position at which each item is a target",
    "shared_list": "the most similar other list",
    "rarely_listed": "the candidate that is rarely listed beside a target",
}
NAMES_OF_NUMBERS = {
    **{f"blind_{rule}": f"targets found by {text}, without a history" for rule, text in _RULES.items()},
    **{f"blind_{rule}_by_rights": f"targets found by {text}, if lists tell nothing" for rule, text in _RULES.items()},
    "slot_repeat": "lists with one target that show it at one position",
    "slot_repeat_chance": "lists with one target that show it at one position, by chance",
    "slot_repeat_threshold": "lists with one target that show it at one position, at most",
    "negative_overlap": "negatives that lists with one target share",
    "negative_overlap_chance": "negatives that lists with one target share, by chance",
    "negative_overlap_threshold": "negatives that lists with one target share, at most",
    "pairs_with_one_target": "pairs of lists with one target",
    "share_read": "share of the lists that was read",
    "users_read": "share of the users that was read",
    "items_read": "share of the items that was read",
    "train_users_read": "share of the train users that was read",
    "neighbours": "pairs of neighbouring interactions",
    "ids_rise": "item ids that rise to the next",
    "ids_rise_chance": "item ids that rise to the next, by chance",
    "both_orders": "pairs of items that users have in both orders",
    "both_orders_chance": "pairs of items that users have in both orders, by chance",
    "late_rows": "rows that show what came at or after their target",
    "foreign_rows": "rows with an item that their user never touched",
}
"""What the numbers of checks are called where people read them; manifests keep the short names, which code reads."""


def in_plain_words(detail: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of a check under names that a reader understands.

    >>> in_plain_words({"late_rows": 0, "message": "fine"})
    {'rows that show what came at or after their target': 0, 'message': 'fine'}
    """
    return {NAMES_OF_NUMBERS.get(name, name): value for name, value in detail.items()}


def column_schema(asset: str) -> dg.TableSchema:
    """The columns of a table as the Dagster UI shows them."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                type=column.type,
                description=column.description,
                constraints=dg.TableColumnConstraints(nullable=column.nullable, other=column.rules()),
            )
            for column in TABLES[asset].columns
        ]
    )


def column_lineage(asset: str) -> dg.TableColumnLineage:
    """What each column is made of, as the Dagster UI shows it."""
    return dg.TableColumnLineage(
        {
            column: [dg.TableColumnDep(*source.split(".")) for source in sources]
            for column, sources in LINEAGE[asset].items()
        }
    )


LINEAGE: dict[str, dict[str, tuple[str, ...]]] = {
    "interactions": {
        "user_id": ("raw_interactions.user",),
        "item_id": ("raw_interactions.item",),
        "at": ("raw_interactions.at",),
        "weight": ("raw_interactions.weight",),
        "split": (
            "raw_interactions.user",
            "raw_interactions.at",
            "raw_interactions.position",
            "paper_rows.split",
        ),
    },
    "users": {
        "user_id": ("raw_interactions.user",),
        "user": ("raw_interactions.user",),
    },
    "items": {
        "item_id": ("raw_interactions.item",),
        "item": ("raw_interactions.item",),
        "title": ("raw_items.title",),
        "category": ("raw_items.category",),
        "text": ("raw_items.text",),
    },
    "splits": {
        "split": ("interactions.split",),
        "interactions": ("interactions.split",),
        "users": ("interactions.split", "interactions.user_id"),
        "items": ("interactions.split", "interactions.item_id"),
        "first_at": ("interactions.split", "interactions.at"),
        "last_at": ("interactions.split", "interactions.at"),
    },
    "histories": {
        "row_id": ("interactions.user_id", "interactions.split"),
        "user_id": ("interactions.user_id",),
        "split": ("interactions.split", "paper_rows.split"),
        "history": ("interactions.item_id", "paper_rows.history"),
        "target": ("interactions.item_id", "paper_rows.target"),
    },
    "candidate_sets": {
        "row_id": ("histories.row_id",),
        "candidates": ("histories.target", "interactions.item_id", "items.item_id", "paper_rows.candidates"),
    },
    "mined_negatives": {
        "row_id": ("histories.row_id",),
        "item_id": ("items.item_id", "interactions.item_id"),
        "logp": ("histories.history", "items.item_id"),
        "rank": ("histories.history", "interactions.item_id", "items.item_id"),
        "margin": ("histories.history", "histories.target", "items.item_id"),
        "on_boundary": ("histories.history", "histories.target", "items.item_id"),
        "miner": (),
        "place": ("histories.history", "interactions.item_id", "items.item_id"),
        "round": (),
        "policy": (),
    },
    "preference_rows": {
        "row_id": ("histories.row_id",),
        "chosen": ("histories.target",),
        "rejected": tuple(
            f"mined_negatives.{column}" for column in ("item_id", "miner", "rank", "place", "on_boundary")
        ),
    },
    "reference_logps": {
        "row_id": ("preference_rows.row_id",),
        "item_id": ("preference_rows.chosen", "preference_rows.rejected"),
        "logp": ("histories.history", "preference_rows.chosen", "preference_rows.rejected"),
        "tokens": ("preference_rows.chosen", "preference_rows.rejected"),
    },
    "predictions": {
        "row_id": ("histories.row_id",),
        "protocol": (),
        "items": ("histories.history", "candidate_sets.candidates", "items.item_id"),
        "scores": ("histories.history", "candidate_sets.candidates", "items.item_id"),
        "target_rank": ("histories.history", "histories.target", "candidate_sets.candidates", "items.item_id"),
    },
    "metrics": {
        "row_id": ("predictions.row_id",),
        "user_id": ("histories.user_id",),
        "split": ("histories.split",),
        "protocol": ("predictions.protocol",),
        "metric": ("predictions.protocol",),
        "value": ("predictions.items", "predictions.target_rank", "histories.target"),
    },
}
"""table → column → `table.column` of each column it is made of; none for a constant. What a log
and a benchmark are made of stands together. Raw tables are made of files."""
