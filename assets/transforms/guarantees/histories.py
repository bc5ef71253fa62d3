"""What must hold of histories, proven in one pass over the finished table.

Dimension key: r rows and e history items of a part of the table. A place is a row of `interactions`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from assets.transforms.guarantees.finding import Finding
from assets.transforms.lists import laid_out

Table = pl.DataFrame | pl.LazyFrame
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

_ROWS = 50_000  # looked at at a time: bounds memory at some 50,000 · max_length elements
_RANK = {"train": 0, "validation": 1, "test": 2}


class HistoryStatistics:
    """What a table of histories holds, counted along the way."""

    def __init__(self, n_users: int) -> None:
        self.lengths = {split: np.zeros(1, dtype=np.int64) for split in _RANK}
        """For each split, how many histories have 0, 1, 2, … items."""
        self.has_row = {split: np.zeros(n_users, dtype=bool) for split in _RANK}
        """For each split, whether each user has a row."""

    def look_at(self, rows: "_Rows") -> None:
        """Takes the next rows."""
        for split, rank in _RANK.items():
            is_in = rows.ranks == rank
            users = rows.users[is_in]
            self.has_row[split][users[users < len(self.has_row[split])]] = True
            counts = np.bincount(rows.lengths[is_in], minlength=len(self.lengths[split]))
            counts[: len(self.lengths[split])] += self.lengths[split]
            self.lengths[split] = counts

    def as_metadata(self) -> dict[str, int | float]:
        """Rows, users with a row and lengths of histories, for each split and over all."""
        numbers: dict[str, int | float] = {}
        for split, lengths in self.lengths.items():
            numbers[f"rows_{split}"] = int(lengths.sum())
            numbers[f"users_with_a_{split}_row"] = float(self.has_row[split].mean())
        size = max(len(lengths) for lengths in self.lengths.values())
        every = np.zeros(size, dtype=np.int64)
        for lengths in self.lengths.values():
            every[: len(lengths)] += lengths
        below: Ints = np.cumsum(every)
        for name, share in (("p10", 0.1), ("median", 0.5), ("p90", 0.9), ("max", 1.0)):
            numbers[f"history_length_{name}"] = int((below < share * int(below[-1])).sum())
        items = int(np.dot(every, np.arange(size)))
        numbers["history_length_mean"] = items / max(1, int(below[-1]))
        return numbers


def histories_keep_their_guarantees(
    histories: Table, interactions: Table, *, train_until: datetime | None = None
) -> tuple[Finding, Finding, HistoryStatistics]:
    """Two findings and the statistics of finished histories, in one pass.

    The first: every history is the run of the user's interactions that ends right before an interaction with the
    target, which is in the row's split. Where a user has several with the target, any of them will do.

    The second: no train row shows, in history or target, an item that its user has only in validation or test.

    Args:
        histories: row_id, user_id, split, history, target.
        interactions: user_id, item_id, split, and at for `train_until`; by user, in the chronological order that
            another check proves.
        train_until: the start of validation of a split at one global time; then a train row must also show no item
            that its user has only from then on, whatever `interactions` says of its split.
    """
    log = _load(interactions, train_until)
    precede, held_out, statistics = _Precede(log), _HeldOut(log), HistoryStatistics(len(log.starts) - 1)
    for rows in _parts(histories):
        precede.look_at(rows)
        held_out.look_at(rows)
        statistics.look_at(rows)
    return precede.finding(), held_out.finding(), statistics


@dataclass(frozen=True)
class _Log:
    """Interactions by user, in order, in 9 bytes each."""

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    ranks: NDArray[np.uint8]
    """0 train, 1 validation, 2 test."""
    is_late: Flags | None
    """At or after the start of validation."""
    starts: Ints
    """Where each user's rows start, by user_id; one more at the end."""

    def of_users(self, users: NDArray[np.int32]) -> tuple[int, int]:
        """The places from the first to the last of these users."""
        known = users[(users >= 0) & (users < len(self.starts) - 1)]
        if not len(known):
            return 0, 0
        return int(self.starts[known.min()]), int(self.starts[known.max() + 1])

    def key(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> Ints:
        """One number for each user and item."""
        return (users.astype(np.int64) << 31) + items


@dataclass(frozen=True)
class _Rows:
    """Rows of `histories`."""

    table: pl.DataFrame
    row_ids: NDArray[np.int32]
    users: NDArray[np.int32]
    ranks: NDArray[np.uint8]
    targets: NDArray[np.int32]
    items: NDArray[np.int32]
    """e: all histories one after another."""
    lengths: Ints
    offsets: Ints
    """Where each history starts in `items`; one more at the end."""


class _Precede:
    """Looks for each target among the user's interactions, and compares the interactions before it with the history."""

    def __init__(self, log: _Log) -> None:
        self.log, self.checked, self.violations = log, 0, 0
        self.first: list[pl.DataFrame] = []

    def look_at(self, rows: _Rows) -> None:
        """Takes the next rows."""
        self.checked += len(rows.row_ids)
        for rank in np.flatnonzero(np.bincount(rows.ranks)).tolist():
            self._look_at_split(rows, np.flatnonzero(rows.ranks == rank), rank)

    def _look_at_split(self, rows: _Rows, of_split: Ints, rank: int) -> None:
        log = self.log
        begin, end = log.of_users(rows.users[of_split])
        places = begin + np.flatnonzero(log.ranks[begin:end] == rank)
        keys = log.key(log.users[places], log.items[places])
        order = np.argsort(keys, kind="stable")
        keys, places = keys[order], places[order]
        wanted = log.key(rows.users[of_split], rows.targets[of_split])
        first = np.searchsorted(keys, wanted, side="left")
        at = np.searchsorted(keys, wanted, side="right") - 1  # the last interaction of the user with the target
        wrong = np.full((2, len(of_split)), _NOTHING, dtype=np.int64)  # the first wrong item, and the right one
        is_open = np.ones(len(of_split), dtype=bool)
        is_nowhere = at < first
        tried = np.flatnonzero(~is_nowhere)
        while len(tried):
            differs = self._compare(rows, of_split[tried], places[at[tried]])
            is_open[tried[differs[0] == _SAME]] = False
            wrong[:, tried] = differs
            at[tried] -= 1
            tried = tried[is_open[tried] & (at[tried] >= first[tried])]
        bad = np.flatnonzero(is_open)
        if len(bad):
            self._note(rows, of_split[bad], wrong[:, bad], is_nowhere[bad])

    def _compare(self, rows: _Rows, at: Ints, places: Ints) -> Ints:
        """For each row, the first history item that differs from what comes before the place, and that; or _SAME."""
        lengths = rows.lengths[at]
        reaches = np.minimum(lengths, places - self.log.starts[rows.users[at]])
        differs = np.full((2, len(at)), _SAME, dtype=np.int64)
        too_long = np.flatnonzero(reaches < lengths)
        differs[0, too_long] = rows.items[rows.offsets[at[too_long]]]
        differs[1, too_long] = _NOTHING
        offsets = np.concatenate([[0], np.cumsum(reaches)])
        inside = np.arange(int(offsets[-1]))
        shown = rows.items[inside + np.repeat(rows.offsets[at + 1] - offsets[1:], reaches)]
        there = self.log.items[inside + np.repeat(places - offsets[1:], reaches)]
        unequal = np.flatnonzero(shown != there)[::-1]  # backwards: of a row's several, the first is written last
        owners = np.searchsorted(offsets, unequal, side="right") - 1
        differs[0, owners], differs[1, owners] = shown[unequal], there[unequal]
        return differs

    def _note(self, rows: _Rows, at: Ints, wrong: Ints, is_nowhere: Flags) -> None:
        self.violations += len(at)
        if sum(table.height for table in self.first) < 5:
            item, instead = (pl.Series(values[:5]).replace({_NOTHING: None}) for values in wrong)
            nowhere = pl.Series(is_nowhere[:5])
            self.first.append(
                rows.table[at[:5]]
                .select("row_id", "user_id", "split", "target")
                .with_columns(target_is_in_split=~nowhere, item_id=item, instead_of=instead)
            )

    def finding(self) -> Finding:
        """Of all rows taken."""
        return Finding(
            "A history must hold the user's own interactions right before its target, oldest first",
            self.checked,
            self.violations,
            pl.concat(self.first).head(5) if self.first else pl.DataFrame(),
            "Build the histories again from these interactions; no model trained on them is valid.",
        )


_SAME = -1
_NOTHING = -2


class _HeldOut:
    """Looks whether train rows show what their users have only in held-out splits."""

    _BITS = 20

    def __init__(self, log: _Log) -> None:
        self.log, self.checked, self.violations = log, 0, 0
        self.first: list[pl.DataFrame] = []

    def look_at(self, rows: _Rows) -> None:
        """Takes the next rows."""
        train = np.flatnonzero(rows.ranks == 0)
        self.checked += len(train)
        begin, end = self.log.of_users(rows.users[train])
        held_out, ranks = self._held_out(begin, end)
        if not len(held_out):
            return
        # Nearly all items are none of these: a table of hashes says so at once, and only the rest is looked up.
        table = np.zeros(1 << self._BITS, dtype=bool)
        table[self._hash(held_out)] = True
        bases = self.log.key(rows.users, np.zeros(1, dtype=np.int32))
        shown = np.repeat(bases, rows.lengths)
        shown += rows.items
        for keys, owners in ((shown, None), (bases + rows.targets, np.arange(len(bases)))):
            maybe = np.flatnonzero(table[self._hash(keys)])
            found = np.minimum(np.searchsorted(held_out, keys[maybe]), len(held_out) - 1)
            is_found = held_out[found] == keys[maybe]
            maybe, found = maybe[is_found], found[is_found]
            of = np.searchsorted(rows.offsets, maybe, side="right") - 1 if owners is None else owners[maybe]
            is_train = rows.ranks[of] == 0
            self._note(rows, of[is_train], held_out[found[is_train]], ranks[found[is_train]])

    def _held_out(self, begin: int, end: int) -> tuple[Ints, NDArray[np.uint8]]:
        """Keys of what the users at these places have only outside train, ascending, and where."""
        log = self.log
        keys, ranks = log.key(log.users[begin:end], log.items[begin:end]), log.ranks[begin:end]
        is_held = ranks > 0 if log.is_late is None else (ranks > 0) | log.is_late[begin:end]
        held_out, first = np.unique(keys[is_held], return_index=True)
        is_alone = ~np.isin(held_out, keys[~is_held])
        return held_out[is_alone], ranks[is_held][first][is_alone]

    def _hash(self, keys: Ints) -> NDArray[np.uint64]:
        return (keys.view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - self._BITS)

    def _note(self, rows: _Rows, at: Ints, keys: Ints, ranks: NDArray[np.uint8]) -> None:
        self.violations += len(at)
        if len(at) and sum(table.height for table in self.first) < 5:
            items = pl.Series("item_id", keys[:5] & (2**31 - 1))
            where = pl.Series("held_out_in", [_HELD[rank] for rank in ranks[:5]])
            self.first.append(rows.table[at[:5]].select("row_id", "user_id").with_columns(items, where))

    def finding(self) -> Finding:
        """Of all rows taken."""
        return Finding(
            "Train rows must show no item that the user has in validation or test alone",
            self.checked,
            self.violations,
            pl.concat(self.first).head(5) if self.first else pl.DataFrame(),
            "Build the histories again from the train split alone.",
        )


_HELD = ("train, at or after the start of validation", "validation", "test")


def _load(interactions: Table, train_until: datetime | None) -> _Log:
    frame = interactions.lazy()
    rank = pl.col("split").replace_strict(_RANK, return_dtype=pl.UInt8)
    table = frame.select(pl.col("user_id", "item_id").cast(pl.Int32), rank).collect(engine="streaming")
    users = table["user_id"].to_numpy()
    is_late = None
    if train_until is not None:
        is_late = frame.select(pl.col("at") >= train_until).collect(engine="streaming")["at"].to_numpy()
    starts = np.searchsorted(users, np.arange(int(users.max(initial=-1)) + 2))
    return _Log(users, table["item_id"].to_numpy(), table["split"].to_numpy(), is_late, starts)


def _parts(histories: Table) -> Iterator[_Rows]:
    frame = histories.lazy().select("row_id", "user_id", "split", "history", "target")
    for table in frame.collect_batches(chunk_size=_ROWS, maintain_order=True):
        items, offsets = laid_out(table["history"])
        yield _Rows(
            table,
            table["row_id"].to_numpy(),
            table["user_id"].to_numpy(),
            table["split"].replace_strict(_RANK, return_dtype=pl.UInt8).to_numpy(),
            table["target"].to_numpy(),
            items,
            np.diff(offsets),
            offsets,
        )
