"""Transforms that work in parts, as one table or one finding: for tests, whose tables are small."""

from datetime import datetime

import polars as pl

from assets.transforms.candidates import candidate_parts
from assets.transforms.chunks import Table
from assets.transforms.guarantees.finding import Finding
from assets.transforms.guarantees.histories import histories_keep_their_guarantees
from assets.transforms.histories import history_parts
from assets.transforms.splits import Order, split_parts
from contracts.config.dataset import Candidates, Histories, LeaveOneOut, Split


def assign_split(
    interactions: Table,
    split: Split,
    *,
    order: Order = "time",
    users: pl.DataFrame | None = None,
    items: pl.DataFrame | None = None,
    seed: int = 0,
) -> pl.DataFrame:
    """All parts of `split_parts`."""
    return pl.concat(split_parts(interactions, split, order=order, users=users, items=items, seed=seed))


def build_histories(interactions: Table, histories: Histories, split: Split | None = None) -> pl.DataFrame:
    """All parts of `history_parts`; without `split`, every held-out interaction is a target."""
    ids = {"row_id": pl.Int32, "user_id": pl.Int32}
    nothing = pl.DataFrame(schema={**ids, "split": pl.String, "history": pl.List(pl.Int32), "target": pl.Int32})
    return pl.concat([nothing, *history_parts(interactions, histories, split or LeaveOneOut())])


def draw_candidates(
    histories: Table, interactions: Table, n_items: int, candidates: Candidates, seed: int
) -> pl.DataFrame:
    """All parts of `candidate_parts`."""
    nothing = pl.DataFrame(schema={"row_id": pl.Int32, "candidates": pl.List(pl.Int32)})
    return pl.concat([nothing, *candidate_parts(histories, interactions, n_items, candidates, seed)])


def histories_precede_targets(histories: Table, interactions: Table) -> Finding:
    """The first finding of `histories_keep_their_guarantees`."""
    return histories_keep_their_guarantees(histories, interactions)[0]


def training_touches_no_held_out_item(
    histories: Table, interactions: Table, *, train_until: datetime | None = None
) -> Finding:
    """The second finding of `histories_keep_their_guarantees`."""
    return histories_keep_their_guarantees(histories, interactions, train_until=train_until)[1]
