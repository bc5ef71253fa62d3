from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.baselines.candidate_lists import candidate_lists
from evaluation.leakage import candidate_leakage, order_leakage, overlap_leakage
from evaluation.leakage.candidates import _same_target_pairs

N_ITEMS, N = 100, 10


def tables(targets: np.ndarray, candidates: np.ndarray) -> tuple[pl.DataFrame, pl.DataFrame]:
    row_id = pl.Series("row_id", np.arange(targets.size), dtype=pl.Int32)
    histories = pl.DataFrame({"row_id": row_id, "split": pl.Series(["test"] * targets.size), "target": targets})
    lists = pl.Series("candidates", candidates.tolist(), dtype=pl.List(pl.Int32))
    return pl.DataFrame([row_id, lists]), histories.cast({"target": pl.Int32})


def draw(targets: np.ndarray, n_items: int = N_ITEMS, n: int = N, *, by_target: tuple[str, ...] = ()) -> np.ndarray:
    """Candidate lists whose negatives and order are drawn per row, or from the target where `by_target` names them."""
    generator = np.random.default_rng(0)
    drawn = np.empty((targets.size, n), dtype=np.int64)
    for row, target in enumerate(targets):
        own = np.random.default_rng(int(target))
        others = np.setdiff1d(np.arange(n_items), [target])
        negatives = (own if "negatives" in by_target else generator).choice(others, n - 1, replace=False)
        shuffle = np.random.default_rng(1000 + int(target)) if "order" in by_target else generator
        drawn[row] = shuffle.permutation(np.append(negatives, target))
    return drawn


TARGETS = np.random.default_rng(1).integers(0, N_ITEMS, 1500)


def test_honest_lists_pass_and_say_every_number() -> None:
    leakage = candidate_leakage(*tables(TARGETS, draw(TARGETS)), n_items=N_ITEMS)
    assert leakage.passed, leakage.reasons
    assert leakage.passed
    assert leakage.slot_repeat.value == pytest.approx(1 / N, abs=0.02)
    assert leakage.negative_overlap.value == pytest.approx((N - 1) / N_ITEMS, abs=0.01)
    assert all(isinstance(value, int | float | str) for value in leakage.detail.values())


@pytest.mark.parametrize(
    ("by_target", "said"),
    [
        (("order",), "the position is drawn from the target"),
        (("negatives",), "the negatives are drawn from the target"),
        (("negatives", "order"), "blind rule 'shared_list' finds"),
    ],
)
def test_lists_drawn_from_their_target_are_refused(by_target: tuple[str, ...], said: str) -> None:
    leakage = candidate_leakage(*tables(TARGETS, draw(TARGETS, by_target=by_target)), n_items=N_ITEMS)
    assert not leakage.passed
    assert said in str(leakage.detail["message"])


def test_lists_that_start_with_their_target_are_refused() -> None:
    drawn = draw(TARGETS)
    unshuffled = np.column_stack([TARGETS, drawn[drawn != TARGETS[:, None]].reshape(-1, N - 1)])
    assert "'slot' finds 100.0%" in str(
        candidate_leakage(*tables(TARGETS, unshuffled), n_items=N_ITEMS).detail["message"]
    )


def test_negatives_that_all_lists_share_are_refused() -> None:
    negatives = np.array([[item for item in range(N) if item != target][: N - 1] for target in TARGETS])
    drawn = np.random.default_rng(2).permuted(np.column_stack([negatives, TARGETS]), axis=1)
    leakage = candidate_leakage(*tables(TARGETS, drawn), n_items=N_ITEMS)
    assert "blind rule 'rarely_listed' finds 9" in str(leakage.detail["message"])


def test_negatives_weighted_by_popularity_pass() -> None:
    generator = np.random.default_rng(0)
    weights = 1.0 / np.arange(1, N_ITEMS + 1)
    targets = generator.choice(N_ITEMS, 1500, p=weights / weights.sum())
    drawn = np.empty((1500, N), dtype=np.int64)
    for row, target in enumerate(targets):
        chance = np.where(np.arange(N_ITEMS) == target, 0.0, weights)
        negatives = generator.choice(N_ITEMS, N - 1, replace=False, p=chance / chance.sum())
        drawn[row] = generator.permutation(np.append(negatives, target))
    leakage = candidate_leakage(*tables(targets, drawn), n_items=N_ITEMS)
    assert leakage.passed, leakage.reasons


@pytest.mark.parametrize("rows", [1, 2, 5, 20])
def test_a_small_table_is_not_refused_for_being_small(rows: int) -> None:
    leakage = candidate_leakage(*tables(TARGETS[:rows], draw(TARGETS[:rows])), n_items=N_ITEMS)
    assert leakage.passed, leakage.reasons


@given(st.lists(st.integers(0, 5), min_size=2, max_size=12), st.integers(2, 5), st.integers(0, 100))
@settings(deadline=None, derandomize=True, max_examples=60)
def test_counting_gives_what_forming_every_pair_gives(targets: list[int], n: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    drawn = np.array(
        [
            generator.permutation(np.append(generator.permutation([i for i in range(8) if i != t])[: n - 1], t))
            for t in targets
        ]
    )
    lists = candidate_lists(*reversed(tables(np.array(targets), drawn)))
    slot_repeat, overlap, pairs = _same_target_pairs(lists, 8)
    alike = [(i, j) for i in range(len(targets)) for j in range(i) if targets[i] == targets[j]]
    assert pairs == len(alike)
    if alike:
        assert slot_repeat.value == pytest.approx(np.mean([lists.slot[i] == lists.slot[j] for i, j in alike]))
        shared = [len(set(lists.negatives[i]) & set(lists.negatives[j])) / (n - 1) for i, j in alike]
        assert overlap.value == pytest.approx(np.mean(shared))


def test_candidates_outside_the_catalogue_are_refused() -> None:
    with pytest.raises(ValueError, match="candidates must be 0 to 49"):
        candidate_leakage(*tables(TARGETS, draw(TARGETS)), n_items=50)


DAY = datetime(2024, 1, 1, tzinfo=UTC)


def interactions(orders: list[list[int]], at: list[list[int]] | None = None) -> pl.DataFrame:
    """A log of each user's items in order; with `at`, each at so many days after the first of January."""
    days = [None for order in orders for _ in order] if at is None else [day for days in at for day in days]
    return pl.DataFrame(
        {
            "user_id": [user for user, items in enumerate(orders) for _ in items],
            "item_id": [i for o in orders for i in o],
            "at": [None if day is None else DAY + timedelta(days=day) for day in days],
        },
        schema={"user_id": pl.Int32, "item_id": pl.Int32, "at": pl.Datetime("us", "UTC")},
    )


def baskets(seed: int = 0) -> list[list[int]]:
    generator = np.random.default_rng(seed)
    return [generator.choice(40, 12, replace=False).tolist() for _ in range(150)]


def test_an_order_in_time_passes() -> None:
    leakage = order_leakage(interactions(baskets()))
    assert leakage.passed, leakage.reasons
    assert leakage.every.rising == pytest.approx(1 / 2, abs=0.05)
    assert leakage.every.both_orders == pytest.approx(leakage.every.both_orders_chance, abs=0.05)


@pytest.mark.parametrize(("is_falling", "said"), [(False, "ids rise in 100.0%"), (True, "ids fall in 100.0%")])
def test_a_sort_by_item_id_is_not_an_order_in_time(is_falling: bool, said: str) -> None:
    leakage = order_leakage(interactions([sorted(basket, reverse=is_falling) for basket in baskets()]))
    assert not leakage.passed
    assert said in str(leakage.detail["message"])


def test_one_order_over_items_for_every_user_is_not_an_order_in_time() -> None:
    """Sorted by a name that ids do not follow, as the published LastFM sequences are."""
    name = np.random.default_rng(5).permutation(40)
    leakage = order_leakage(interactions([sorted(basket, key=lambda item: name[item]) for basket in baskets()]))
    assert leakage.every.both_orders == 0.0
    assert "sorted by one order over all items" in str(leakage.detail["message"])


def test_ids_that_are_given_in_the_order_of_release_are_no_fault_of_a_log_with_times() -> None:
    """News: item d comes out on day d, and everybody reads what is new, so ids rise for all in nearly every step."""
    generator = np.random.default_rng(3)
    days = [sorted(generator.choice(400, 20, replace=False).tolist()) for _ in range(200)]
    read = [[max(0, day - int(generator.integers(3))) for day in of_user] for of_user in days]
    news = order_leakage(interactions(read, at=days))
    assert news.every.rising > 0.95
    assert news.every.rising_chance > 0.9
    assert news.passed, news.reasons


def test_a_sort_by_id_with_made_up_times_is_found() -> None:
    """Times that only count the rows of a sorted file explain nothing: at the same time, others have other ids."""
    orders = [sorted(basket) for basket in baskets()]
    leakage = order_leakage(interactions(orders, at=[list(range(len(order))) for order in orders]))
    assert "a sort by item id, not one in time" in str(leakage.detail["message"])


def test_ties_in_time_that_the_file_sorts_by_item_are_found() -> None:
    """Times by the month, as on a site that hides the day: within a month the file is sorted by item."""
    generator = np.random.default_rng(4)
    months = [np.sort(generator.integers(0, 4, 12)).tolist() for _ in range(150)]
    sorted_ties = [
        [item for month in range(4) for item in sorted(i for i, m in zip(basket, of_user, strict=True) if m == month)]
        for basket, of_user in zip(baskets(), months, strict=True)
    ]
    leakage = order_leakage(interactions(sorted_ties, at=months))
    assert leakage.every.rising < 0.95
    assert "cleaning.ties: hash" in str(leakage.detail["message"])
    assert not leakage.passed
    shuffled = order_leakage(interactions(baskets(), at=months))
    assert shuffled.tied_share == pytest.approx(leakage.tied_share)
    assert shuffled.passed, shuffled.reasons


def test_ties_that_follow_one_order_half_of_the_time_are_mentioned() -> None:
    generator = np.random.default_rng(4)
    orders = [sorted(basket) if generator.random() < 0.85 else basket for basket in baskets()]
    leakage = order_leakage(interactions(orders, at=[[0] * 6 + [1] * 6 for _ in orders]))
    assert "partly one over items" in leakage.caution or not leakage.passed


def test_a_log_of_which_a_part_is_sorted_by_id_is_found() -> None:
    mixed = [sorted(basket) if user % 4 == 0 else basket for user, basket in enumerate(baskets())]
    leakage = order_leakage(interactions(mixed))
    assert leakage.every.sorted_by_id is None
    assert leakage.sorted_users == pytest.approx(1 / 4, abs=0.01)
    assert "have them sorted by item id" in str(leakage.detail["message"])


def test_too_few_pairs_are_not_judged() -> None:
    assert order_leakage(interactions([[1, 2, 3], [4, 5]])).passed
    assert order_leakage(interactions([[1], [2]])).every.pairs == 0


def test_a_large_log_is_probed_on_a_sample_of_users(monkeypatch: pytest.MonkeyPatch) -> None:
    table = interactions([sorted(basket) for basket in baskets()])
    monkeypatch.setattr("evaluation.leakage.order._MOST", 600)
    sampled = order_leakage(table)
    assert 0 < sampled.every.pairs < 1000
    assert sampled.sample == pytest.approx(1 / 3)
    assert not sampled.passed


def overlap_table(splits: list[str], histories: list[list[int]], targets: list[int]) -> pl.DataFrame:
    return pl.DataFrame({"split": splits, "history": histories, "target": targets})


def test_a_held_out_row_that_train_holds_word_for_word_is_found() -> None:
    splits = ["train", "train", "train", "test", "test", "validation", "test"]
    histories = [[1, 2, 3], [4, 5, 6, 7], [1, 2], [1, 2, 3], [3, 2, 1], [4, 5, 6, 7], [1, 2]]
    leakage = overlap_leakage(overlap_table(splits, histories, [9, 8, 7, 9, 9, 8, 7]))
    assert (leakage.rows, leakage.repeated, leakage.longest) == (3, 2, 4), "two items in common are chance"
    assert not leakage.passed
    assert "2 of 3 held-out rows (66.7%)" in leakage.reasons[0]


def test_the_same_history_with_another_target_is_no_overlap() -> None:
    leakage = overlap_leakage(overlap_table(["train", "test"], [[1, 2, 3], [1, 2, 3]], [4, 5]))
    assert leakage.passed
    assert leakage.share == 0.0


@pytest.mark.parametrize(("months", "is_cautioned"), [(2, True), (20, False)])
def test_an_order_by_item_inside_each_month_passes_with_a_caution(months: int, is_cautioned: bool) -> None:
    """A hidden number sorts each month, and the log is published as a sequence: neither time nor id shows it."""
    random = np.random.default_rng(0)
    hidden = random.permutation(300)
    rows = [
        (user, int(item))
        for user in range(400)
        for month in np.array_split(random.choice(300, size=20, replace=False), months)
        for item in sorted(month, key=lambda item: hidden[item])
    ]
    log = pl.DataFrame(rows, schema=["user_id", "item_id"], orient="row")
    found = order_leakage(log.with_columns(at=pl.lit(None, dtype=pl.Datetime("us"))))
    assert found.passed
    assert bool(found.caution) == is_cautioned
