"""Raw interactions to implicit feedback: events, duplicates, thresholds, repeats, k-core, dense ids; drops are counted.

The log is never held as a whole: DuckDB codes ids as integers, groups and sorts, and spills what does not fit.

The result depends on the rows and not on the order they are read in. Interactions of one user at the same time are in
the order of `cleaning.ties`: that of file and line, which are columns of the log, the same with the lines of a file
reversed, or that of a hash of (seed, user, item).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from assets.transforms.cleaning.cores import Core, Pairs, k_core, largest_core
from assets.transforms.cleaning.direction import refuse_newest_first
from assets.transforms.cleaning.log import Log
from assets.transforms.database import database
from contracts.config.dataset import Cleaning


@dataclass(frozen=True)
class CleaningReport:
    """What each rule dropped, in the order the rules are applied. Interactions, unless a name says otherwise."""

    raw_interactions: int
    other_events: dict[str, int]
    """By type of event, those that `cleaning.events` does not name."""
    exact_duplicates: int
    """Same user, item, time, position, weight and event as a row that is kept."""
    below_min_weight: int
    above_max_weight: int
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
        rules = ("exact_duplicates", "below_min_weight", "above_max_weight", "repeats", "outside_k_core")
        dropped = {f"event {event}": count for event, count in self.other_events.items()}
        dropped |= {rule.replace("_", " "): int(getattr(self, rule)) for rule in rules}
        table = pl.DataFrame({"rule": list(dropped), "dropped": list(dropped.values())})
        return table.with_columns(left=self.raw_interactions - pl.col("dropped").cum_sum())


@dataclass(frozen=True)
class Cleaned:
    """The cleaned tables; `interactions` has no split yet."""

    interactions: pl.LazyFrame
    """user_id, item_id, at, weight; by user, then in chronological order."""
    users: pl.DataFrame
    items: pl.DataFrame
    report: CleaningReport


def clean_interactions(
    raw_interactions: Path,
    raw_items: pl.DataFrame,
    cleaning: Cleaning,
    seed: int,
    scratch: Path,
    say: Callable[[str], None] = lambda text: None,
) -> Cleaned:
    """Applies the rules of `cleaning` in order: events, exact duplicates, weights, repeats, k-core; then dense ids.

    Ids are dense by sorted raw id (ids that are all integers sort as numbers), so they do not depend on row order.

    Args:
        raw_interactions: a Parquet file, table `raw_interactions`.
        raw_items: table `raw_items`.
        cleaning: the rules.
        seed: orders ties, where these are ordered by a hash.
        scratch: an empty folder for the Parquet file behind the result; it must outlive it.
        say: is told of each step, for the impatient.

    Raises:
        ValueError: an interaction's item is not in `raw_items`, some interactions have a time (or position) and others
            have none, a type of event is not in the log, the file runs from the newest row to the oldest (see
            `direction`), or nothing is left.
    """
    to = scratch / "interactions.parquet"
    with database(scratch, raw_interactions.parent) as connection:
        log = Log(connection, raw_interactions, cleaning, say)
        log.refuse_unusable(raw_items)
        if cleaning.ties == "file_order":
            refuse_newest_first(pl.scan_parquet(raw_interactions, glob=False))
        other_events = log.count_other_events()
        log.code(seed)
        log.drop_duplicates()
        log.drop_by_weight()
        log.drop_repeats()
        core = _core(log.pairs, log.count("users"), log.count("items"), cleaning.k_core)
        say(f"{core.interactions:,} interactions in the {cleaning.k_core}-core after {core.passes} passes")
        users, items = log.number("user", core.users), log.number("item", core.items)
        log.write(to)
        touched = [int(found) for found in log.one("SELECT count(DISTINCT u), count(DISTINCT i) FROM kept")]
        report = CleaningReport(
            raw_interactions=log.n_raw,
            other_events=other_events,
            exact_duplicates=log.n_raw - sum(other_events.values()) - log.n_distinct,
            below_min_weight=log.n_below,
            above_max_weight=log.n_above,
            repeats=log.n_distinct - log.n_below - log.n_above - log.n_kept,
            outside_k_core=log.n_kept - core.interactions,
            outside_k_core_users=touched[0] - users.height,
            outside_k_core_items=touched[1] - items.height,
            k_core_passes=core.passes,
            untouched_items=raw_items.height - log.n_items_touched,
            interactions=core.interactions,
            users=users.height,
            items=items.height,
        )
    at = pl.col("at").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    interactions = pl.scan_parquet(to, glob=False).with_columns(at)
    return Cleaned(interactions, users, items.join(raw_items, on="item", how="left", maintain_order="left"), report)


def _core(pairs: Pairs, n_users: int, n_items: int, k: int) -> Core:
    core = k_core(pairs, n_users, n_items, k)
    if core.interactions:
        return core
    largest, found = largest_core(pairs, n_users, n_items, k)
    had = int(k_core(pairs, n_users, n_items, 1).users.sum())
    raise ValueError(
        f"The k-core must leave at least one user, got 0 users left after {k}-core (had {had:,}). The largest k that "
        f"leaves something is {largest}: {int(found.users.sum()):,} users, {int(found.items.sum()):,} items, "
        f"{found.interactions:,} interactions. Lower cleaning.k_core to it, or bring more interactions."
    )
