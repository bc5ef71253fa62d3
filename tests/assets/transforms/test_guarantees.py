"""Each guarantee holds on sound tables and fires on a planted defect, naming the row."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import polars as pl
import pytest

from assets.transforms.guarantees import candidates as candidate_guarantees
from assets.transforms.guarantees import finding as guarantees
from assets.transforms.guarantees import histories as history_guarantees
from assets.transforms.guarantees import splits as split_guarantees
from assets.transforms.guarantees.finding import Finding, GuaranteeBroken, require
from assets.transforms.preferences import choose_negatives
from contracts.config import Negatives
from contracts.config.dataset import Candidates, Histories, LeaveOneOut
from tests.assets.transforms.whole import (
    assign_split,
    build_histories,
    draw_candidates,
    histories_precede_targets,
    training_touches_no_held_out_item,
)

N_ITEMS = 40


@dataclass(frozen=True)
class Lake:
    """Sound tables: three users with 6, 5 and 9 interactions."""

    interactions: pl.DataFrame
    histories: pl.DataFrame
    candidate_sets: pl.DataFrame
    mined_negatives: pl.DataFrame
    preference_rows: pl.DataFrame
    reference_logps: pl.DataFrame


@pytest.fixture(scope="module")
def lake() -> Lake:
    rows = [
        (user, user * 10 + step, datetime(2024, 1, 1 + step, tzinfo=UTC))
        for user, length in enumerate((6, 5, 9))
        for step in range(length)
    ]
    log = pl.DataFrame(
        rows, schema={"user_id": pl.Int32, "item_id": pl.Int32, "at": pl.Datetime("us", "UTC")}, orient="row"
    )
    interactions = assign_split(log, LeaveOneOut())
    histories = build_histories(interactions, Histories(max_length=4))
    train = histories.filter(pl.col("split") == "train").select("row_id")
    mined = train.join(pl.DataFrame({"item_id": [35, 36, 37], "rank": [1, 2, 3]}), how="cross").with_columns(
        pl.col("item_id").cast(pl.Int32), miner=pl.lit("hardest")
    )
    preference_rows = choose_negatives(histories, mined, Negatives(n=2, miner="hardest"), 0)
    chosen = preference_rows.select("row_id", item_id="chosen")
    rejected = preference_rows.select("row_id", item_id="rejected").explode("item_id", empty_as_null=False)
    return Lake(
        interactions,
        histories,
        draw_candidates(histories, interactions, N_ITEMS, Candidates(n=8), 0),
        mined,
        preference_rows,
        pl.concat([chosen, rejected]),
    )


CHECKS: dict[str, Callable[[Lake], Finding]] = {
    "chronological": lambda lake: guarantees.interactions_are_chronological(lake.interactions),
    "leave_one_out": lambda lake: split_guarantees.split_is_leave_one_out(lake.interactions),
    "precede": lambda lake: histories_precede_targets(lake.histories, lake.interactions),
    "held_out": lambda lake: training_touches_no_held_out_item(lake.histories, lake.interactions),
    "one_target": lambda lake: candidate_guarantees.one_target_per_candidate_set(lake.histories, lake.candidate_sets),
    "untouched": lambda lake: candidate_guarantees.candidates_are_untouched(
        lake.histories, lake.candidate_sets, lake.interactions
    ),
    "mined": lambda lake: guarantees.no_train_item_among_negatives(
        lake.mined_negatives, lake.histories, lake.interactions
    ),
    "covered": lambda lake: guarantees.every_completion_is_covered(lake.reference_logps, lake.preference_rows),
    "rejected": lambda lake: guarantees.no_train_item_among_negatives(
        lake.preference_rows, lake.histories, lake.interactions
    ),
}


def at_row(table: pl.DataFrame, row: int, **values: object) -> pl.DataFrame:
    """The table with some values of one row replaced."""
    rows = table.rows(named=True)
    rows[row] |= values
    return pl.DataFrame(rows, schema=table.schema)


def first_row(table: pl.DataFrame, split: str) -> int:
    return int((table["split"] == split).arg_max() or 0)


@pytest.mark.parametrize("name", CHECKS)
def test_sound_tables_pass(lake: Lake, name: str) -> None:
    finding = CHECKS[name](lake)
    assert finding.passed
    assert finding.checked > 0
    assert f"{finding.checked:,} rows checked" in finding.message
    require([finding])


def _swap_times(lake: Lake) -> Lake:
    earlier = datetime(2023, 1, 1, tzinfo=UTC)
    return replace(lake, interactions=at_row(lake.interactions, 3, at=earlier))


def _scatter(lake: Lake) -> Lake:
    return replace(lake, interactions=pl.concat([lake.interactions[1:], lake.interactions[:1]]))


def _train_after_test(lake: Lake) -> Lake:
    return replace(lake, interactions=at_row(lake.interactions, 5, split="train"))


def _test_without_train(lake: Lake) -> Lake:
    return replace(lake, interactions=lake.interactions[[0, 4, 5]].with_columns(user_id=pl.Series([0, 7, 7])))


def _target_in_history(lake: Lake) -> Lake:
    row = lake.histories.row(0, named=True)
    return replace(lake, histories=at_row(lake.histories, 0, history=[*row["history"], row["target"]]))


def _future_item_in_history(lake: Lake) -> Lake:
    return replace(lake, histories=at_row(lake.histories, 1, history=[0, 3]))


def _someone_elses_item_in_history(lake: Lake) -> Lake:
    return replace(lake, histories=at_row(lake.histories, 1, history=[0, 25]))


def _newest_first(lake: Lake) -> Lake:
    return replace(lake, histories=at_row(lake.histories, 1, history=[1, 0]))


def _target_of_another_split(lake: Lake) -> Lake:
    return replace(lake, histories=at_row(lake.histories, 2, target=5))


def _held_out_item_in_train_history(lake: Lake) -> Lake:
    return replace(lake, histories=at_row(lake.histories, 2, history=[0, 4]))


def _candidates_without_target(lake: Lake) -> Lake:
    target = lake.histories.row(lake.candidate_sets["row_id"][0], named=True)["target"]
    kept = [item for item in lake.candidate_sets["candidates"][0] if item != target]
    return replace(lake, candidate_sets=at_row(lake.candidate_sets, 0, candidates=kept))


def _target_twice(lake: Lake) -> Lake:
    target = lake.histories.row(lake.candidate_sets["row_id"][0], named=True)["target"]
    return replace(lake, candidate_sets=at_row(lake.candidate_sets, 0, candidates=[target, target, 35]))


def _missing_set(lake: Lake) -> Lake:
    return replace(lake, candidate_sets=lake.candidate_sets[1:])


def _set_for_a_train_row(lake: Lake) -> Lake:
    return replace(lake, candidate_sets=at_row(lake.candidate_sets, 0, row_id=0))


def _two_sets(lake: Lake) -> Lake:
    return replace(lake, candidate_sets=pl.concat([lake.candidate_sets, lake.candidate_sets[:1]]))


def _touched_candidate(lake: Lake) -> Lake:
    row = lake.histories.row(lake.candidate_sets["row_id"][0], named=True)
    return replace(
        lake, candidate_sets=at_row(lake.candidate_sets, 0, candidates=[row["target"], row["history"][0], 35])
    )


def _test_item_among_validation_candidates(lake: Lake) -> Lake:
    return replace(lake, candidate_sets=at_row(lake.candidate_sets, 0, candidates=[4, 5, 35]))


def _train_item_mined(lake: Lake) -> Lake:
    return replace(lake, mined_negatives=at_row(lake.mined_negatives, 4, item_id=3))


def _negative_of_unknown_row(lake: Lake) -> Lake:
    return replace(lake, mined_negatives=at_row(lake.mined_negatives, 4, row_id=999))


def _target_rejected(lake: Lake) -> Lake:
    target = lake.histories["target"][1]
    return replace(lake, preference_rows=at_row(lake.preference_rows, 1, rejected=[35, target]))


def _missing_chosen(lake: Lake) -> Lake:
    return replace(lake, reference_logps=lake.reference_logps[1:])


def _missing_rejected(lake: Lake) -> Lake:
    return replace(lake, reference_logps=lake.reference_logps[:-1])


def _completion_of_no_row(lake: Lake) -> Lake:
    return replace(
        lake,
        reference_logps=pl.concat(
            [lake.reference_logps, (lake.reference_logps[:1] + 30).cast(lake.reference_logps.schema)]
        ),
    )


@pytest.mark.parametrize(
    ("name", "plant", "violations", "shown"),
    [
        ("chronological", _swap_times, 1, "row=3, user_id=0"),
        ("chronological", _scatter, 1, "row=19, user_id=0"),
        ("leave_one_out", _train_after_test, 1, "row=5, user_id=0, split=train, wanted=test"),
        ("leave_one_out", _test_without_train, 2, "user_id=7"),
        (
            "precede",
            _target_in_history,
            1,
            "row_id=0, user_id=0, split=train, target=1, target_is_in_split=True, item_id=1",
        ),
        (
            "precede",
            _future_item_in_history,
            1,
            "target=2, target_is_in_split=True, item_id=3, instead_of=1",
        ),
        ("precede", _someone_elses_item_in_history, 1, "item_id=25, instead_of=1"),
        ("precede", _newest_first, 1, "item_id=1, instead_of=0"),
        ("precede", _target_of_another_split, 1, "target=5, target_is_in_split=False"),
        ("held_out", _target_of_another_split, 1, "row_id=2, user_id=0, item_id=5, held_out_in=test"),
        ("held_out", _held_out_item_in_train_history, 1, "item_id=4, held_out_in=validation"),
        ("one_target", _candidates_without_target, 1, "times_target=0"),
        ("one_target", _target_twice, 1, "times_target=2, is_repeating=True"),
        ("one_target", _missing_set, 1, "sets=0"),
        ("one_target", _set_for_a_train_row, 2, "row_id="),
        ("one_target", _two_sets, 2, "sets=2"),
        ("untouched", _touched_candidate, 1, "user_id=0"),
        ("untouched", _test_item_among_validation_candidates, 1, "item_id=5"),
        ("mined", _train_item_mined, 1, "row_id=1, user_id=0, item_id=3"),
        ("mined", _negative_of_unknown_row, 1, "row_id=999, user_id=None"),
        ("covered", _missing_chosen, 1, "row_id=0, item_id=1, wanted=1, found=None"),
        ("covered", _missing_rejected, 1, "item_id=36, wanted=1, found=None"),
        ("covered", _completion_of_no_row, 1, "row_id=30, item_id=31, wanted=None, found=1"),
        ("rejected", _target_rejected, 1, "row_id=1, user_id=0, item_id=2, target=2"),
    ],
)
def test_a_planted_defect_is_found_and_named(
    lake: Lake, name: str, plant: Callable[[Lake], Lake], violations: int, shown: str
) -> None:
    finding = CHECKS[name](plant(lake))
    assert not finding.passed
    assert finding.violations == violations
    assert shown in finding.message
    with pytest.raises(GuaranteeBroken, match=f"got {violations} violations"):
        require([finding])


def test_what_is_found_does_not_depend_on_the_parts_that_are_looked_at(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    uncovered = lake.reference_logps.filter(pl.int_range(pl.len()) % 3 != 1)
    touched = lake.mined_negatives.with_columns(item_id=pl.col("row_id").cast(pl.Int32) % N_ITEMS)

    def found() -> list[tuple[int, int, list[dict[str, object]]]]:
        findings = [
            guarantees.every_completion_is_covered(uncovered, lake.preference_rows),
            guarantees.no_train_item_among_negatives(touched, lake.histories, lake.interactions),
        ]
        return [(finding.checked, finding.violations, finding.first.to_dicts()) for finding in findings]

    whole = found()
    assert all(violations > 5 for _, violations, _ in whole)
    for rows in (1, 2, 7):
        monkeypatch.setattr(guarantees, "PART", rows)
        assert found() == whole


def test_a_held_out_item_may_be_a_negative(lake: Lake) -> None:
    # Keeping a user's test item out of the negatives would tell the policy what to expect.
    mined = at_row(lake.mined_negatives, 4, item_id=5)
    assert guarantees.no_train_item_among_negatives(mined, lake.histories, lake.interactions).passed


def test_an_item_touched_again_after_its_target_does_not_make_a_history_wrong() -> None:
    items, splits = [1, 2, 1, 3, 1], ["train", "train", "train", "validation", "test"]
    interactions = pl.DataFrame({"user_id": [0] * 5, "item_id": items, "split": splits}).cast(
        {"user_id": pl.Int32, "item_id": pl.Int32}
    )
    histories = build_histories(interactions, Histories())
    assert histories_precede_targets(histories, interactions).passed
    assert training_touches_no_held_out_item(histories, interactions).passed


def test_a_gap_in_a_history_is_found(lake: Lake) -> None:
    # 0 and 3 are the user's, oldest first, and before the target 4: only what is left out is wrong.
    finding = CHECKS["precede"](replace(lake, histories=at_row(lake.histories, 3, history=[0, 3])))
    assert finding.violations == 1


def test_a_history_that_reaches_into_the_user_before_is_found(lake: Lake) -> None:
    row = first_row(lake.histories.with_columns(split=pl.col("user_id").cast(pl.String)), "1")
    finding = CHECKS["precede"](replace(lake, histories=at_row(lake.histories, row, history=[5, 10])))
    assert finding.violations == 1
    assert "item_id=5, instead_of=None" in finding.message


def test_every_occurrence_of_a_target_is_tried_before_a_row_is_called_wrong() -> None:
    items = [1, 2, 1, 3, 1, 2, 1]
    interactions = pl.DataFrame({"user_id": [0] * 7, "item_id": items, "split": ["train"] * 7}).cast(
        {"user_id": pl.Int32, "item_id": pl.Int32}
    )
    histories = build_histories(interactions, Histories(max_length=2))
    assert guarantees_of(histories, interactions) == (0, 0)
    assert guarantees_of(at_row(histories, 1, history=[3, 2]), interactions) == (1, 0)  # 1 follows it nowhere


def guarantees_of(histories: pl.DataFrame, interactions: pl.DataFrame) -> tuple[int, int]:
    precede, held_out, _ = history_guarantees.histories_keep_their_guarantees(histories, interactions)
    return precede.violations, held_out.violations


def test_one_pass_finds_what_the_checks_find_and_counts_the_rows(lake: Lake) -> None:
    for plant in (lambda lake: lake, _target_of_another_split, _held_out_item_in_train_history):
        tables = plant(lake)
        expected = (CHECKS["precede"](tables).violations, CHECKS["held_out"](tables).violations)
        assert guarantees_of(tables.histories, tables.interactions) == expected
    _, _, statistics = history_guarantees.histories_keep_their_guarantees(lake.histories.lazy(), lake.interactions)
    metadata = statistics.as_metadata()
    lengths = lake.histories["history"].list.len()
    assert [metadata[f"rows_{split}"] for split in ("train", "validation", "test")] == [11, 3, 3]
    assert metadata["users_with_a_test_row"] == 1.0
    assert metadata["history_length_max"] == lengths.max()
    assert metadata["history_length_mean"] == pytest.approx(lengths.mean())


@pytest.mark.parametrize(
    ("row", "planted"),
    [(1, {"history": [0, 3]}), (0, {"target": 3})],
)
def test_a_train_row_that_shows_what_came_after_the_split_time_is_found(
    lake: Lake, row: int, planted: dict[str, object]
) -> None:
    # `interactions` calls item 3 train, as a split that forgot the time would: its time alone gives it away.
    until = lake.interactions["at"][3]
    train = replace(lake, histories=lake.histories.filter((pl.col("user_id") == 0) & (pl.col("row_id") < 2)))
    look = training_touches_no_held_out_item
    assert look(train.histories, train.interactions, train_until=until).passed
    finding = look(at_row(train.histories, row, **planted), train.interactions, train_until=until)
    assert finding.violations == 1
    assert f"row_id={row}, user_id=0, item_id=3, held_out_in=train, at or after" in finding.message


def test_everything_broken_is_named_at_once(lake: Lake) -> None:
    with pytest.raises(GuaranteeBroken, match=r"chronological order; .* must be test, the one before it validation"):
        require([CHECKS["chronological"](_swap_times(lake)), CHECKS["leave_one_out"](_train_after_test(lake))])
