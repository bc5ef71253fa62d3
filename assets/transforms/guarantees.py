"""What must hold between tables, as counts and first offending rows. Pure checks: the caller decides what to refuse.

Each looks at the finished tables alone and shares no code with what made them, so that a mistake there is found here.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from assets.transforms.lists import flat

Ints = NDArray[np.int64]
Table = pl.DataFrame | pl.LazyFrame

_CHUNK = 100_000  # histories looked at at a time: bounds memory at 100,000 · max_length elements


@dataclass(frozen=True)
class Finding:
    """What a check found."""

    guarantee: str
    """What must hold, as a sentence."""
    checked: int
    """Rows looked at."""
    violations: int
    first: pl.DataFrame
    """Up to five offending rows."""
    remedy: str

    @property
    def passed(self) -> bool:
        """Whether nothing violates the guarantee."""
        return self.violations == 0

    @property
    def message(self) -> str:
        """The finding in one line."""
        if self.passed:
            return f"{self.guarantee}: {self.checked:,} rows checked."
        row = ", ".join(f"{name}={value}" for name, value in self.first.row(0, named=True).items())
        return (
            f"{self.guarantee}; got {self.violations:,} violations in {self.checked:,} rows, first {row}. {self.remedy}"
        )


class GuaranteeBroken(ValueError):
    """Tables that break a guarantee; they must not be published."""


def require(findings: Iterable[Finding]) -> None:
    """Raises when a guarantee is broken, naming each broken one.

    Raises:
        GuaranteeBroken: at least one finding did not pass.
    """
    broken = [finding.message for finding in findings if not finding.passed]
    if broken:
        raise GuaranteeBroken(" ".join(broken))


def interactions_are_chronological(interactions: Table) -> Finding:
    """A user's interactions stand together, and none is earlier than the one before it."""
    table = interactions.lazy().select("user_id", pl.col("at").to_physical()).collect(engine="streaming")
    user, at = table["user_id"].to_numpy(), table["at"].fill_null(0).to_numpy()
    is_wrong = np.zeros(len(user), dtype=bool)
    is_same = user[1:] == user[:-1]
    is_wrong[1:] = is_same & (at[1:] < at[:-1])
    begins = np.concatenate([[0], np.flatnonzero(~is_same) + 1])[: len(user)]
    order = np.argsort(user[begins], kind="stable")
    repeats = order[1:][user[begins][order][1:] == user[begins][order][:-1]]
    is_wrong[begins[repeats]] = True  # the user had rows before, and another user's in between
    rows = np.flatnonzero(is_wrong)
    shown = [interactions.lazy().select("user_id", "at").slice(row, 1).collect() for row in rows[:5].tolist() or [0]]
    return Finding(
        "A user's interactions must stand together in chronological order",
        len(user),
        len(rows),
        pl.concat(shown)[: len(rows)].select(pl.Series("row", rows[:5]), "user_id", "at"),
        "Sort by user_id and time before anything is split.",
    )


def histories_precede_targets(histories: pl.DataFrame, interactions: pl.DataFrame) -> Finding:
    """Every history is a run of the user's interactions, oldest first, that ends before its target.

    Positions are looked up in `interactions`, whose chronological order another check proves. Where a user has several
    interactions with one item, the history gets the benefit of the doubt: its items count at their first, its target at
    its last interaction in the row's split.
    """
    places = interactions.select(
        "user_id", "item_id", "split", position=pl.int_range(pl.len(), dtype=pl.Int32).over("user_id")
    )
    has_repeats = bool(places.select(pl.struct("user_id", "item_id").is_duplicated().any()).item())
    of_items = places.group_by("user_id", "item_id").agg(pl.col("position").min())
    of_targets = places.group_by("user_id", "item_id", "split").agg(target_position=pl.col("position").max())
    offending: list[pl.DataFrame] = []
    for chunk in histories.iter_slices(_CHUNK):
        items, owners = flat(chunk["history"])
        rows = chunk.select("row_id", "user_id", "split", "target").join(
            of_targets,
            left_on=["user_id", "target", "split"],
            right_on=["user_id", "item_id", "split"],
            how="left",
            maintain_order="left",
        )
        elements = (
            rows[owners]
            .with_columns(pl.Series("item_id", items))
            .join(of_items, on=["user_id", "item_id"], how="left", maintain_order="left")
        )
        falls = pl.col("position") <= pl.col("position").shift(1).over("row_id")
        is_wrong = (
            pl.col("target_position").is_null()
            | pl.col("position").is_null()
            | (pl.col("position") >= pl.col("target_position"))
            | (pl.lit(not has_repeats) & falls.fill_null(False))
        )
        wrong = elements.filter(is_wrong)
        offending.append(wrong.select("row_id", "user_id", "split", "target", "item_id", "position", "target_position"))
    return _finding(
        "A history must hold the user's own interactions strictly before its target, oldest first",
        histories.height,
        pl.concat(offending) if offending else histories.clear(),
        "Build the histories again from these interactions; no model trained on them is valid.",
    )


def training_touches_no_held_out_item(histories: pl.DataFrame, interactions: pl.DataFrame) -> Finding:
    """No train row shows, in history or target, an item that its user has in validation or test alone."""
    train = interactions.filter(pl.col("split") == "train")
    held_out = (
        interactions.filter(pl.col("split") != "train")
        .join(train, on=["user_id", "item_id"], how="anti")
        .select("user_id", "item_id", held_out_in="split")
    )
    rows = histories.filter(pl.col("split") == "train")
    offending: list[pl.DataFrame] = []
    for chunk in rows.iter_slices(_CHUNK):
        items, owners = flat(chunk["history"])
        keys = chunk.select("row_id", "user_id", item_id="target")
        shown = pl.concat([keys, keys[owners].with_columns(pl.Series("item_id", items))])
        offending.append(shown.join(held_out, on=["user_id", "item_id"], how="inner"))
    return _finding(
        "Train rows must show no item that the user has in validation or test alone",
        rows.height,
        pl.concat(offending) if offending else held_out.clear(),
        "Build the histories again from the train split alone.",
    )


def one_target_per_candidate_set(histories: pl.DataFrame, candidate_sets: pl.DataFrame) -> Finding:
    """Every validation and test row has one candidate set, which holds its target once and no item twice."""
    rows = histories.filter(pl.col("split") != "train").select("row_id", "target")
    judged = rows.join(candidate_sets, on="row_id", how="full", coalesce=True).with_columns(
        is_repeating=pl.col("candidates").list.n_unique() < pl.col("candidates").list.len(),
        sets=pl.col("candidates").is_not_null().sum().over("row_id"),
    )
    items, owners = flat(judged["candidates"].fill_null([]))
    is_target = items == judged["target"].fill_null(-1).to_numpy()[owners]
    times = np.bincount(owners[is_target], minlength=judged.height)
    judged = judged.with_columns(pl.Series("times_target", times))
    is_right = (pl.col("times_target") == 1) & ~pl.col("is_repeating") & (pl.col("sets") == 1)
    return _finding(
        "Each validation and test row must have one candidate set with its target once and no item twice",
        judged.height,
        judged.filter(~is_right.fill_null(False)).select("row_id", "target", "times_target", "is_repeating", "sets"),
        "Draw the candidate sets again from these histories.",
    )


def candidates_are_untouched(
    histories: pl.DataFrame, candidate_sets: pl.DataFrame, interactions: pl.DataFrame
) -> Finding:
    """No candidate but the target was touched by the user, in any split."""
    items, owners = flat(candidate_sets["candidates"])
    keys = candidate_sets.select("row_id").join(
        histories.select("row_id", "user_id", "target"), on="row_id", how="left", maintain_order="left"
    )
    others = keys[owners].with_columns(pl.Series("item_id", items)).filter(pl.col("item_id") != pl.col("target"))
    return _finding(
        "Candidates other than the target must be items the user never touched",
        candidate_sets.height,
        others.join(interactions.select("user_id", "item_id").unique(), on=["user_id", "item_id"], how="semi"),
        "Draw the candidate sets again from these interactions.",
    )


def no_train_item_among_negatives(
    negatives: pl.DataFrame, histories: pl.DataFrame, interactions: pl.DataFrame
) -> Finding:
    """No mined negative, or rejected item, was touched by its user in train, nor is it the row's target.

    Args:
        negatives: row_id and either item_id (a pool) or rejected (preference rows).
        histories: row_id, user_id, target.
        interactions: user_id, item_id, split.
    """
    if "rejected" in negatives.columns:
        items, owners = flat(negatives["rejected"])
        negatives = negatives.select("row_id")[owners].with_columns(pl.Series("item_id", items))
    shown = negatives.select("row_id", "item_id").join(
        histories.select("row_id", "user_id", "target"), on="row_id", how="left", maintain_order="left"
    )
    touched = interactions.filter(pl.col("split") == "train").select("user_id", "item_id", is_touched=True).unique()
    judged = shown.join(touched, on=["user_id", "item_id"], how="left", maintain_order="left")
    is_wrong = (
        pl.col("is_touched").fill_null(False) | (pl.col("item_id") == pl.col("target")) | pl.col("user_id").is_null()
    )
    return _finding(
        "Negatives must be items that the user did not touch in train",
        shown.height,
        judged.filter(is_wrong).select("row_id", "user_id", "item_id", "target"),
        "Mine again from these histories and interactions.",
    )


def every_completion_is_covered(reference_logps: pl.DataFrame, preference_rows: pl.DataFrame) -> Finding:
    """Every chosen and rejected item of every row has one reference log-probability, and no other item has."""
    items, owners = flat(preference_rows["rejected"])
    rejected = preference_rows.select("row_id")[owners].with_columns(pl.Series("item_id", items, dtype=pl.Int32))
    wanted = pl.concat([preference_rows.select("row_id", item_id="chosen"), rejected]).with_columns(wanted=1)
    found = reference_logps.select("row_id", "item_id").with_columns(found=1)
    judged = wanted.join(found, on=["row_id", "item_id"], how="full", coalesce=True)
    return _finding(
        "Each chosen and rejected item of a row must have one reference log-probability, and no other item may",
        judged.height,
        judged.filter(pl.col("wanted").is_null() | pl.col("found").is_null()),
        "Compute the reference log-probabilities again from these rows.",
    )


def _finding(guarantee: str, checked: int, offending: pl.DataFrame, remedy: str) -> Finding:
    return Finding(guarantee, checked, offending.height, offending.head(5), remedy)
