"""Raw interactions to implicit feedback: duplicates, thresholds, repeats, k-core, dense ids; every drop is counted.

The result depends on the rows and not on the order they are read in. Interactions of one user at the same time are in
the order of `cleaning.ties`: that of file and line, which are columns of the log, or of a hash of (seed, user, item).
"""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from assets.datasets import Cleaning
from assets.transforms.randomness import hashes, text_keys


@dataclass(frozen=True)
class CleaningReport:
    """What each rule dropped, in the order the rules are applied. Interactions, unless a name says otherwise."""

    raw_interactions: int
    exact_duplicates: int
    """Same user, item, time and weight as a row that is kept."""
    below_min_weight: int
    repeats: int
    """Further interactions of a user with the same item."""
    outside_k_core: int
    outside_k_core_users: int
    outside_k_core_items: int
    k_core_passes: int
    """Passes until nothing was dropped any more."""
    untouched_items: int
    """Items of the catalogue without any raw interaction; they are not in `items`."""
    interactions: int
    """Left."""
    users: int
    items: int

    def as_table(self) -> pl.DataFrame:
        """One row for each rule: what it dropped, and how many interactions it left."""
        rules = ("exact_duplicates", "below_min_weight", "repeats", "outside_k_core")
        dropped = pl.DataFrame({"rule": rules, "dropped": [int(getattr(self, rule)) for rule in rules]})
        return dropped.with_columns(left=self.raw_interactions - pl.col("dropped").cum_sum())


@dataclass(frozen=True)
class Cleaned:
    """The cleaned tables; `interactions` has no split yet."""

    interactions: pl.LazyFrame
    """user_id, item_id, at, weight; by user, then in chronological order."""
    users: pl.DataFrame
    items: pl.DataFrame
    report: CleaningReport


def clean_interactions(
    raw_interactions: pl.LazyFrame, raw_items: pl.DataFrame, cleaning: Cleaning, seed: int, scratch: Path
) -> Cleaned:
    """Applies the rules of `cleaning` in order: exact duplicates, smallest weight, repeats, k-core; then dense ids.

    Ids are dense by sorted raw id (ids that are all integers sort as numbers), so they do not depend on row order.

    Args:
        raw_interactions: table `raw_interactions`.
        raw_items: table `raw_items`.
        cleaning: the rules.
        seed: orders ties, where these are ordered by a hash.
        scratch: an empty folder for the Parquet files behind the result; it must outlive it.

    Raises:
        ValueError: an interaction's item is not in `raw_items`, some interactions have a time and others have none, or
            nothing is left.
    """
    log = raw_interactions.collect()
    if log.is_empty():
        raise ValueError("Cleaning must start from at least one interaction, got an empty log. Check the raw files.")
    _refuse_unknown_items(log, raw_items)
    missing_times = log["at"].null_count()
    if 0 < missing_times < log.height:
        raise ValueError(
            f"Either all raw interactions or none must have a time, got {missing_times:,} of "
            f"{log.height:,} without. Quarantine the rows without a time, or leave all times out."
        )
    distinct = log.sort("file", "line").unique(
        ["user", "item", "at", "position", "weight", "event"], keep="first", maintain_order=True
    )
    weighty = distinct if cleaning.min_weight is None else distinct.filter(pl.col("weight") >= cleaning.min_weight)
    if weighty.is_empty():
        raise ValueError(
            f"Cleaning must leave at least one interaction, got 0 of {log.height:,} "
            f"with a weight of at least {cleaning.min_weight}. Lower cleaning.min_weight."
        )
    ordered = _chronological(weighty, cleaning.ties, seed)
    kept = ordered
    if cleaning.repeats != "all":
        kept = ordered.unique(["user", "item"], keep=cleaning.repeats, maintain_order=True)
    core, passes = k_core(kept, cleaning.k_core)
    users = _dense(core["user"], "user")
    items = _dense(core["item"], "item").join(raw_items, on="item", how="left", maintain_order="left")
    interactions = (
        core.join(users, on="user", how="left", maintain_order="left")
        .join(items.select("item", "item_id"), on="item", how="left", maintain_order="left")
        .select("user_id", "item_id", "at", "weight")
        .sort("user_id", maintain_order=True)
    )
    report = CleaningReport(
        raw_interactions=log.height,
        exact_duplicates=log.height - distinct.height,
        below_min_weight=distinct.height - weighty.height,
        repeats=weighty.height - kept.height,
        outside_k_core=kept.height - core.height,
        outside_k_core_users=kept["user"].n_unique() - users.height,
        outside_k_core_items=kept["item"].n_unique() - items.height,
        k_core_passes=passes,
        untouched_items=raw_items.height - log["item"].n_unique(),
        interactions=interactions.height,
        users=users.height,
        items=items.height,
    )
    return Cleaned(interactions.lazy(), users, items, report)


def k_core(interactions: pl.DataFrame, k: int) -> tuple[pl.DataFrame, int]:
    """The largest part in which every user and every item has at least `k` rows, and the passes it took to find.

    Rows keep their order. Dropping an item can leave a user short and the other way round, hence to a fixed point.

    >>> chain = pl.DataFrame({"user": ["a", "a", "b", "b", "c"], "item": ["x", "y", "x", "y", "y"]})
    >>> k_core(chain, 2)[0].rows()
    [('a', 'x'), ('a', 'y'), ('b', 'x'), ('b', 'y')]

    Raises:
        ValueError: nothing is left.
    """
    core, passes = interactions, 0
    while True:
        short = core.select(pl.min_horizontal(pl.len().over("user"), pl.len().over("item")) < k).to_series()
        if not short.any():
            return core, passes
        core, passes = core.filter(~short), passes + 1
        if core.is_empty():
            had = interactions["user"].n_unique()
            raise ValueError(
                f"The k-core must leave at least one user, got 0 users left after {k}-core (had {had}). "
                "Lower cleaning.k_core, or bring more interactions."
            )


def _refuse_unknown_items(raw_interactions: pl.DataFrame, raw_items: pl.DataFrame) -> None:
    unknown = raw_interactions.join(raw_items, on="item", how="anti")
    if unknown.height:
        first = unknown.row(0, named=True)
        raise ValueError(
            f"Every interaction must be with an item of the catalogue, got item {first['item']!r} "
            f"({first.get('file')}, line {first.get('line')}; {unknown.height:,} rows). Add it, or quarantine the rows."
        )


def _chronological(interactions: pl.DataFrame, ties: str, seed: int) -> pl.DataFrame:
    """By user, time and position; then as `ties` says. A total order of distinct rows."""
    by = ["user", "at", "position", "file", "line"]
    if ties == "file_order":
        return interactions.sort(by)
    tie_breaks = hashes(seed, "ties", text_keys(interactions["user"]), text_keys(interactions["item"]))
    by[3:] = ["tie_break", "weight", "event"]
    descending = [name == "weight" for name in by]
    ordered = interactions.with_columns(pl.Series("tie_break", tie_breaks)).sort(by, descending=descending)
    return ordered.drop("tie_break")


def _dense(raw: pl.Series, name: str) -> pl.DataFrame:
    """`<name>_id`, `<name>`: 0, 1, 2, … in the order of the raw ids."""
    distinct = raw.unique().to_frame()
    # Only canonical integers sort as numbers: 01, 1 and 001 are three ids.
    are_integers = bool(distinct[name].str.contains(r"^(0|[1-9][0-9]{0,17})$").all())
    ordered = distinct.sort(pl.col(name).cast(pl.Int64) if are_integers else pl.col(name))
    return ordered.with_row_index(f"{name}_id").cast({f"{name}_id": pl.Int32})
