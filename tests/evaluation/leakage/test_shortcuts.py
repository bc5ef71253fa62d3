"""The shortcut report: rules that need no model, on logs whose answer is known."""

import numpy as np
import polars as pl
import pytest

from contracts.config.dataset import Candidates, Histories
from evaluation.leakage import ShortcutReport, shortcut_report
from evaluation.leakage.shortcuts import item_order, limit
from tests.assets.transforms.whole import build_histories, draw_candidates

N_ITEMS, N = 60, 5


def split_log(orders: list[list[int]]) -> pl.DataFrame:
    """A user's last item is test, the one before it validation."""
    splits = [split for order in orders for split in ["train"] * (len(order) - 2) + ["validation", "test"]]
    return pl.DataFrame(
        {
            "user_id": [user for user, order in enumerate(orders) for _ in order],
            "item_id": [item for order in orders for item in order],
            "split": splits,
        },
        schema={"user_id": pl.Int32, "item_id": pl.Int32, "split": pl.String},
    )


def report(orders: list[list[int]]) -> ShortcutReport:
    log = split_log(orders)
    rows = build_histories(log, Histories(max_length=20))
    lists = draw_candidates(rows, log, N_ITEMS, Candidates(n=N), seed=0)
    return shortcut_report(rows, lists, log, n_items=N_ITEMS)


def found(report: ShortcutReport, rule: str, split: str = "test") -> float:
    return next(s.hit_ratio_at_1 for s in report.scores if (s.rule, s.split) == (rule, split))


def baskets(users: int = 200) -> list[list[int]]:
    generator = np.random.default_rng(0)
    return [generator.choice(N_ITEMS, 12, replace=False).tolist() for _ in range(users)]


def test_where_there_is_no_order_every_rule_is_at_chance() -> None:
    shortcuts = report(baskets())
    assert shortcuts.passed, shortcuts.reasons
    assert shortcuts.metrics == ("hit_ratio_at_1_of_5", "recall_at_10_full")
    for score in shortcuts.scores:
        assert score.hit_ratio_at_1 == pytest.approx(1 / N, abs=0.12), score
        assert score.recall_at_10 == pytest.approx(10 / (N_ITEMS - 11), abs=0.12), score


def test_sequences_sorted_by_id_are_continued_without_a_model() -> None:
    """The last two of 12 sorted items are 11 and 12 of 12: about five ids lie between neighbours."""
    shortcuts = report([sorted(basket) for basket in baskets()])
    assert found(shortcuts, "next_id") > 0.7
    assert found(shortcuts, "next_in_order") > 0.7
    assert "the smallest id above the last history item's" in shortcuts.reasons[0]
    assert "sequences are sorted by item" in str(shortcuts.detail["message"])


def test_sequences_sorted_by_a_name_are_continued_by_the_order_that_train_shows() -> None:
    name = np.random.default_rng(5).permutation(N_ITEMS)
    shortcuts = report([sorted(basket, key=lambda item: name[item]) for basket in baskets()])
    assert found(shortcuts, "next_in_order") > 0.6
    assert found(shortcuts, "next_id") < limit(1 / N, 200)
    assert "the order that all train sequences follow" in shortcuts.reasons[0]


def test_popularity_and_company_are_known() -> None:
    """Items come in pairs (0, 1), (2, 3), …; item 7 is touched by everybody, and last by half."""
    generator = np.random.default_rng(1)
    orders: list[list[int]] = []
    for user in range(300):
        pairs = generator.permutation([pair for pair in range(N_ITEMS // 2) if pair != 3])[:4]
        order = [item for pair in pairs for item in (2 * int(pair), 2 * int(pair) + 1)]
        orders.append([7, *order] if user % 2 else [*order, 7])
    shortcuts = report(orders)
    assert found(shortcuts, "co_occurrence", "validation") > 0.4
    assert found(shortcuts, "popularity") > 0.45


def test_rules_learn_from_train_alone() -> None:
    """Every test target is item 59, which train never shows: no rule may know it."""
    orders = [[*[item for item in basket if item != 59][:9], 59] for basket in baskets()]
    assert found(report(orders), "popularity") == 0.0


def test_an_order_is_found_exactly_where_there_is_one_and_roughly_where_there_is_nearly_one() -> None:
    name = np.random.default_rng(5).permutation(N_ITEMS)
    orders = [sorted(basket, key=lambda item: name[item]) for basket in baskets(400)]
    exact = item_order(split_log(orders), N_ITEMS)
    assert np.corrcoef(exact, name)[0, 1] > 0.99
    noisy = [order[::-1] if user % 10 == 0 else order for user, order in enumerate(orders)]
    assert np.corrcoef(item_order(split_log(noisy), N_ITEMS), name)[0, 1] > 0.8


def test_untouched_items_stand_last_and_every_item_has_a_place() -> None:
    place = item_order(split_log([[5, 3, 4, 1]]), 8)
    assert sorted(place.tolist()) == list(range(8))
    assert [int(item) for item in np.argsort(place)][:4] == [5, 3, 4, 1]


def test_row_order_of_the_tables_of_rows_changes_nothing() -> None:
    log = split_log(baskets(80))
    rows = build_histories(log, Histories(max_length=20))
    lists = draw_candidates(rows, log, N_ITEMS, Candidates(n=N), seed=0)
    assert shortcut_report(rows.reverse(), lists.reverse(), log, n_items=N_ITEMS) == shortcut_report(
        rows, lists, log.lazy(), n_items=N_ITEMS
    )


def test_the_scores_are_written_down_under_the_names_of_the_leaderboard() -> None:
    shortcuts = report(baskets(50))
    first = shortcuts.as_json()[0]
    assert first == {
        "split": "validation",
        "rule": "chance",
        "hit_ratio_at_1_of_5": 1 / 5,
        "recall_at_10_full": 10 / 60,
    }
    assert len(shortcuts.as_json()) == 2 * 5
    assert "| test | next_in_order |" in shortcuts.as_markdown()
