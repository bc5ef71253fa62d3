"""What changed between two mining rounds, on tables small enough to count by hand."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.transforms import rounds
from assets.transforms.rounds import compare_rounds

SCHEMA = {"row_id": pl.Int32, "item_id": pl.Int32, "miner": pl.String, "margin": pl.Float32, "on_boundary": pl.Boolean}


def pool(*negatives: tuple[int, int, str, float, bool]) -> pl.DataFrame:
    return pl.DataFrame(negatives, schema=SCHEMA, orient="row")


BEFORE = pool(
    (0, 1, "hardest", -1.0, True),
    (0, 2, "hardest", 2.0, False),
    (0, 2, "popularity", 2.0, False),
    (0, 9, "uniform", 8.0, False),
    (1, 1, "hardest", 1.0, True),
    (1, 3, "hardest", 3.0, True),
)
AFTER = pool(
    (0, 1, "hardest", 0.0, True),
    (0, 4, "hardest", 1.0, True),
    (0, 9, "uniform", 8.0, False),
    (1, 3, "hardest", 4.0, False),
    (1, 2, "hardest", 5.0, True),
    (1, 2, "popularity", 5.0, True),
)


def test_hard_negatives_and_the_boundary_are_followed_row_by_row() -> None:
    found = compare_rounds(BEFORE, AFTER)
    assert found.hard_kept == 2 / 4  # item 1 of row 0, item 3 of row 1; item 1 of row 1 is hard no more
    assert found.boundary_stayed == 1  # item 1 of row 0
    assert found.boundary_left == 2  # items 1 and 3 of row 1
    assert found.boundary_entered == 2  # item 4 of row 0; item 2 of row 1, which two miners found, once
    assert (found.margin_median_before, found.margin_median_after) == (1.5, 2.5)
    assert (found.violation_share_before, found.violation_share_after) == (0.25, 0.25)


def test_both_histograms_have_the_same_bins_and_hold_all_hard_negatives() -> None:
    found = compare_rounds(BEFORE, AFTER)
    assert (np.diff(found.edges) > 0).all()
    assert found.shares_before.sum() == pytest.approx(1)
    assert found.shares_after.sum() == pytest.approx(1)
    assert found.shares_before[0] == 0.25  # -1, the lowest of both rounds
    assert found.shares_after[-1] == 0.25  # 5, the highest


def test_rounds_that_are_read_in_parts_compare_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = compare_rounds(BEFORE, AFTER)
    BEFORE.write_parquet(tmp_path / "before.parquet")
    AFTER.reverse().write_parquet(tmp_path / "after.parquet")
    monkeypatch.setattr(rounds, "ROWS", 2)
    found = compare_rounds(*(pl.scan_parquet(tmp_path / f"{name}.parquet") for name in ("before", "after")))
    np.testing.assert_equal(vars(found), vars(whole))


def test_rounds_without_hard_negatives_have_no_shares() -> None:
    uniform = pool((0, 9, "uniform", 8.0, True))
    found = compare_rounds(uniform, uniform)
    assert (found.hard_kept, found.boundary_stayed, found.margin_median_after) == (0, 1, 0)
    assert found.shares_before.sum() == 0


def test_equal_margins_have_a_histogram() -> None:
    same = pool((0, 1, "hardest", 2.0, True), (1, 1, "hardest", 2.0, True))
    assert compare_rounds(same, same).shares_after.sum() == pytest.approx(1)


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(
    tables=st.tuples(*[st.dictionaries(st.tuples(st.integers(0, 4), st.integers(0, 5)), st.booleans())] * 2),
    order=st.randoms(),
)
def test_a_round_compared_with_itself_keeps_all_and_turned_round_exchanges_what_came_and_went(
    tables: tuple[dict[tuple[int, int], bool], ...], order: object
) -> None:
    one, other = (
        pool(*((row, item, "hardest", row - item, on) for (row, item), on in table.items())) for table in tables
    )
    same = compare_rounds(one, one)
    assert same.hard_kept == (1.0 if one.height else 0.0)
    assert (same.boundary_entered, same.boundary_left) == (0, 0)
    there, back = compare_rounds(one, other), compare_rounds(other, one)
    assert (there.boundary_stayed, there.boundary_entered) == (back.boundary_stayed, back.boundary_left)
    assert there.boundary_stayed + there.boundary_left == int(one["on_boundary"].sum())
    shuffled = list(range(one.height))
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    again = compare_rounds(one[shuffled], other)
    assert (again.hard_kept, again.boundary_stayed) == (there.hard_kept, there.boundary_stayed)
    assert np.array_equal(again.shares_before, there.shares_before)
