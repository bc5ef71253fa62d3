"""Which version a rollback goes back to: the one that served before, further back each time."""

from typing import Any

import pytest

from assets.registry.history import served_before


def history(*champions: str) -> list[dict[str, Any]]:
    """Of champions in turn; one with a `<` before it was rolled back to."""
    entries: list[dict[str, Any]] = []
    previous = None
    for text in champions:
        outcome, champion = ("rolled back" if text.startswith("<") else "promoted"), text.removeprefix("<")
        entries.append({"outcome": outcome, "champion": champion, "previous": previous})
        previous = champion
    return entries


@pytest.mark.parametrize(
    ("champions", "before"),
    [
        ("", None),
        ("1", None),
        ("1 2", "1"),
        ("1 2 2 2", "1"),
        ("1 2 3", "2"),
        ("1 2 3 <2", "1"),
        ("1 2 3 <2 <1", None),
        ("2 1 2 3 <2", "1"),
        ("2 1 2 3 <2 <1", "2"),
        ("1 2 3 <2 4", "2"),
        ("1 2 3 <2 4 <2", "1"),
        ("1 2 1", "2"),
    ],
)
def test_each_rollback_goes_further_back(champions: str, before: str | None) -> None:
    entries = history(*champions.split())
    now = entries[-1]["champion"] if entries else None
    assert served_before(now, entries) == before


def test_who_was_made_champion_in_the_registry_itself_is_rolled_back_too() -> None:
    assert served_before("3", history("1", "2")) == "2"
    assert served_before("3", []) is None
    by_hand = [*history("1", "2"), {"outcome": "overridden", "champion": "4", "previous": "3"}]
    assert served_before("4", by_hand) == "3"
