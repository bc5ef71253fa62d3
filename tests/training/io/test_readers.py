"""Tables are read whole or refused, with the row named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.io.ragged import Ragged
from training.io.readers import (
    read_candidate_sets,
    read_n_items,
    read_preference_rows,
    read_reference_logps,
    read_rows,
    read_touched,
)


def spoil(path: Path, column: str, change: Callable[[list[Any]], None]) -> None:
    table = pq.read_table(path)
    values = table[column].to_pylist()
    change(values)
    at = table.schema.names.index(column)
    pq.write_table(table.set_column(at, column, pa.array(values, table.schema.field(column).type)), path)


def test_lists_are_taken_cut_and_joined() -> None:
    lists = Ragged.of([[1, 2, 3], [], [4]])
    assert lists.take(np.array([2, 0])).padded(-1).tolist() == [[4, -1, -1], [1, 2, 3]]
    assert lists.last(2).padded(-1).tolist() == [[2, 3], [-1, -1], [4, -1]]
    assert Ragged.joined([lists, Ragged.of([[5]])]).lengths.tolist() == [3, 0, 1, 1]
    assert len(Ragged.joined([])) == 0


def test_rows_come_back_as_they_were_written(tables: Any) -> None:
    for split in ("train", "validation", "test"):
        rows, written = read_rows(tables.histories, split, tables.n_items), tables.rows(split)
        assert rows.row_id.tolist() == [row["row_id"] for row in written]
        assert [rows.history[row].tolist() for row in range(len(rows))] == [row["history"] for row in written]
        assert rows.target.tolist() == [row["target"] for row in written]


def test_a_table_of_several_files_and_chunks_reads_the_same(tables: Any, tmp_path: Path) -> None:
    whole = read_rows(tables.histories, "train", tables.n_items)
    table = pq.read_table(tables.histories)
    pq.write_table(table.slice(3), tmp_path / "chunked.parquet", row_group_size=7)
    chunked = read_rows(tmp_path / "chunked.parquet", "train", tables.n_items)
    assert np.array_equal(chunked.history.values, whole.history.take(np.arange(3, len(whole))).values)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("history", [], "must hold at least one item; 1 break this, the first in row 4"),
        ("history", [0, 30], r"must be 0 \.\. 29; 1 break this, the first in row 4"),
        ("target", -1, r"must be 0 \.\. 29; 1 break this, the first in row 4"),
        ("row_id", 3, "row_id .* must be unique"),
        ("target", None, "must be integers without nulls"),
        ("history", None, "must be lists of integers without nulls"),
    ],
)
def test_a_row_that_breaks_the_contract_is_named(tables: Any, column: str, value: Any, message: str) -> None:
    def change(values: list[Any]) -> None:
        values[4] = value

    spoil(tables.histories, column, change)
    with pytest.raises(ValueError, match=message):
        read_rows(tables.histories, "train", tables.n_items)


def test_item_ids_must_be_dense(tables: Any) -> None:
    assert read_n_items(tables.items) == 30
    spoil(tables.items, "item_id", lambda values: values.__setitem__(3, 77))
    with pytest.raises(ValueError, match=r"must be 0 \.\. n-1, each once"):
        read_n_items(tables.items)


def test_touched_items_are_those_of_train_alone(tables: Any) -> None:
    touched = read_touched(tables.interactions, 40, 30)
    wanted: dict[int, set[int]] = {user: set() for user in range(40)}
    for row in pq.read_table(tables.interactions).to_pylist():
        if row["split"] == "train":
            wanted[row["user_id"]].add(row["item_id"])
    assert {user: set(touched[user].tolist()) for user in range(40)} == wanted


def preference_rows(tables: Any, folder: Path, **changes: Any) -> Path:
    train = tables.rows("train")[:5]
    columns = {
        "row_id": [row["row_id"] for row in train],
        "chosen": [row["target"] for row in train],
        "rejected": [[1, *[item for item in range(2, 30) if item != row["target"]][:2]] for row in train],
    }
    for column, value in changes.items():
        columns[column][2] = [*columns[column][2][:2], value] if column == "rejected" else value
    types = {"row_id": pa.int32(), "chosen": pa.int32(), "rejected": pa.list_(pa.int32())}
    path = folder / "preference_rows.parquet"
    pq.write_table(pa.table({name: pa.array(values, types[name]) for name, values in columns.items()}), path)
    return path


def test_preference_rows_find_their_train_rows(tables: Any, tmp_path: Path) -> None:
    rows = read_rows(tables.histories, "train", 30)
    found = read_preference_rows(preference_rows(tables, tmp_path), rows, 30)
    assert found.row.tolist() == [0, 1, 2, 3, 4]
    assert np.array_equal(rows.target[found.row], found.chosen)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("row_id", 100_000, "must be a train row of `histories`; 1 break this, the first in row 100000"),
        ("row_id", 0, "must be unique"),
        ("chosen", 29, "must be the target of its row; 1 break this, the first in row 2"),
        ("rejected", 30, r"must be 0 \.\. 29"),
    ],
)
def test_a_preference_row_that_breaks_the_contract_is_named(
    tables: Any, tmp_path: Path, column: str, value: int, message: str
) -> None:
    rows = read_rows(tables.histories, "train", 30)
    assert 29 not in rows.target[:5]
    assert 1 not in rows.target[:5]
    with pytest.raises(ValueError, match=message):
        read_preference_rows(preference_rows(tables, tmp_path, **{column: value}), rows, 30)


def test_a_chosen_item_among_the_rejected_is_refused(tables: Any, tmp_path: Path) -> None:
    rows = read_rows(tables.histories, "train", 30)
    path = preference_rows(tables, tmp_path, rejected=int(rows.target[2]))
    with pytest.raises(ValueError, match="must differ from the chosen one; 1 break this, the first in row 2"):
        read_preference_rows(path, rows, 30)


def test_an_item_rejected_twice_in_a_row_counts_once(tables: Any, tmp_path: Path) -> None:
    rows = read_rows(tables.histories, "train", 30)
    whole = read_preference_rows(preference_rows(tables, tmp_path), rows, 30)
    found = read_preference_rows(preference_rows(tables, tmp_path, rejected=1), rows, 30)
    assert (whole.n_duplicates, found.n_duplicates) == (0, 1)
    assert found.rejected[2].tolist() == whole.rejected[2].tolist()[:2]
    assert [found.rejected[k].tolist() for k in (0, 1, 3, 4)] == [whole.rejected[k].tolist() for k in (0, 1, 3, 4)]


def reference_logps(folder: Path, rows: list[tuple[int, int, float]]) -> Path:
    row_id, item_id, logp = zip(*rows, strict=True)
    path = folder / "reference_logps.parquet"
    table = {"row_id": pa.array(row_id, pa.int32()), "item_id": pa.array(item_id, pa.int32())}
    pq.write_table(pa.table({**table, "logp": pa.array(logp, pa.float32())}), path)
    return path


def test_reference_logps_are_joined_by_row_and_item(tmp_path: Path) -> None:
    path = reference_logps(tmp_path, [(7, 1, -1.0), (2, 1, -2.0), (7, 0, -3.0)])
    assert read_reference_logps(path, np.array([2, 7, 7]), np.array([1, 0, 1])).tolist() == [-2.0, -3.0, -1.0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(7, 1, -1.0)], "got 1 of 2 pairs: 1 are missing .* the first is item 1 of row 2"),
        ([(7, 1, -1.0), (2, 1, -1.0), (2, 1, -1.0)], "must be unique"),
        ([(7, 1, -1.0), (2, 1, -np.inf)], "must be finite"),
    ],
)
def test_reference_logps_that_are_incomplete_are_refused(tmp_path: Path, rows: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_reference_logps(reference_logps(tmp_path, rows), np.array([7, 2]), np.array([1, 1]))


def test_candidate_sets_must_cover_every_row_and_hold_the_target_once(tables: Any) -> None:
    rows = read_rows(tables.histories, "test", 30)
    candidates = read_candidate_sets(tables.candidate_sets, rows, 30)
    assert all(target in candidates[row] for row, target in enumerate(rows.target))
    spoil(tables.candidate_sets, "candidates", lambda values: values.__setitem__(-1, [int(rows.target[-1])] * 2))
    with pytest.raises(
        ValueError, match=f"hold the row's target once; 1 break this, the first in row {rows.row_id[-1]}"
    ):
        read_candidate_sets(tables.candidate_sets, rows, 30)
    pq.write_table(pq.read_table(tables.candidate_sets).slice(0, 3), tables.candidate_sets)
    with pytest.raises(ValueError, match="must each have a candidate set"):
        read_candidate_sets(tables.candidate_sets, rows, 30)
