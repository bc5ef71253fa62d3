"""Candidate sets: the target among items the user never touched, for a choice that a blind reader cannot make.

Dimension key: `b` rows, `n` candidates. Nothing is drawn from the target. Seeding by it is a trap: the target would
show at a place, and among neighbours, that depend only on it, and rows with the same target would tell on each other.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from assets.transforms.chunks import Table
from assets.transforms.lists import rows_of
from contracts.config.dataset import Candidates
from contracts.distinct import draw_by_weight
from contracts.draws import below, hashes, uniforms
from contracts.words import SPLITS

Ints = NDArray[np.int64]

ROWS = 100_000
"""Rows drawn for at a time."""
_PROPOSALS, _BLOCK = 512, 32
"""Proposals to a row in a draw by popularity, and how many of them are made at a time."""
_NEVER = np.iinfo(np.int64).max


def candidate_parts(
    histories: Table,
    interactions: Table,
    n_items: int,
    candidates: Candidates,
    seed: int,
    *,
    keeps_repeats: bool = False,
    rows: int = ROWS,
) -> Iterator[pl.DataFrame]:
    """The table `candidate_sets`, in parts: for each validation and test row its target and n - 1 items, shuffled.

    The items are drawn without replacement from those that the user touched in no split. `uniform`: every set of them
    is equally likely. `popularity`: one after the other, each in proportion to its train interactions among those left;
    an item without any is never drawn. `available`: uniformly from those that anybody had touched by the time of the
    target. What a row draws depends on (seed, split, user, which of the user's rows of that split it is) and on what
    the user touched; for `available` also on when the target was; never on the order of rows, or on which of the
    touched items is the target.

    Where the data set keeps repeats, "has the user seen it?" must not tell the target: up to n // 2 items of a set,
    the target counted if it is one, are drawn uniformly from the row's history, without what the user takes later. The
    number does not depend on whether the target is among them. The others are drawn as above.

    Args:
        histories: row_id, user_id, split, target; history where repeats are kept.
        interactions: user_id, item_id; split for `popularity`; split and at for `available`.
        n_items: size of the catalogue.
        candidates: n, and how to draw.
        seed: of all draws.
        keeps_repeats: whether users take items again.
        rows: how many rows are drawn for at a time; changes nothing else.

    Raises:
        ValueError: fewer than n - 1 items can be drawn for a row, or items have no time of their first interaction.
    """
    judged = _judged_rows(histories, with_history=keeps_repeats)
    if candidates.draw == "available":
        judged = _with_times(judged, interactions)
    log = _Log.of(interactions)
    pool = _pool(interactions, n_items, candidates)
    short = _Short(n_items, candidates)
    for part in judged.iter_slices(rows):
        users, positions = (part[name].to_numpy().astype(np.int64) for name in ("user_id", "position"))
        touched = log.touched_by(users, pool)
        limits, n_touched = pool.limits(part, touched)
        seen = _seen(part, candidates.n, seed) if keeps_repeats else None
        short.look_at(part, limits if seen is None else limits + (seen >= 0).sum(axis=1), n_touched)
        if short.has_none:
            drawn = np.empty((part.height, candidates.n), dtype=np.int32)
            for split in part["split"].unique():
                at = np.flatnonzero((part["split"] == split).to_numpy())
                keys = users[at], positions[at]
                if seen is None:
                    others = _others(touched.of(at), limits[at], pool, candidates.n - 1, seed, split, keys)
                else:
                    others = _others_beside(seen[at], touched.of(at), limits[at], pool, candidates.n, seed, split, keys)
                with_target = np.column_stack([part["target"].to_numpy()[at], others])
                places = hashes(seed, f"candidate order/{split}", *(k[:, None] for k in keys), np.arange(candidates.n))
                drawn[at] = np.take_along_axis(with_target, np.argsort(places, axis=1), axis=1)
            sets = rows_of(drawn, np.ones(drawn.shape, dtype=bool))
            yield pl.DataFrame({"row_id": part["row_id"], "candidates": sets})
    short.refuse()


@dataclass(frozen=True)
class _Touched:
    """What the users of some rows touched, by label of the pool."""

    users: Ints
    """b: the rows' users."""
    keys: Ints
    """user · base + label, ascending, each once."""
    base: int
    first: Ints
    """b: where the row's user starts in `keys`."""

    def count_below(self, labels: Ints | int) -> Ints:
        """How many labels below these each row's user touched."""
        return np.searchsorted(self.keys, self.users * self.base + labels) - self.first

    def of(self, rows: Ints) -> "_Touched":
        """The same for some of the rows."""
        return _Touched(self.users[rows], self.keys, self.base, self.first[rows])

    def untouched(self, ranks: Ints) -> Ints:
        """The untouched labels of these ranks: rank 0 is the user's smallest. Shapes [b, n] → [b, n].

        Of a user's sorted touched labels t_0 < t_1 < …, t_i has t_i - i untouched ones before it, so the label of rank
        r is r plus the number of i with t_i - i ≤ r. One sorted array of (user, t_i - i) answers all rows at once.
        """
        owners = self.keys // self.base
        is_first = np.concatenate([[True], owners[1:] != owners[:-1]]) if len(owners) else np.zeros(0, dtype=bool)
        starts = np.flatnonzero(is_first)
        nth = np.arange(len(owners)) - np.repeat(starts, np.diff(starts, append=len(owners)))
        found = np.searchsorted(self.keys - nth, self.users[:, None] * self.base + ranks, side="right")
        return ranks + found - self.first[:, None]

    def is_touched(self, rows: Ints, labels: Ints) -> NDArray[np.bool_]:
        """Whether the users of these rows touched these labels. Shapes [k], [k, c] → [k, c]."""
        wanted = self.users[rows, None] * self.base + labels
        found = np.minimum(np.searchsorted(self.keys, wanted), max(len(self.keys) - 1, 0))
        return self.keys[found] == wanted if len(self.keys) else np.zeros(wanted.shape, dtype=bool)


@dataclass(frozen=True)
class _Pool:
    """What may be drawn. A label is an item's place in the pool's order."""

    item_of: NDArray[np.int32]
    """The item of each label."""
    label_of: NDArray[np.int32]
    n_items: int
    weights: Ints | None
    """By item, for a draw by popularity: train interactions."""
    known_from: Ints | None
    """By label, ascending: when each item was first touched, for a draw of what was available."""

    def limits(self, part: pl.DataFrame, touched: _Touched) -> tuple[Ints, Ints]:
        """For each row, how many items can be drawn, and how many items its user touched."""
        n_touched = touched.count_below(self.n_items)
        if self.known_from is not None:
            known = np.searchsorted(self.known_from, part["at"].to_numpy(), side="right")
            return known - touched.count_below(known), n_touched
        if self.weights is not None:
            has_weight = (self.weights > 0).astype(np.int64)
            weighty = np.concatenate([[0], np.cumsum(has_weight[touched.keys % touched.base])])
            n_weighty = weighty[touched.first + n_touched] - weighty[touched.first]
            return int(has_weight.sum()) - n_weighty, n_touched
        return self.n_items - n_touched, n_touched


@dataclass(frozen=True)
class _Log:
    """Who touched what, by user; 8 bytes for each interaction."""

    users: NDArray[np.int32]
    items: NDArray[np.int32]

    @classmethod
    def of(cls, interactions: Table) -> "_Log":
        """Reads it."""
        table = interactions.lazy().select(pl.col("user_id", "item_id").cast(pl.Int32)).collect(engine="streaming")
        users, items = table["user_id"].to_numpy(), table["item_id"].to_numpy()
        if (users[1:] < users[:-1]).any():
            order = np.argsort(users, kind="stable")
            users, items = users[order], items[order]
        return cls(users, items)

    def touched_by(self, users: Ints, pool: _Pool) -> _Touched:
        """What these users touched."""
        begin, end = np.searchsorted(self.users, [users.min(), users.max() + 1])
        base = pool.n_items + 1
        keys = self.users[begin:end] * np.int64(base) + pool.label_of[self.items[begin:end]]
        keys.sort()
        keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])] if len(keys) else keys
        return _Touched(users, keys, base, np.searchsorted(keys, users * base))


class _Short:
    """Rows for which too few items can be drawn."""

    def __init__(self, n_items: int, candidates: Candidates) -> None:
        self.n_items, self.candidates = n_items, candidates
        self.users: set[int] = set()
        self.worst: tuple[int, int, int] | None = None
        """Fewest items, the user, and how many that user touched."""

    @property
    def has_none(self) -> bool:
        """Whether every row so far can be drawn for."""
        return not self.users

    def look_at(self, part: pl.DataFrame, limits: Ints, n_touched: Ints) -> None:
        """Takes the next rows."""
        short = np.flatnonzero(limits < self.candidates.n - 1)
        if len(short):
            users = part["user_id"].to_numpy()
            self.users.update(users[short].tolist())
            at = short[np.argmin(limits[short])]
            found = int(limits[at]), int(users[at]), int(n_touched[at])
            self.worst = found if self.worst is None else min(self.worst, found)

    def refuse(self) -> None:
        """Raises when a row was short.

        Raises:
            ValueError: which names the user with the fewest items, and what would fit.
        """
        if self.worst is None:
            return
        n = self.candidates.n
        fewest, user, n_touched = self.worst
        which = {
            "uniform": "untouched items",
            "popularity": "untouched items with a train interaction",
            "available": "untouched items that the log had shown by the time of the target",
        }[self.candidates.draw]
        if fewest:
            remedy = f"Lower candidates.n to at most {fewest + 1}, or bring a larger catalogue."
        elif self.candidates.draw == "uniform":
            remedy = "The catalogue is too small for any candidate set: bring more items."
        else:
            remedy = "No candidate set is possible for this user: set candidates.draw to uniform, or bring more items."
        raise ValueError(
            f"candidates.n must leave every user n - 1 = {n - 1} {which}, got {fewest} for user {user}, who touched "
            f"{n_touched} of {self.n_items:,} items ({len(self.users):,} users are short). {remedy}"
        )


def _judged_rows(histories: Table, *, with_history: bool) -> pl.DataFrame:
    """Validation and test rows by row_id, with `position`: which of the user's rows of that split it is.

    With `past` where histories are read: the distinct items of the history that no later row of the user asks for.
    """
    columns = ["row_id", "user_id", "split", "target", *(["history"] if with_history else [])]
    rows = histories.lazy().filter(pl.col("split") != "train").select(columns)
    position = pl.int_range(pl.len()).over("user_id", "split", order_by="row_id")
    judged = rows.collect(engine="streaming").with_columns(position=position).sort("row_id")
    return _with_past(judged) if with_history else judged


def _with_past(judged: pl.DataFrame) -> pl.DataFrame:
    place = pl.struct(pl.col("split").replace_strict({s: k for k, s in enumerate(SPLITS)}), "position")
    judged = judged.with_columns(place=place.rank("ordinal").over("user_id"))
    last = judged.group_by("user_id", history="target").agg(pl.col("place").max().alias("last"))
    cells = judged.select("row_id", "user_id", "place", "history").explode("history").unique(maintain_order=True)
    cells = cells.join(last, on=["user_id", "history"], how="left", maintain_order="left")
    cells = cells.filter((pl.col("last") <= pl.col("place")).fill_null(True))
    past = cells.group_by("row_id", maintain_order=True).agg(past=pl.col("history"))
    return judged.drop("history", "place").join(past, on="row_id", how="left", maintain_order="left")


def _seen(part: pl.DataFrame, n: int, seed: int) -> Ints:
    """Items of each row's past beside the target, drawn uniformly, -1 where there are no more; shape [b, n // 2]."""
    cells = part.with_row_index("at").explode("past", empty_as_null=False).drop_nulls("past")
    is_target = (cells["past"] == cells["target"]).to_numpy()
    at, items = cells["at"].to_numpy().astype(np.int64), cells["past"].to_numpy().astype(np.int64)
    room = np.full(part.height, n // 2)
    room[at[is_target]] -= 1  # the target is one of them
    at, items, cells = at[~is_target], items[~is_target], cells.filter(~pl.Series(is_target))
    keys = [cells[name].to_numpy().astype(np.int64) for name in ("user_id", "position")]
    codes = cells["split"].replace_strict({s: k for k, s in enumerate(SPLITS)}, return_dtype=pl.Int64).to_numpy()
    order = np.lexsort((hashes(seed, "seen candidates", codes, *keys, items), at))
    at, items = at[order], items[order]
    nth = np.arange(len(at)) - np.searchsorted(at, at)
    is_kept = nth < room[at]
    drawn = np.full((part.height, n // 2), -1)
    drawn[at[is_kept], nth[is_kept]] = items[is_kept]
    return drawn


def _pool(interactions: Table, n_items: int, candidates: Candidates) -> _Pool:
    same = np.arange(n_items, dtype=np.int32)
    if candidates.draw == "uniform":
        return _Pool(same, same, n_items, None, None)
    if candidates.draw == "popularity":
        trained = interactions.lazy().filter(pl.col("split") == "train").group_by("item_id").len()
        counts = trained.collect(engine="streaming")
        weights = np.zeros(n_items, dtype=np.int64)
        weights[counts["item_id"].to_numpy()] = counts["len"].to_numpy()
        return _Pool(same, same, n_items, weights, None)
    return _pool_by_time(interactions, n_items)


def _with_times(judged: pl.DataFrame, interactions: Table) -> pl.DataFrame:
    """With `at`: when the user touched the target in the row's split, for the first time there."""
    log = interactions.lazy().filter(pl.col("split") != "train")
    if log.select(pl.col("at").null_count()).collect(engine="streaming").item():
        raise ValueError(
            "candidates.draw available must have a log with times, got interactions without: nothing says what was "
            "available when. Set candidates.draw to uniform or popularity."
        )
    times = log.group_by("user_id", "split", target="item_id").agg(pl.col("at").min().to_physical())
    timed = judged.lazy().join(times, on=["user_id", "split", "target"], how="left", maintain_order="left")
    return timed.collect()


def _pool_by_time(interactions: Table, n_items: int) -> _Pool:
    first = interactions.lazy().group_by("item_id").agg(pl.col("at").min().to_physical()).collect(engine="streaming")
    known_from = np.full(n_items, _NEVER)
    known_from[first["item_id"].to_numpy()] = first["at"].to_numpy()
    item_of = np.argsort(known_from, kind="stable").astype(np.int32)
    label_of = np.empty(n_items, dtype=np.int32)
    label_of[item_of] = np.arange(n_items, dtype=np.int32)
    return _Pool(item_of, label_of, n_items, None, known_from[item_of])


def _others(
    touched: _Touched, limits: Ints, pool: _Pool, n: int, seed: int, split: str, keys: tuple[Ints, Ints]
) -> NDArray[np.int32]:
    """The items beside the target, in the order they were drawn; shape [b, n]."""
    if pool.weights is not None:
        return _popular(pool.weights, touched, n, seed, f"popular candidates/{split}", *keys)
    return pool.item_of[touched.untouched(_distinct_ranks(limits, n, seed, f"candidates/{split}", *keys))]


def _others_beside(
    seen: Ints, touched: _Touched, limits: Ints, pool: _Pool, n: int, seed: int, split: str, keys: tuple[Ints, Ints]
) -> NDArray[np.int32]:
    """The seen items, and untouched ones for the rest of the n - 1 places; rows with equally many at a time."""
    counts = (seen >= 0).sum(axis=1)
    drawn = np.empty((len(seen), n - 1), dtype=np.int32)
    for count in np.unique(counts).tolist():
        at = np.flatnonzero(counts == count)
        of_these = keys[0][at], keys[1][at]
        others = _others(touched.of(at), limits[at], pool, n - 1 - count, seed, split, of_these)
        drawn[at] = np.concatenate([seen[at, :count], others], axis=1)
    return drawn


def _popular(weights: Ints, touched: _Touched, n: int, seed: int, stream: str, *keys: Ints) -> NDArray[np.int32]:
    """Items drawn by weight. Proposal d of a row is a hash of (seed, stream, keys, d), so no row depends on another."""

    def numbers(rows: Ints, start: int, stop: int, limit: int) -> Ints:
        return below(limit, hashes(seed, stream, *(key[rows, None] for key in keys), np.arange(start, stop)))

    def chances(row: int, items: Ints) -> NDArray[np.float64]:
        return uniforms(seed, f"{stream}/rest", *(key[row] for key in keys), items)

    drawn = draw_by_weight(
        weights, len(keys[0]), n, numbers, chances, touched.is_touched, proposals=_PROPOSALS, block=_BLOCK
    )
    return drawn.astype(np.int32)


def _distinct_ranks(limits: Ints, n: int, seed: int, stream: str, *keys: Ints) -> Ints:
    """For each row, `n` distinct integers in [0, limit), every such set equally likely; shape [b, n].

    Floyd's algorithm (Bentley and Floyd 1987, https://doi.org/10.1145/30401.315746): n draws, none rejected.
    """
    ranks = np.empty((len(limits), n), dtype=np.int64)
    for draw in range(n):
        last = limits - n + draw
        rank = below(last + 1, hashes(seed, stream, *keys, draw))
        is_taken = (ranks[:, :draw] == rank[:, None]).any(axis=1)
        ranks[:, draw] = np.where(is_taken, last, rank)
    return ranks
