"""What must hold of candidate sets, proven on the finished table by code that shares nothing with what drew them."""

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from assets.transforms.guarantees.finding import Finding
from assets.transforms.lists import flat

Table = pl.DataFrame | pl.LazyFrame
Ints = NDArray[np.int64]

_ROWS = 100_000  # looked at at a time: bounds memory at 100,000 sets
_NEVER = np.iinfo(np.int64).max


def one_target_per_candidate_set(histories: Table, candidate_sets: Table) -> Finding:
    """Every validation and test row has one candidate set, which holds its target once and no item twice."""
    rows = _judged_rows(histories)
    found: list[pl.DataFrame] = []
    for sets in _parts(candidate_sets):
        items, owners = flat(sets["candidates"])
        keys = np.sort((owners << 31) + items)
        repeating = np.unique(keys[1:][keys[1:] == keys[:-1]] >> 31)
        is_repeating = np.zeros(sets.height, dtype=bool)
        is_repeating[repeating] = True
        with_target = sets.select("row_id").join(rows, on="row_id", how="left", maintain_order="left")
        is_target = items == with_target["target"].fill_null(-1).to_numpy()[owners]
        found.append(
            with_target.select(
                "row_id",
                pl.Series("times_target", np.bincount(owners[is_target], minlength=sets.height)),
                pl.Series("is_repeating", is_repeating),
            )
        )
    nothing = pl.DataFrame(schema={"row_id": pl.Int32, "times_target": pl.Int64, "is_repeating": pl.Boolean})
    judged = rows.select("row_id", "target").join(pl.concat([nothing, *found]), on="row_id", how="full", coalesce=True)
    judged = judged.with_columns(sets=pl.col("times_target").is_not_null().sum().over("row_id"))
    is_right = (pl.col("times_target") == 1) & ~pl.col("is_repeating") & (pl.col("sets") == 1)
    wrong = judged.filter(~is_right.fill_null(False)).sort("row_id")
    return Finding(
        "Each validation and test row must have one candidate set with its target once and no item twice",
        judged.height,
        wrong.height,
        wrong.head(5),
        "Draw the candidate sets again from these histories.",
    )


def candidates_are_untouched(histories: Table, candidate_sets: Table, interactions: Table) -> Finding:
    """No candidate but the target was touched by the user, in any split."""
    rows = _judged_rows(histories)
    pairs = interactions.lazy().select("user_id", "item_id").collect(engine="streaming")
    touched = _keys(pairs["user_id"].to_numpy(), pairs["item_id"].to_numpy())
    touched.sort()
    checked, violations, first = 0, 0, [rows.clear().select("row_id", "user_id", "target", item_id="target")]
    for sets in _parts(candidate_sets):
        checked += sets.height
        items, owners = flat(sets["candidates"])
        of_rows = sets.select("row_id").join(rows, on="row_id", how="left", maintain_order="left")
        users, targets = (of_rows[name].fill_null(-1).to_numpy()[owners] for name in ("user_id", "target"))
        keys = _keys(users, items)
        place = np.minimum(np.searchsorted(touched, keys), len(touched) - 1)
        bad = np.flatnonzero((touched[place] == keys) & (items != targets))
        violations += len(bad)
        shown = of_rows[owners[bad[:5]]].select("row_id", "user_id", "target")
        first.append(shown.with_columns(pl.Series("item_id", items[bad[:5]])))
    return Finding(
        "Candidates other than the target must be items the user never touched",
        checked,
        violations,
        pl.concat(first).head(5),
        "Draw the candidate sets again from these interactions.",
    )


def candidates_are_not_taken_next(histories: Table, candidate_sets: Table, interactions: Table) -> Finding:
    """Every candidate but the target is an item that the user never touched, or one of the row's history not to come.

    For a data set that keeps repeats. An item to come is the target of a later row of the user's: rows of a split are
    in the order of row_id, and test is after validation.
    """
    rows = histories.lazy().filter(pl.col("split") != "train")
    order = pl.struct(pl.col("split") == "test", "row_id")
    columns = pl.col("row_id", "user_id", "target", "history"), order.rank("ordinal").over("user_id").alias("place")
    judged = rows.select(*columns).collect(engine="streaming")
    to_come = judged.group_by("user_id", item_id="target").agg(pl.col("place").max().alias("last"))
    touched = interactions.lazy().select("user_id", "item_id").unique().collect(engine="streaming")
    checked, violations, first = 0, 0, [judged.clear().select("row_id", "user_id", "target", item_id="target")]
    for sets in _parts(candidate_sets):
        checked += sets.height
        cells = sets.explode("candidates").rename({"candidates": "item_id"})
        cells = cells.join(judged, on="row_id", how="left", maintain_order="left")
        cells = cells.filter(pl.col("item_id") != pl.col("target"))
        cells = cells.join(touched, on=["user_id", "item_id"], how="semi", maintain_order="left")
        cells = cells.join(to_come, on=["user_id", "item_id"], how="left", maintain_order="left")
        is_past = pl.col("history").list.contains(pl.col("item_id"))
        bad = cells.filter(~is_past | (pl.col("last") > pl.col("place")).fill_null(False))
        violations += bad.height
        first.append(bad.head(5).select("row_id", "user_id", "target", "item_id"))
    return Finding(
        "Candidates other than the target must be untouched, or in the row's history and not taken later",
        checked,
        violations,
        pl.concat(first).head(5),
        "Draw the candidate sets again from these interactions.",
    )


def candidates_were_available(histories: Table, candidate_sets: Table, interactions: Table) -> Finding:
    """No candidate is an item that the log shows only after the row's target was touched.

    Where the user has several interactions with the target in the row's split, the last one counts.
    """
    rows = _judged_rows(histories)
    frame = interactions.lazy().select("user_id", "item_id", "split", pl.col("at").to_physical())
    first_at = frame.group_by("item_id").agg(pl.col("at").min()).collect(engine="streaming")
    items_known = max(int(first_at["item_id"].max() or 0), 0)  # type: ignore[arg-type]
    known_from = np.full(items_known + 2, _NEVER)  # the last is for every item that the log never shows
    known_from[first_at["item_id"].to_numpy()] = first_at["at"].to_numpy()
    held_out = frame.filter(pl.col("split") != "train").group_by("user_id", "split", "item_id").agg(pl.col("at").max())
    times = rows.lazy().join(
        held_out, left_on=["user_id", "split", "target"], right_on=["user_id", "split", "item_id"], how="left"
    )
    rows = times.collect(engine="streaming")
    checked, violations, first = 0, 0, [rows.clear().select("row_id", "target", item_id="target")]
    for sets in _parts(candidate_sets):
        checked += sets.height
        items, owners = flat(sets["candidates"])
        of_rows = sets.select("row_id").join(rows, on="row_id", how="left", maintain_order="left")
        asked_at = of_rows["at"].fill_null(np.iinfo(np.int64).min).to_numpy()[owners]
        bad = np.flatnonzero(known_from[np.minimum(items, items_known + 1)] > asked_at)
        violations += len(bad)
        shown = of_rows[owners[bad[:5]]].select("row_id", "target")
        first.append(shown.with_columns(pl.Series("item_id", items[bad[:5]])))
    return Finding(
        "Candidates must have been in the log by the time of the target",
        checked,
        violations,
        pl.concat(first).head(5),
        "Draw the candidate sets again from these interactions.",
    )


def _judged_rows(histories: Table) -> pl.DataFrame:
    rows = histories.lazy().filter(pl.col("split") != "train").select("row_id", "user_id", "split", "target")
    return rows.collect(engine="streaming")


def _keys(users: NDArray[np.int32], items: NDArray[np.int32]) -> Ints:
    """One number for each user and item."""
    return (users.astype(np.int64) << 31) + items


def _parts(candidate_sets: Table) -> Iterator[pl.DataFrame]:
    yield from candidate_sets.lazy().collect_batches(chunk_size=_ROWS, maintain_order=True)
