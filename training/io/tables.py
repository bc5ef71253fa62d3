"""The Parquet tables that the commands read and write, as flat numpy arrays; a bad value is refused, its row named."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Int

from contracts.draws import random_bits

Int32Array = Int[np.ndarray, " _"]


@dataclass(frozen=True)
class Ragged:
    """Lists of different lengths: list k is `values[offsets[k] : offsets[k + 1]]`."""

    values: Int32Array
    offsets: Int[np.ndarray, " k+1"]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, k: int) -> Int32Array:
        return self.values[self.offsets[k] : self.offsets[k + 1]]

    @property
    def lengths(self) -> Int[np.ndarray, " k"]:
        """Number of values in each list."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> Int[np.ndarray, " _"]:
        """For each value, the list it stands in."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @classmethod
    def of(cls, lists: Sequence[Sequence[int]]) -> "Ragged":
        """From Python lists.

        >>> Ragged.of([[1, 2], [], [3]]).offsets
        array([0, 2, 2, 3])
        """
        values = np.array([value for row in lists for value in row], dtype=np.int32)
        return cls(values, np.concatenate([[0], np.cumsum([len(row) for row in lists])]).astype(np.int64))

    @classmethod
    def joined(cls, parts: "Sequence[Ragged]") -> "Ragged":
        """The lists of all parts, one after the other."""
        lengths = np.concatenate([np.zeros(1, dtype=np.int64), *[part.lengths for part in parts]])
        return cls(np.concatenate([np.zeros(0, dtype=np.int32), *[part.values for part in parts]]), np.cumsum(lengths))

    def take(self, lists: Int[np.ndarray, " m"]) -> "Ragged":
        """The named lists, in that order."""
        lengths = self.offsets[1:][lists] - self.offsets[:-1][lists]  # of few among millions: not those of all
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
        return Ragged(self.values[np.repeat(self.offsets[lists], lengths) + within], offsets)

    def preceded(self, values: Int[np.ndarray, " n"]) -> "Ragged":
        """Each list with the same values before it.

        >>> Ragged.of([[1, 2], [3]]).preceded(np.array([7])).values
        array([7, 1, 2, 7, 3], dtype=int32)
        """
        n = len(values)
        joined = np.insert(self.values, np.repeat(self.offsets[:-1], n), np.tile(values, len(self)))
        return Ragged(joined, self.offsets + n * np.arange(len(self.offsets)))

    def followed(self, values: Int[np.ndarray, " n"]) -> "Ragged":
        """Each list with the same values behind it.

        >>> Ragged.of([[1, 2], [3]]).followed(np.array([7])).values
        array([1, 2, 7, 3, 7], dtype=int32)
        """
        n = len(values)
        joined = np.insert(self.values, np.repeat(self.offsets[1:], n), np.tile(values, len(self)))
        return Ragged(joined, self.offsets + n * np.arange(len(self.offsets)))

    def beside(self, others: "Ragged") -> "Ragged":
        """Each list, then the other one of the same place behind it.

        >>> Ragged.of([[1, 2], [3]]).beside(Ragged.of([[4], []])).padded(-1)
        array([[ 1,  2,  4],
               [ 3, -1, -1]])
        """
        pairs = Ragged.joined([self, others]).take(np.arange(2 * len(self)).reshape(2, -1).T.reshape(-1))
        return Ragged(pairs.values, pairs.offsets[::2])

    def last(self, n: "int | Int[np.ndarray, ' k']") -> "Ragged":
        """The last n values of each list, or all of a shorter one."""
        keep = np.minimum(self.lengths, n)
        offsets = np.concatenate([[0], np.cumsum(keep)]).astype(np.int64)
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], keep)
        return Ragged(self.values[np.repeat(self.offsets[1:] - keep, keep) + within], offsets)

    def distinct(self) -> "Ragged":
        """Each list without the values that stood in it before.

        >>> Ragged.of([[2, 1, 2], [2]]).distinct().values
        array([2, 1, 2], dtype=int32)
        """
        owners = self.owners
        order = np.lexsort((self.values, owners))  # stable: of equal values the first stays first
        repeats = (np.diff(owners[order]) == 0) & (np.diff(self.values[order]) == 0)
        is_kept = np.ones(len(self.values), dtype=bool)
        is_kept[order[1:][repeats]] = False
        lengths = np.bincount(owners[is_kept], minlength=len(self))
        return Ragged(self.values[is_kept], np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))

    def padded(self, fill: int, width: int | None = None) -> Int[np.ndarray, "k w"]:
        """Lists as rows of one array, `fill` behind each.

        >>> Ragged.of([[1, 2], [3]]).padded(-1)
        array([[ 1,  2],
               [ 3, -1]])
        """
        lengths = self.lengths
        table = np.full((len(self), int(lengths.max(initial=0)) if width is None else width), fill, dtype=np.int64)
        owners = self.owners
        table[owners, np.arange(len(self.values)) - self.offsets[owners]] = self.values
        return table


@dataclass(frozen=True)
class Rows:
    """(history, target) pairs: rows of the table `histories`, in its order."""

    row_id: Int[np.ndarray, " r"]
    user_id: Int[np.ndarray, " r"]
    history: Ragged
    """Item ids, oldest first, at least one."""
    target: Int[np.ndarray, " r"]
    candidates: Ragged | None = None
    """What each prompt lists, in that order, the target among it; none, where a prompt is a history alone."""

    def __len__(self) -> int:
        return len(self.row_id)

    def take(self, rows: Int[np.ndarray, " m"]) -> "Rows":
        """The named rows, in that order."""
        candidates = None if self.candidates is None else self.candidates.take(rows)
        return Rows(self.row_id[rows], self.user_id[rows], self.history.take(rows), self.target[rows], candidates)


def sampled_rows(rows: Rows, n: int | None) -> Rows:
    """At most n of the rows, in their order; always the same, a smaller sample among those of a larger one."""
    if n is None or n >= len(rows):
        return rows
    order = np.argsort(random_bits(0, "validation rows", rows.row_id), kind="stable")
    return rows.take(np.sort(order[:n]))


def joined_rows(parts: Sequence[Rows]) -> Rows:
    """The rows of all parts, one after the other."""
    listed = [part.candidates for part in parts if part.candidates is not None]
    return Rows(
        np.concatenate([part.row_id for part in parts]),
        np.concatenate([part.user_id for part in parts]),
        Ragged.joined([part.history for part in parts]),
        np.concatenate([part.target for part in parts]),
        Ragged.joined(listed) if listed else None,
    )


def read_texts(path: Path, column: str) -> list[str]:
    """A column of the table `items`, in the order of item_id."""
    table = pq.read_table(path, columns=["item_id", column]).sort_by("item_id")
    return [str(text) for text in table[column].to_pylist()]


def read_n_items(path: Path) -> int:
    """Size of the catalogue: the table `items` must hold each id 0 .. n-1 once."""
    item_id = _integers(pq.read_table(path, columns=["item_id"]), "item_id", path)
    if len(item_id) == 0 or not np.array_equal(np.sort(item_id), np.arange(len(item_id))):
        raise ValueError(f"item_id in {path} must be 0 .. n-1, each once. Rebuild the table `items`.")
    return len(item_id)


def read_rows(path: Path, split: str, n_items: int) -> Rows:
    """The rows of one split; those of every other split are dropped as the file is read.

    Raises:
        ValueError: an id outside the catalogue, an empty history, or a row that occurs twice.
    """
    columns = ["row_id", "user_id", "history", "target"]
    table = pq.read_table(path, columns=columns, filters=[("split", "=", split)])
    row_id = _integers(table, "row_id", path)
    rows = Rows(
        row_id, _integers(table, "user_id", path), _lists(table, "history", path), _integers(table, "target", path)
    )
    where = f"of a {split} row in {path}"
    if len(np.unique(row_id)) != len(row_id):
        raise ValueError(f"row_id {where} must be unique. Rebuild the table `histories`.")
    _refuse(rows.history.lengths == 0, row_id, f"history {where} must hold at least one item")
    history = rows.history
    _refuse(
        _outside(history.values, n_items),
        row_id[history.owners],
        f"items in the history {where} must be 0 .. {n_items - 1}",
    )
    _refuse(_outside(rows.target, n_items), row_id, f"target {where} must be 0 .. {n_items - 1}")
    return rows


def read_popularity(path: Path, n_items: int) -> Int[np.ndarray, " i"]:
    """Train interactions of each item; other splits are not read."""
    table = pq.read_table(path, columns=["item_id"], filters=[("split", "=", "train")])
    return np.bincount(_catalogue_items(table, path, n_items), minlength=n_items)


def read_touched(path: Path, n_users: int, n_items: int) -> Ragged:
    """For each user_id, the items in the user's train interactions, sorted; other splits are not read."""
    table = pq.read_table(path, columns=["user_id", "item_id"], filters=[("split", "=", "train")])
    user_id, item_id = _integers(table, "user_id", path), _catalogue_items(table, path, n_items)
    n_users = max(n_users, int(user_id.max(initial=-1)) + 1)
    pairs = np.unique(user_id.astype(np.int64) * n_items + item_id)
    counts = np.bincount(pairs // n_items, minlength=n_users)
    return Ragged((pairs % n_items).astype(np.int32), np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))


@dataclass(frozen=True)
class PreferenceRows:
    """The table `preference_rows`, found again in the train rows it was made from."""

    row: Int[np.ndarray, " p"]
    """Index into the train rows."""
    chosen: Int[np.ndarray, " p"]
    rejected: Ragged
    """Distinct within a row."""
    n_duplicates: int
    """Rejected items that the table held more than once in a row, and that were dropped."""


def read_preference_rows(path: Path, train: Rows, n_items: int) -> PreferenceRows:
    """The table `preference_rows`. An item that is rejected twice in a row counts once: it would weigh double.

    Raises:
        ValueError: a row that is no train row or occurs twice, a chosen item that is not its target, a rejected item
            that is the chosen one.
    """
    table = pq.read_table(path, columns=["row_id", "chosen", "rejected"])
    row_id, chosen = _integers(table, "row_id", path), _integers(table, "chosen", path)
    rejected = _lists(table, "rejected", path)
    row = positions_in(train.row_id, row_id)
    _refuse(row < 0, row_id, f"row_id in {path} must be a train row of `histories`")
    if len(np.unique(row_id)) != len(row_id):
        raise ValueError(f"row_id in {path} must be unique. Rebuild the table `preference_rows`.")
    _refuse(chosen != train.target[row], row_id, f"chosen in {path} must be the target of its row")
    owners, values = rejected.owners, rejected.values
    _refuse(_outside(values, n_items), row_id[owners], f"rejected items in {path} must be 0 .. {n_items - 1}")
    _refuse(values == chosen[owners], row_id[owners], f"rejected items in {path} must differ from the chosen one")
    distinct = rejected.distinct()
    return PreferenceRows(row, chosen, distinct, len(values) - len(distinct.values))


def read_reference_logps(path: Path, row_id: Int[np.ndarray, " m"], item_id: Int[np.ndarray, " m"]) -> np.ndarray:
    """Reference log-probabilities (nats, float32) of the given (row_id, item_id) pairs.

    Raises:
        ValueError: a pair that the table lacks, holds twice, or holds without a finite value.
    """
    table = pq.read_table(path, columns=["row_id", "item_id", "logp"])
    stored = _pairs(_integers(table, "row_id", path), _integers(table, "item_id", path))
    logp = table["logp"].to_numpy().astype(np.float32)
    order = np.argsort(stored, kind="stable")
    stored, logp = stored[order], logp[order]
    if len(stored) and (np.diff(stored) == 0).any():
        raise ValueError(f"(row_id, item_id) in {path} must be unique. Compute the reference log-probabilities again.")
    wanted = _pairs(row_id, item_id)
    at = np.minimum(np.searchsorted(stored, wanted), max(len(stored) - 1, 0))
    is_covered = stored[at] == wanted if len(stored) else np.zeros(len(wanted), dtype=bool)
    if not is_covered.all():
        missing = int((~is_covered).sum())
        row, item = row_id[~is_covered][0], item_id[~is_covered][0]
        raise ValueError(
            f"reference_logps must cover every chosen and rejected item, got {len(wanted) - missing} of {len(wanted)} "
            f"pairs: {missing} are missing from {path}, the first is item {item} of row {row}. "
            "Compute the reference log-probabilities of these preference rows."
        )
    _refuse(~np.isfinite(logp[at]), row_id, f"logp in {path} must be finite")
    return logp[at]


def read_candidate_sets(path: Path, rows: Rows, n_items: int) -> Ragged:
    """The candidate set of each row.

    Raises:
        ValueError: a row without one, or one that does not hold the row's target once.
    """
    table = pq.read_table(path, columns=["row_id", "candidates"])
    stored, lists = _integers(table, "row_id", path), _lists(table, "candidates", path)
    at = positions_in(stored, rows.row_id)
    _refuse(at < 0, rows.row_id, f"validation and test rows must each have a candidate set in {path}")
    candidates = lists.take(at)
    owners, values = candidates.owners, candidates.values
    _refuse(_outside(values, n_items), rows.row_id[owners], f"candidates in {path} must be 0 .. {n_items - 1}")
    held = np.bincount(owners[values == rows.target[owners]], minlength=len(rows))
    _refuse(held != 1, rows.row_id, f"candidates in {path} must hold the row's target once")
    return candidates


def read_lists(path: Path, column: str, n_items: int) -> Ragged:
    """All lists of items in a column, in the order of the file.

    Raises:
        ValueError: an item outside the catalogue.
    """
    table = pq.read_table(path, columns=["row_id", column])
    lists, row_id = _lists(table, column, path), _integers(table, "row_id", path)
    _refuse(_outside(lists.values, n_items), row_id[lists.owners], f"{column} in {path} must be 0 .. {n_items - 1}")
    return lists


def positions_in(values: Int[np.ndarray, " n"], wanted: Int[np.ndarray, " m"]) -> Int[np.ndarray, " m"]:
    """Index in `values` of each wanted value, -1 where it is absent.

    >>> positions_in(np.array([7, 3, 5]), np.array([5, 4, 7]))
    array([ 2, -1,  0])
    """
    if len(values) == 0:
        return np.full(len(wanted), -1)
    order = np.argsort(values, kind="stable")
    at = order[np.minimum(np.searchsorted(values, wanted, sorter=order), len(values) - 1)]
    return np.where(values[at] == wanted, at, -1)


def list_array(offsets: Int[np.ndarray, " k+1"], values: np.ndarray) -> pa.ListArray:
    """Lists of different lengths as an Arrow column."""
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(values))


def publish(table: pa.Table, path: Path) -> None:
    """Writes the table beside `path`, then renames it: a reader finds all of it or nothing."""
    staging = staging_path(path)
    pq.write_table(table, staging)
    publish_file(staging, path)


def staging_path(path: Path) -> Path:
    """Where a file is written before it gets its name."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def publish_file(staging: Path, path: Path) -> None:
    """Gives a finished file its name, after its bytes have reached the disk."""
    flush(staging)
    staging.rename(path)
    flush(path.parent)


def flush(path: Path) -> None:
    """Waits until a file, or the names in a folder, have reached the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _integers(table: pa.Table, name: str, path: Path) -> np.ndarray:
    column = table[name]
    if not pa.types.is_integer(column.type) or column.null_count:
        raise ValueError(
            f"{name} in {path} must be integers without nulls, got {column.type} with {column.null_count} nulls. "
            "Rebuild that table."
        )
    return column.to_numpy()


def _catalogue_items(table: pa.Table, path: Path, n_items: int) -> np.ndarray:
    item_id = _integers(table, "item_id", path)
    if _outside(item_id, n_items).any():
        raise ValueError(f"item_id in {path} must be 0 .. {n_items - 1}. Rebuild `interactions` and `items` together.")
    return item_id


def _lists(table: pa.Table, name: str, path: Path) -> Ragged:
    chunks, kind = table[name].chunks, table.schema.field(name).type
    column = pa.concat_arrays(chunks) if chunks else pa.array([], kind)
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)) or not pa.types.is_integer(kind.value_type):
        raise ValueError(f"{name} in {path} must be lists of integers, got {kind}. Rebuild that table.")
    values, offsets = column.flatten(), column.offsets.to_numpy().astype(np.int64)
    if column.null_count or values.null_count:
        raise ValueError(f"{name} in {path} must be lists of integers without nulls, got nulls. Rebuild that table.")
    return Ragged(values.to_numpy(), offsets - offsets[0])


def _pairs(row_id: np.ndarray, item_id: np.ndarray) -> Int[np.ndarray, " m"]:
    return (row_id.astype(np.int64) << 32) | item_id.astype(np.int64)


def _outside(item_id: np.ndarray, n_items: int) -> Bool[np.ndarray, " _"]:
    return (item_id < 0) | (item_id >= n_items)


def _refuse(is_bad: Bool[np.ndarray, " _"], row_id: np.ndarray, rule: str) -> None:
    if is_bad.any():
        raise ValueError(
            f"{rule}; {int(is_bad.sum())} break this, the first in row {row_id[is_bad.argmax()]}. Rebuild that table."
        )
