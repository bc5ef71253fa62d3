import numpy as np
import polars as pl
import pytest

from evaluation.baselines.candidate_lists import candidate_lists
from evaluation.leakage import rule_passes
from evaluation.leakage.blind import BlindRule, blind_rules

N_ITEMS, N = 100, 10
SCHEMA = {"row_id": pl.Int32, "split": pl.String, "target": pl.Int32}


def rows_of(targets: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame({"row_id": np.arange(targets.size), "split": "test", "target": targets}, schema=SCHEMA)


def lists_of(candidates: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame(
        {"row_id": np.arange(len(candidates)), "candidates": candidates.tolist()},
        schema={"row_id": pl.Int32, "candidates": pl.List(pl.Int32)},
    )


def draw(targets: np.ndarray, *, seeded_by_target: bool = False, seed: int = 0) -> np.ndarray:
    """Candidate lists of length N; where seeded by the target, as in the published LastFM benchmark."""
    generator = np.random.default_rng(seed)
    drawn = np.empty((targets.size, N), dtype=np.int64)
    for row, target in enumerate(targets):
        own = np.random.default_rng(int(target)) if seeded_by_target else generator
        others = np.setdiff1d(np.arange(N_ITEMS), [target])
        drawn[row] = own.permutation(np.append(own.choice(others, N - 1, replace=False), target))
    return drawn


def shared_negatives(targets: np.ndarray) -> np.ndarray:
    """Every list holds the first items of the catalogue, beside its target."""
    negatives = np.array([[item for item in range(N) if item != target][: N - 1] for target in targets])
    return np.random.default_rng(2).permuted(np.column_stack([negatives, targets]), axis=1)


def found(rules: list[BlindRule]) -> dict[str, BlindRule]:
    return {rule.name: rule for rule in rules}


def test_on_honest_lists_no_rule_finds_more_than_its_reference() -> None:
    targets = np.random.default_rng(1).integers(0, N_ITEMS, 3000)
    for rule in blind_rules(rows_of(targets), lists_of(draw(targets))):
        assert abs(rule.excess) < 4 * rule.standard_error, rule.name
        assert rule.rows == 3000


def test_lists_seeded_by_their_target_are_read_like_an_open_book() -> None:
    targets = np.random.default_rng(1).integers(0, N_ITEMS, 3000)
    rules = found(blind_rules(rows_of(targets), lists_of(draw(targets, seeded_by_target=True))))
    assert rules["shared_list"].hit_ratio > 0.99
    assert rules["shared_list"].reference < 2 / N
    assert rules["item_slot"].hit_ratio > 4 * rules["item_slot"].reference


def test_lists_that_are_not_shuffled_are_read_by_position() -> None:
    targets = np.random.default_rng(1).integers(0, N_ITEMS, 500)
    drawn = draw(targets)
    place = np.argmax(drawn == targets[:, None], axis=1)
    drawn[np.arange(500), place] = drawn[:, 3]
    drawn[:, 3] = targets
    assert found(blind_rules(rows_of(targets), lists_of(drawn)))["slot"].hit_ratio == 1.0


def test_negatives_that_every_list_shares_betray_the_target() -> None:
    targets = np.random.default_rng(1).integers(0, N_ITEMS, 1000)
    rules = found(blind_rules(rows_of(targets), lists_of(shared_negatives(targets))))
    assert rules["rarely_listed"].hit_ratio > 0.9
    assert rules["popularity"].hit_ratio < 0.3


def drawn_by_popularity(targets: np.ndarray, weight: np.ndarray) -> np.ndarray:
    generator = np.random.default_rng(3)
    drawn = np.empty((targets.size, N), dtype=np.int64)
    for row, target in enumerate(targets):
        chance = np.where(np.arange(N_ITEMS) == target, 0.0, weight)
        negatives = generator.choice(N_ITEMS, N - 1, replace=False, p=chance / chance.sum())
        drawn[row] = generator.permutation(np.append(negatives, target))
    return drawn


def test_negatives_drawn_by_popularity_may_tell_a_little_by_it_and_no_more() -> None:
    """Targets are flatter than train popularity, as where new items come up: few lists hold an unpopular item."""
    targets = np.random.default_rng(1).integers(0, N_ITEMS, 3000)
    for skew, is_honest in ((0.3, True), (3.0, False)):
        weight = 1.0 / np.arange(1, N_ITEMS + 1) ** skew
        train = pl.DataFrame({"target": np.repeat(np.arange(N_ITEMS), np.ceil(1000 * weight).astype(int))}).select(
            row_id=pl.int_range(pl.len()) + 10_000, split=pl.lit("train"), target="target"
        )
        rows = pl.concat([rows_of(targets), train.cast(SCHEMA)])  # pyright: ignore[reportArgumentType]
        rule = found(blind_rules(rows, lists_of(drawn_by_popularity(targets, weight))))["rarely_listed"]
        assert rule.hit_ratio > 1 / N
        assert rule_passes(rule, 1 / N) == is_honest, (skew, rule)


def test_popularity_is_credited_to_users_not_to_lists() -> None:
    """Half of all targets are one item: popularity finds it, and so may the rules that remember targets."""
    generator = np.random.default_rng(1)
    targets = np.where(generator.random(3000) < 0.5, 7, generator.integers(0, N_ITEMS, 3000))
    rules = found(blind_rules(rows_of(targets), lists_of(draw(targets))))
    assert rules["popularity"].hit_ratio > 0.5
    for name in ("item_slot", "shared_list"):
        assert rules[name].reference > 1 / N
        assert abs(rules[name].excess) < 4 * rules[name].standard_error


def test_train_rows_tell_popularity() -> None:
    """Item 0 is every train target and in every list, item 1 is the target half of the time."""
    held_out = rows_of(np.where(np.arange(400) % 2 == 0, 0, 1))
    train = pl.DataFrame({"row_id": np.arange(1000, 1900), "split": "train", "target": 0}, schema=SCHEMA)
    drawn = lists_of(np.tile(np.arange(N), (400, 1)))
    assert found(blind_rules(pl.concat([held_out, train]), drawn))["popularity"].hit_ratio == 0.5


def test_row_order_changes_nothing() -> None:
    targets = np.random.default_rng(1).integers(0, N_ITEMS, 300)
    rows, lists = rows_of(targets), lists_of(draw(targets))
    assert blind_rules(rows.reverse(), lists.reverse()) == blind_rules(rows, lists)


def test_a_single_row_cannot_be_judged() -> None:
    with pytest.raises(ValueError, match="2 rows or more"):
        blind_rules(rows_of(np.array([4])), lists_of(draw(np.array([4]))))


def test_slots_and_negatives_are_those_of_each_list() -> None:
    lists = candidate_lists(rows_of(np.array([4, 2])), lists_of(np.array([[9, 4, 1], [2, 8, 7]])))
    assert lists.slot.tolist() == [1, 0]
    assert lists.negatives.tolist() == [[9, 1], [8, 7]]
