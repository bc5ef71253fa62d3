"""Reads the Parquet tables that the commands need into flat numpy arrays, and refuses a bad value with its row.

Every reader checks what it returns against the catalogue and against the rows it is read for. What is written is in
`writers.py`.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Int

from training.io.ragged import Ragged
from training.io.rows import PreferenceRows, Rows


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


def read_preference_rows(path: Path, train: Rows, n_items: int) -> PreferenceRows:
    """The table `preference_rows`. An item that is rejected twice in a row counts once: it would weigh double.

    Raises:
        ValueError: a row that is not a train row or occurs twice, a chosen item that is not its target, a rejected item
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
