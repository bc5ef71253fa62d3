"""A benchmark's own rows, with dense ids: its split, its histories and its candidate lists as they were published.

Nothing is cleaned: a row more or less would be another benchmark. What is wrong with the rows is for the leak probes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from assets.transforms.chunks import Table
from assets.transforms.cleaning.dense_ids import dense_ids
from assets.transforms.histories import history_parts
from contracts.config.dataset import Histories, PublishedSplit
from contracts.words import HELD_OUT, SPLITS

SPLIT = pl.Enum(SPLITS)


@dataclass(frozen=True)
class Published:
    """A benchmark with dense ids."""

    interactions: pl.DataFrame
    """user_id, item_id, at, weight, split; by user, then in the order of the positions."""
    users: pl.DataFrame
    items: pl.DataFrame
    """The whole catalogue, also what nobody touched: published lists may hold it."""


def as_published(raw_interactions: pl.DataFrame, raw_items: pl.DataFrame, paper_rows: pl.DataFrame) -> Published:
    """Every interaction and every item of the publisher, with dense ids, each interaction in its split.

    An interaction belongs to the first split (train, validation, test) that shows it, in a history or as a target: what
    train shows was never held out.

    Raises:
        ValueError: an interaction that no published row shows.
    """
    shown = _first_split(paper_rows)
    log = raw_interactions.join(shown, on=["user", "position"], how="left", maintain_order="left")
    if log["split"].null_count():
        lost = log.filter(pl.col("split").is_null()).row(0, named=True)
        raise ValueError(
            f"Every interaction of a published split must be shown by one of its rows, got user {lost['user']!r}, "
            f"position {lost['position']} without ({lost['file']}, line {lost['line']}). Read the rows again."
        )
    users, items = dense_ids(log["user"], "user"), dense_ids(raw_items["item"], "item")
    interactions = (
        log.join(users, on="user", how="left", maintain_order="left")
        .join(items, on="item", how="left", maintain_order="left")
        .sort("user_id", "position")
        .select("user_id", "item_id", "at", "weight", "split")
    )
    return Published(interactions, users, items.join(raw_items, on="item", how="left", maintain_order="left"))


def published_history_parts(
    paper_rows: pl.DataFrame,
    interactions: Table,
    users: pl.DataFrame,
    items: pl.DataFrame,
    split: PublishedSplit,
    histories: Histories,
) -> Iterator[pl.DataFrame]:
    """The table `histories` in parts: validation and test rows are the publisher's, cut to the last `max_length` items.

    Train rows are the publisher's too, or those of the train interactions, as `split.train` says.
    """
    rows = _with_ids(paper_rows, users, items).select(
        "user_id", pl.col("split").cast(pl.String), pl.col("history").list.tail(histories.max_length), "target"
    )
    n_rows = 0
    if split.train == "windows":
        rows = rows.filter(pl.col("split") != "train")
        for part in history_parts(interactions.lazy().filter(pl.col("split") == "train"), histories, split):
            yield part
            n_rows += part.height
    row_ids = pl.int_range(n_rows, n_rows + rows.height, dtype=pl.Int32, eager=True)
    yield rows.insert_column(0, row_ids.alias("row_id"))


def published_candidates(
    paper_rows: pl.DataFrame, histories: pl.DataFrame, users: pl.DataFrame, items: pl.DataFrame, n: int
) -> pl.DataFrame:
    """The table `candidate_sets` with the publisher's lists, in the publisher's order.

    Raises:
        ValueError: a row has no list, or one that does not hold `n` items.
    """
    rows = _with_ids(paper_rows.filter(pl.col("split").is_in(HELD_OUT)), users, items)
    wrong = rows.filter(pl.col("candidates").list.len().fill_null(0) != n)
    if wrong.height:
        first = wrong.row(0, named=True)
        length = 0 if first["candidates"] is None else len(first["candidates"])
        raise ValueError(
            f"candidates.n must be the length of every published list, got {n} for one of {length} items "
            f"({first['file']}, line {first['line']}; {wrong.height:,} rows). Write candidates: "
            + (f"{{draw: published, n: {length}}}." if length else "{draw: uniform}; the publisher has no lists.")
        )
    held_out = histories.filter(pl.col("split") != "train")
    assert held_out["target"].equals(rows["target"])  # both are in the order of `_with_ids`
    return pl.DataFrame({"row_id": held_out["row_id"], "candidates": rows["candidates"]})


def published_lists(paper_rows: pl.DataFrame, users: pl.DataFrame, items: pl.DataFrame, n: int) -> pl.DataFrame:
    """row_id, split, target, candidates of every published list of `n` items with its target, those of train rows too.

    All are called validation, so that a probe which learns from some lists and judges others never learns from both.
    """
    rows = _with_ids(paper_rows, users, items).select("target", "candidates")
    lists = pl.col("candidates").list
    whole = rows.filter((lists.len() == n) & (lists.n_unique() == n) & lists.contains(pl.col("target")))
    return whole.with_row_index("row_id").with_columns(pl.col("row_id").cast(pl.Int32), split=pl.lit("validation"))


def _first_split(paper_rows: pl.DataFrame) -> pl.DataFrame:
    """user, position, split: the first split that shows that position of the user's sequence."""
    places = paper_rows.select(
        "user",
        pl.col("split").cast(SPLIT),
        position=pl.int_ranges(pl.col("position") - pl.col("history").list.len(), pl.col("position") + 1),
    ).explode("position")
    first = places.group_by("user", "position").agg(pl.col("split").min())
    return first.with_columns(pl.col("split").cast(pl.String), pl.col("position").cast(pl.Int64))


def _with_ids(paper_rows: pl.DataFrame, users: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """The rows with dense ids, by split, then user, then position."""
    codes = items.select("item", "item_id")
    row = pl.int_range(paper_rows.height, dtype=pl.Int64, eager=True).alias("row")

    def ids(column: str) -> pl.Series:
        """The lists of a column as lists of ids; missing lists stay missing."""
        flat = paper_rows.select(row, pl.col(column).alias("item")).drop_nulls("item").explode("item")
        coded = flat.join(codes, on="item", how="left", maintain_order="left")
        lists = coded.group_by("row", maintain_order=True).agg("item_id")
        return row.to_frame().join(lists, on="row", how="left", maintain_order="left")["item_id"]

    with_users = paper_rows.join(users, on="user", how="left", maintain_order="left")
    targets = paper_rows.select(item="target").join(codes, on="item", how="left", maintain_order="left")
    return with_users.with_columns(
        pl.col("split").cast(SPLIT),
        ids("history").alias("history"),
        ids("candidates").alias("candidates"),
        targets["item_id"].alias("target"),
    ).sort("split", "user_id", "position")
