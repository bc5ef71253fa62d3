"""What must hold between tables, as counts and first offending rows. Pure checks: the caller decides what to refuse.

Each looks only at the finished tables and shares no code with what made them, so that a mistake there is found here.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from assets.transforms.chunks import Table, parts, parts_by_row_id
from assets.transforms.lists import flat

Ints = NDArray[np.int64]
PART = 250_000
"""Rows of the large tables that are looked at together."""


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
    """A user's interactions come together, and none is earlier than the one before it."""
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


def no_train_item_among_negatives(negatives: Table, histories: Table, interactions: Table) -> Finding:
    """No mined negative, or rejected item, was touched by its user in train, nor is it the row's target.

    Args:
        negatives: row_id and either item_id (a pool) or rejected (preference rows); looked at in parts.
        histories: row_id, user_id, target.
        interactions: user_id, item_id, split.
    """
    rows = histories.lazy().select("row_id", "user_id", "target").collect()
    in_train = interactions.lazy().filter(pl.col("split") == "train")
    touched = in_train.select("user_id", "item_id").collect(engine="streaming")
    is_wrong = (
        pl.col("is_touched").fill_null(False) | (pl.col("item_id") == pl.col("target")) | pl.col("user_id").is_null()
    )
    column = "rejected" if "rejected" in negatives.collect_schema() else "item_id"
    checked, offending = 0, _Offending()
    for part in parts(negatives.lazy().select("row_id", column), PART):
        pairs = part if column == "item_id" else _flat_pairs(part, column)
        shown = pairs.join(rows, on="row_id", how="left", maintain_order="left")
        of_users = touched.join(shown.select("user_id"), on="user_id", how="semi").unique()
        judged = shown.join(
            of_users.with_columns(is_touched=True), on=["user_id", "item_id"], how="left", maintain_order="left"
        )
        offending.add(judged.filter(is_wrong).select("row_id", "user_id", "item_id", "target"))
        checked += shown.height
    return offending.finding(
        "Negatives must be items that the user did not touch in train",
        checked,
        "Mine again from these histories and interactions.",
    )


def every_completion_is_covered(reference_logps: Table, preference_rows: Table) -> Finding:
    """Every chosen and rejected item of every row has one reference log-probability, and no other item has."""
    found = reference_logps.lazy().select("row_id", "item_id")
    asked = preference_rows.lazy().select("row_id", "chosen", "rejected")
    checked, offending = 0, _Offending()
    for of_found, of_asked in parts_by_row_id(found, asked, rows=PART):
        chosen = of_asked.select("row_id", item_id="chosen")
        wanted = pl.concat([chosen, _flat_pairs(of_asked, "rejected")]).with_columns(wanted=1)
        judged = wanted.join(of_found.with_columns(found=1), on=["row_id", "item_id"], how="full", coalesce=True)
        is_wrong = pl.col("wanted").is_null() | pl.col("found").is_null()
        offending.add(judged.filter(is_wrong).sort("row_id", "item_id"))
        checked += judged.height
    return offending.finding(
        "Each chosen and rejected item of a row must have one reference log-probability, and no other item may",
        checked,
        "Compute the reference log-probabilities again from these rows.",
    )


def _flat_pairs(table: pl.DataFrame, column: str) -> pl.DataFrame:
    """row_id and item_id of each element of a column of lists."""
    items, owners = flat(table[column])
    return table.select("row_id")[owners].with_columns(pl.Series("item_id", items, dtype=pl.Int32))


class _Offending:
    """Offending rows, counted part by part; the first five are kept."""

    def __init__(self) -> None:
        self.n, self.first = 0, pl.DataFrame()

    def add(self, rows: pl.DataFrame) -> None:
        self.n += rows.height
        self.first = pl.concat([self.first, rows], how="diagonal").head(5)

    def finding(self, guarantee: str, checked: int, remedy: str) -> Finding:
        return Finding(guarantee, checked, self.n, self.first, remedy)
