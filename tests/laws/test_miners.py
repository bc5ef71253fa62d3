"""Laws of drawn negatives: what a row gets is its own, whoever is drawn for beside it, and never excluded."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.distinct import ABSENT
from training.negatives.drawn import Batches, draw_by_popularity, draw_in_batch, draw_uniform


@st.composite
def rows(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """is_excluded, which holds each row's target; row ids in any order; targets."""
    n_rows, n_items = draw(st.integers(1, 30)), draw(st.integers(1, 15))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    is_excluded = random.random((n_rows, n_items)) < draw(st.sampled_from([0.0, 0.2, 0.9]))
    target = random.integers(0, n_items, n_rows)
    is_excluded[np.arange(n_rows), target] = True
    return is_excluded, random.permutation(1000)[:n_rows], target


Draw = Callable[[np.ndarray, np.ndarray, int, int], np.ndarray]


def popular(is_excluded: np.ndarray, row_id: np.ndarray, n: int, seed: int) -> np.ndarray:
    return draw_by_popularity(is_excluded, row_id, n, seed, np.arange(is_excluded.shape[1]) ** 2)


@pytest.mark.parametrize("drawing", [draw_uniform, popular])
@given(table=rows(), n=st.integers(0, 18), seed=st.integers(0, 3), order=st.randoms())
def test_draws_are_distinct_allowed_complete_and_belong_to_the_row(
    drawing: Draw, table: tuple[np.ndarray, np.ndarray, np.ndarray], n: int, seed: int, order: object
) -> None:
    is_excluded, row_id, _ = table
    drawn = drawing(is_excluded, row_id, n, seed)
    may_be = ~is_excluded if drawing is draw_uniform else ~is_excluded & (np.arange(is_excluded.shape[1]) > 0)
    for row, items in enumerate(drawn.tolist()):
        found = [item for item in items if item != ABSENT]
        assert items[: len(found)] == found  # what is absent is absent at the end
        assert len(set(found)) == len(found) == min(n, may_be[row].sum())
        assert may_be[row, found].all()
    some = list(range(len(row_id)))
    order.shuffle(some)  # type: ignore[attr-defined]
    some = some[: len(some) // 2 + 1]
    assert np.array_equal(drawing(is_excluded[some], row_id[some], n, seed), drawn[some])


@given(table=rows(), n=st.integers(0, 18), size=st.integers(2, 12), seed=st.integers(0, 3), order=st.randoms())
def test_in_batch_draws_are_targets_of_others_and_do_not_depend_on_the_order_of_rows_or_parts(
    table: tuple[np.ndarray, np.ndarray, np.ndarray], n: int, size: int, seed: int, order: object
) -> None:
    is_excluded, row_id, target = table
    batches = Batches.of(row_id, target, size, seed)
    assert np.diff(batches.starts).max() <= size
    drawn = draw_in_batch(is_excluded, row_id, n, seed, batches)
    start, length = batches.spans(row_id)
    for row, items in enumerate(drawn.tolist()):
        members = slice(start[row], start[row] + length[row])
        assert row_id[row] in batches.row_id[members]
        others = batches.target[members][batches.row_id[members] != row_id[row]]
        allowed = {item for item in others.tolist() if not is_excluded[row, item]}
        found = [item for item in items if item != ABSENT]
        assert items[: len(found)] == found
        assert set(found) <= allowed
        assert len(set(found)) == len(found) == min(n, len(allowed))
    some = list(range(len(row_id)))
    order.shuffle(some)  # type: ignore[attr-defined]
    again = Batches.of(row_id[some], target[some], size, seed)
    part = some[: len(some) // 2 + 1]
    assert np.array_equal(draw_in_batch(is_excluded[part], row_id[part], n, seed, again), drawn[part])
