"""The duplicate-title probe."""

import polars as pl
import pytest

from evaluation.leakage import title_leakage


def catalogue(titles: list[str]) -> pl.DataFrame:
    return pl.DataFrame(
        {"item_id": range(len(titles)), "item": [f"i{n}" for n in range(len(titles))], "title": titles},
        schema_overrides={"item_id": pl.Int32},
    )


def touched(*times: int) -> pl.DataFrame:
    items = [item for item, n in enumerate(times) for _ in range(n)]
    return pl.DataFrame({"item_id": items}, schema={"item_id": pl.Int32})


def test_titles_of_their_own_pass() -> None:
    leakage = title_leakage(catalogue(["Heat", "Heat 2", "Chasing Amy"]), touched(1, 1, 1))
    assert leakage.passed
    assert leakage.ceiling == 1.0


@pytest.mark.parametrize("other", ["Heat", "HEAT", "  heat ", "Ｈeat"])
def test_titles_that_read_the_same_are_found(other: str) -> None:
    leakage = title_leakage(catalogue(["Heat", other, "Chasing Amy"]), touched(3, 1, 4))
    assert not leakage.passed
    assert leakage.ambiguous_items == 2
    assert leakage.ambiguous_interactions == 4 / 8
    assert leakage.ceiling == 1 - 1 / 8, "of the four with the title a reader finds the three of the commoner item"
    assert "'Heat' (items i0, i1)" in leakage.reasons[0]


def test_the_titles_that_matter_most_are_shown_and_row_order_changes_nothing() -> None:
    items = catalogue(["a", "a", "b", "b", "c", "c", "d", "d"])
    leakage = title_leakage(items, touched(1, 1, 9, 9, 5, 5, 2, 2))
    assert [example[:3] for example in leakage.examples] == ["'b'", "'c'", "'d'"]
    assert title_leakage(items.reverse(), touched(1, 1, 9, 9, 5, 5, 2, 2)) == leakage


def test_a_catalogue_that_nobody_touched_is_no_error() -> None:
    assert title_leakage(catalogue(["a", "a"]), touched()).ceiling == 1.0
