"""Normalise and validate the predictions of external models.

Nothing that such a table claims is trusted: ranks are computed again from the lists, and lists must be of these rows,
of this catalogue, and without the items of the row's history. Dimension key: r rows.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from contracts.words import FULL
from evaluation.metrics.foreign.columns import given_column, scores_type
from evaluation.metrics.ranking import PREDICTIONS_SCHEMA, InvalidPredictions, check_predictions, refuse

LISTED = 10
"""Items that a full-catalogue list should have: as many as the compared metrics look at."""


@dataclass(frozen=True)
class ForeignPredictions:
    """A predictions table that can be measured."""

    table: pl.DataFrame
    notes: tuple[str, ...]
    """Sentences about everything that was computed again or assumed."""


def foreign_predictions(
    table: pl.DataFrame,
    held_out: pl.DataFrame,
    candidate_sets: pl.DataFrame,
    *,
    split: str,
    n_items: int,
    keeps_repeats: bool = False,
) -> ForeignPredictions:
    """Judges a foreign table on the rows of one split; rows of the other split are passed over.

    The rank of a target is its place in the list, after its equals where there are scores. Where the list does not
    hold it, a given target_rank counts; without one it is the last of its protocol, so that mrr is a lower bound.

    Args:
        table: row_id, protocol, items (best first); scores, target_rank, user_id, target where the model has them.
        held_out: row_id, user_id, split, history, target of every validation and test row.
        candidate_sets: row_id, candidates.
        split: validation or test.
        n_items: size of the catalogue.
        keeps_repeats: whether full lists rank the items of the row's history too. A list that held only those that are
            the target would say by their presence which item that is.

    Raises:
        InvalidPredictions: with the defect's name, how many rows have it and the first of them.
    """
    rows = held_out.filter(pl.col("split") == split)
    if rows.is_empty():
        raise InvalidPredictions("missing_row", f"the data set has no {split} rows to evaluate. Name the other split.")
    table = _typed(table)
    _refuse_other_dataset(table, held_out)
    table = table.join(rows.select("row_id"), on="row_id", how="semi", maintain_order="left")
    if table.is_empty():
        raise InvalidPredictions("missing_row", f"predictions must hold the {rows.height} {split} rows, got none.")
    given = table["target_rank"] if "target_rank" in table.columns else pl.Series([None] * table.height, dtype=pl.Int32)
    scores = pl.col("scores") if "scores" in table.columns else _by_place()
    exact = table.with_columns(scores.alias("scores"), pl.lit(1, dtype=pl.Int32).alias("target_rank"))
    exact = exact.select(PREDICTIONS_SCHEMA.names())
    _refuse_unordered(exact)
    # The lists first, with a rank that is right of any: what is computed from them below needs them sound.
    check_predictions(exact.with_columns(_stored("scores")), rows.select("row_id"), n_items=n_items)
    placed = exact.with_columns(given.alias("given")).join(rows, on="row_id", how="left", maintain_order="left")
    placed = placed.join(candidate_sets, on="row_id", how="left", maintain_order="left")
    if not keeps_repeats:
        _refuse_seen_items(placed)
    _refuse_other_candidates(placed)
    ranked = _ranked(placed, n_items, keeps_repeats=keeps_repeats)
    _refuse_impossible_ranks(ranked)
    ranked = ranked.with_columns(_stored("scores"))  # only now: float32 would have tied what the model told apart
    found = ranked.select(PREDICTIONS_SCHEMA.names()).cast(PREDICTIONS_SCHEMA)  # pyright: ignore[reportArgumentType]: a schema is a mapping of names
    check_predictions(found, rows, n_items=n_items)
    return ForeignPredictions(found, tuple(_notes(ranked)))


def _typed(table: pl.DataFrame) -> pl.DataFrame:
    wanted = {**PREDICTIONS_SCHEMA, "user_id": pl.Int32(), "target": pl.Int32(), "scores": scores_type(table)}
    for column in ("row_id", "protocol", "items"):
        if column not in table.columns:
            raise InvalidPredictions(
                "columns", f"predictions must have the column {column}, got {', '.join(table.columns) or 'none'}."
            )
    if table.is_empty():
        raise InvalidPredictions("missing_row", "predictions must hold rows, got none.")
    typed: list[pl.Series] = []
    for name, dtype in wanted.items():
        if name in table.columns:
            typed.append(given_column(table[name], dtype))
            if name in ("target_rank", "user_id", "target", "row_id", "protocol") and typed[-1].null_count():
                raise InvalidPredictions(
                    "columns",
                    f"predictions column {name} must hold no nulls, got {typed[-1].null_count()} rows. Leave an "
                    "optional column out.",
                )
    return pl.DataFrame(typed)


def _refuse_unordered(table: pl.DataFrame) -> None:
    """As `check_predictions` does, in the type that the scores have in the file."""
    scores = pl.col("scores")
    finite = scores.list.eval(pl.element().is_finite()).list.all()
    refuse(table, ~finite, "scores", "scores must be finite numbers")
    rising = scores.list.eval(pl.element() > pl.element().shift(1)).list.any()
    refuse(table, rising, "scores", "a list must be best first")


def _stored(column: str) -> pl.Expr:
    """Scores as the predictions table holds them; what float32 cannot hold is its largest number, not infinity."""
    largest = float(np.finfo(np.float32).max)
    return pl.col(column).list.eval(pl.element().cast(pl.Float64).clip(-largest, largest).cast(pl.Float32))


def _refuse_other_dataset(table: pl.DataFrame, held_out: pl.DataFrame) -> None:
    strange = table.join(held_out, on="row_id", how="anti")
    refuse(strange, pl.lit(True), "unknown_row", "row_id must be of a validation or test row of this data set")
    for column in ("user_id", "target"):
        if column in table.columns:
            joined = table.join(held_out.select("row_id", pl.col(column).alias("own")), on="row_id", how="inner")
            rule = f"{column} must be that of the row in histories; these rows are of another data set"
            refuse(joined, pl.col(column) != pl.col("own"), "other_dataset", rule)


def _by_place() -> pl.Expr:
    places = pl.int_ranges(0, pl.col("items").list.len(), dtype=pl.Int32)
    return places.list.eval(-pl.element().cast(pl.Float32))


def _refuse_seen_items(placed: pl.DataFrame) -> None:
    seen = pl.col("items").list.set_intersection(pl.col("history"))
    is_broken = (pl.col("protocol") == FULL) & seen.list.len().gt(0)
    refuse(placed, is_broken, "history_item", "a list of the full catalogue must hold no item of the row's history")


def _refuse_other_candidates(placed: pl.DataFrame) -> None:
    of_candidates = placed.filter(pl.col("protocol") != FULL)
    size = pl.format("of_{}", pl.col("candidates").list.len())
    rule = "the protocol must be named after the size of the row's candidate set"
    refuse(of_candidates, (pl.col("protocol") != size).fill_null(True), "protocol", rule)
    strangers = pl.col("items").list.set_difference(pl.col("candidates")).list.len() > 0
    refuse(of_candidates, strangers, "no_candidate", "a list must hold items of the row's candidate set alone")


def _ranked(placed: pl.DataFrame, n_items: int, *, keeps_repeats: bool) -> pl.DataFrame:
    """Lists with the target after its equals, its rank, and whether that is from the list."""
    cells = placed.with_row_index("place").select("place", "target", "items", "scores").explode("items", "scores")
    cells = cells.with_columns(is_target=pl.col("items") == pl.col("target"))
    cells = cells.sort("place", "scores", "is_target", descending=[False, True, False], maintain_order=True)
    lists = cells.group_by("place", maintain_order=True).agg(
        "items",
        "scores",
        (pl.col("is_target").arg_max() + 1).alias("in_list"),
        pl.col("is_target").any().alias("is_listed"),
    )
    history = pl.col("history").list.n_unique().cast(pl.Int64)
    of_full = pl.lit(n_items, dtype=pl.Int64) if keeps_repeats else n_items - history
    longest = pl.when(pl.col("protocol") == FULL).then(of_full).otherwise(pl.col("candidates").list.len())
    joined = pl.concat([placed.drop("items", "scores"), lists], how="horizontal").with_columns(
        longest.cast(pl.Int64).alias("longest")
    )
    outside = pl.coalesce("given", "longest")
    rank = pl.when(pl.col("is_listed")).then(pl.col("in_list")).otherwise(outside)
    return joined.with_columns(rank.cast(pl.Int64).alias("target_rank"))


def _refuse_impossible_ranks(ranked: pl.DataFrame) -> None:
    rank = pl.col("target_rank")
    is_broken = ~pl.col("is_listed") & ((rank <= pl.col("items").list.len()) | (rank > pl.col("longest")))
    rule = "target_rank of a target that is not listed must be behind the list and within the protocol"
    refuse(ranked, is_broken, "target_rank", rule)


def _notes(ranked: pl.DataFrame) -> list[str]:
    differs = ranked.filter(pl.col("is_listed") & (pl.col("given") != pl.col("target_rank"))).height
    unknown = ~pl.col("is_listed") & pl.col("given").is_null()
    missed = ranked.filter(unknown).height
    length = pl.col("items").list.len()
    # Full lists that end early because nothing else is left are as long as they can be.
    short = ranked.filter(unknown & (pl.col("protocol") == FULL) & (length < pl.min_horizontal(LISTED, "longest")))
    notes: list[str] = []
    if differs:
        notes.append(f"target_rank of {differs:,} rows was not the target's place in its list; the place counts")
    if missed:
        notes.append(f"{missed:,} lists do not hold their target and have no target_rank: it counts as ranked last")
    if short.height:
        notes.append(
            f"{short.height:,} of these full lists have fewer than {LISTED} items: what they leave out is lost"
        )
    return notes
