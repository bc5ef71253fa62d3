"""Rows that share a forward pass are found in the table itself."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from training.engine.windows import cut, find_windows, lay_out, plan_steps
from training.io.ragged import Ragged
from training.io.readers import read_rows
from training.io.rows import Rows
from training.representations.items import ItemVocabulary


def rows_of(*rows: tuple[int, list[int], int]) -> Rows:
    return Rows(
        np.arange(len(rows)),
        np.array([user for user, _, _ in rows]),
        Ragged.of([history for _, history, _ in rows]),
        np.array([target for _, _, target in rows]),
    )


def members(rows: Rows) -> list[list[int]]:
    windows = find_windows(rows)
    return [windows.members[window].tolist() for window in range(len(windows))]


def test_rows_whose_history_grows_by_the_previous_target_share_a_window() -> None:
    assert members(rows_of((0, [1], 2), (0, [1, 2], 3), (0, [1, 2, 3], 4))) == [[0, 1, 2]]


def test_a_window_ends_with_its_user() -> None:
    assert members(rows_of((0, [1], 2), (1, [1, 2], 3))) == [[0], [1]]


def test_a_history_that_adds_another_item_than_the_target_starts_a_window() -> None:
    assert members(rows_of((0, [1], 2), (0, [1, 5], 3))) == [[0], [1]]


def test_a_history_that_differs_further_back_starts_a_window() -> None:
    assert members(rows_of((0, [1, 7], 2), (0, [9, 7, 2], 3), (0, [9, 7, 2, 3], 4))) == [[0], [1, 2]]


def test_a_history_that_slides_starts_a_window() -> None:
    assert members(rows_of((0, [1, 2], 3), (0, [2, 3], 4))) == [[0], [1]]


def test_no_rows_make_no_windows() -> None:
    assert members(rows_of()) == []


def test_each_row_is_in_one_window_and_its_history_begins_the_trunk(
    simulate: Callable[..., Any], tmp_path: Any
) -> None:
    tables = simulate(tmp_path, users=60, mean_length=14)
    rows = read_rows(tables.histories, "train", tables.n_items)
    windows = find_windows(rows)
    assert np.array_equal(np.sort(windows.members.values), np.arange(len(rows)))
    assert len(windows) < len(rows) / 3
    for window in range(len(windows)):
        trunk = rows.history[windows.trunk_row[window]].tolist()
        for row in windows.members[window]:
            assert rows.history[row].tolist() == trunk[: len(rows.history[row])]


def test_keeping_some_rows_shortens_trunks_and_drops_empty_windows() -> None:
    rows = rows_of((0, [1], 2), (0, [1, 2], 3), (0, [1, 2, 3], 4), (1, [5], 6))
    kept = find_windows(rows).keep(np.array([True, True, False, False]))
    assert [kept.members[window].tolist() for window in range(len(kept))] == [[0, 1]]
    assert kept.trunk_row.tolist() == [1]


def test_tokens_are_laid_out_without_padding_and_rows_know_their_prompt() -> None:
    rows = rows_of((0, [1], 2), (0, [1, 2], 3), (1, [4], 0))
    trunks = lay_out(find_windows(rows), np.array([1, 0]), ItemVocabulary(5))
    assert trunks.tokens.tolist() == [5, 4, 5, 1, 2]
    assert trunks.offsets.tolist() == [0, 2, 5]
    assert trunks.row.tolist() == [2, 0, 1]
    assert trunks.window.tolist() == [0, 1, 1]
    assert trunks.prompt_tokens.tolist() == [2, 2, 3]


def test_an_epoch_takes_every_window_once_and_no_step_is_small(simulate: Callable[..., Any], tmp_path: Any) -> None:
    tables = simulate(tmp_path, users=60)
    windows = find_windows(read_rows(tables.histories, "train", tables.n_items))
    first, second = plan_steps(windows, batch_size=64, epochs=2, seed=0)
    for steps in (first, second):
        assert sorted(np.concatenate(steps).tolist()) == list(range(len(windows)))
        assert all(windows.members.lengths[step].sum() >= 64 for step in steps)
    assert not np.array_equal(np.concatenate(first), np.concatenate(second))


def test_the_order_of_windows_does_not_depend_on_which_others_exist(
    simulate: Callable[..., Any], tmp_path: Any
) -> None:
    tables = simulate(tmp_path, users=60)
    windows = find_windows(read_rows(tables.histories, "train", tables.n_items))
    half = windows.take(np.arange(0, len(windows), 2))
    order = np.concatenate(plan_steps(windows, batch_size=1, epochs=1, seed=3)[0])
    order_of_half = np.concatenate(plan_steps(half, batch_size=1, epochs=1, seed=3)[0])
    assert order[order % 2 == 0].tolist() == (2 * order_of_half).tolist()


def test_fewer_rows_than_a_batch_make_one_step() -> None:
    windows = find_windows(rows_of((0, [1], 2), (1, [1], 2)))
    assert [len(step) for step in plan_steps(windows, batch_size=100, epochs=1, seed=0)[0]] == [2]


def test_a_cut_keeps_every_window_once_within_its_limits(simulate: Callable[..., Any], tmp_path: Any) -> None:
    tables = simulate(tmp_path, users=60)
    windows = find_windows(read_rows(tables.histories, "train", tables.n_items))
    vocabulary = ItemVocabulary(tables.n_items)

    def targets(row: Any) -> Any:
        return windows.rows.target[row, None]

    parts = list(cut(windows, vocabulary, targets, max_tokens=50, max_rows=20))
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(windows)))
    for part in parts:
        trunks = lay_out(windows, part, vocabulary)
        assert len(trunks.tokens) <= 50
        assert len(trunks.row) <= 20
    alone = list(cut(windows, vocabulary, targets, max_tokens=1, max_rows=1))
    assert [len(part) for part in alone] == [1] * len(windows)


def test_windows_of_one_pass_have_similar_lengths_unless_it_is_small(
    simulate: Callable[..., Any], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = simulate(tmp_path, users=60)
    windows = find_windows(read_rows(tables.histories, "train", tables.n_items))
    tokens = windows.rows.history.lengths[windows.trunk_row] + 1

    def parts() -> list[np.ndarray]:
        def targets(row: Any) -> Any:
            return windows.rows.target[row, None]

        return list(cut(windows, ItemVocabulary(tables.n_items), targets, max_tokens=10_000, max_rows=10_000))

    assert len(parts()) == 1
    monkeypatch.setattr("training.engine.windows.SMALL_PASS", 0)
    assert len(parts()) > 1
    assert sorted(np.concatenate(parts()).tolist()) == list(range(len(windows)))
    assert all(2 * tokens[part].min() >= tokens[part].max() for part in parts())
