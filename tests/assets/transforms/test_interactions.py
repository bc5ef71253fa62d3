"""Cleaning: each rule on a log small enough to do by hand."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from pydantic import ValidationError

from assets.transforms.cleaning.interactions import Cleaned, clean_interactions
from assets.transforms.cleaning.log import NO_EVENT
from contracts.config.dataset import Cleaning
from evaluation.schemas import schema_of

START = datetime(2024, 1, 1, tzinfo=UTC)


def log(*rows: tuple[str, str, int | None, float]) -> pl.DataFrame:
    """user, item, hours after START, weight."""
    return pl.DataFrame(
        [
            (user, item, None if hours is None else START + timedelta(hours=hours), None, weight, None, "log.csv", line)
            for line, (user, item, hours, weight) in enumerate(rows, start=1)
        ],
        schema=schema_of("raw_interactions"),
        orient="row",
    )


def clean(raw: pl.DataFrame, *, items: list[str] | None = None, seed: int = 0, **rules: object) -> Cleaned:
    names = items if items is not None else raw["item"].unique().to_list()
    catalogue = pl.DataFrame(
        {"item": names, "title": [f"Title {name}" for name in names], "category": None, "text": None},
        schema=schema_of("raw_items"),
    )
    cleaning = Cleaning.model_validate({"k_core": 1} | rules)
    with TemporaryDirectory() as scratch:
        raw.write_parquet(Path(scratch, "raw.parquet"))
        found = clean_interactions(Path(scratch, "raw.parquet"), catalogue, cleaning, seed, Path(scratch))
        return replace(found, interactions=found.interactions.collect().lazy())


def rows(cleaned: Cleaned) -> list[tuple[str, str, float]]:
    """Raw user, raw item, hours."""
    named = cleaned.interactions.collect()
    for table, key in ((cleaned.users, "user_id"), (cleaned.items, "item_id")):
        named = named.join(table, on=key, maintain_order="left")
    hours = (pl.col("at") - START).dt.total_hours()
    return named.select("user", "item", hours).rows()


def test_exact_duplicates_are_dropped_and_counted() -> None:
    cleaned = clean(log(("a", "x", 1, 1), ("a", "x", 1, 1), ("a", "y", 2, 1)), repeats="all")
    assert rows(cleaned) == [("a", "x", 1), ("a", "y", 2)]
    assert cleaned.report.exact_duplicates == 1


@pytest.mark.parametrize(
    ("repeats", "kept"),
    [
        ("first", [("a", "x", 1), ("a", "y", 2)]),
        ("last", [("a", "y", 2), ("a", "x", 3)]),
        ("all", [("a", "x", 1), ("a", "y", 2), ("a", "x", 3)]),
    ],
)
def test_the_repeats_rule_keeps_first_last_or_all(repeats: str, kept: list[tuple[str, str, int]]) -> None:
    cleaned = clean(log(("a", "x", 3, 1), ("a", "y", 2, 1), ("a", "x", 1, 1)), repeats=repeats)
    assert rows(cleaned) == kept
    assert cleaned.report.repeats == 3 - len(kept)


def test_a_smaller_weight_is_dropped_and_an_equal_one_kept() -> None:
    cleaned = clean(log(("a", "x", 1, 3.5), ("a", "y", 2, 4), ("a", "z", 3, 5)), min_weight=4)
    assert rows(cleaned) == [("a", "y", 2), ("a", "z", 3)]
    assert cleaned.report.below_min_weight == 1


def test_a_larger_weight_is_dropped_and_an_equal_one_kept() -> None:
    cleaned = clean(log(("a", "x", 1, 3), ("a", "y", 2, 4), ("a", "z", 3, 5)), min_weight=4, max_weight=4)
    assert rows(cleaned) == [("a", "y", 2)]
    assert (cleaned.report.below_min_weight, cleaned.report.above_max_weight) == (1, 1)


def test_a_threshold_compares_in_the_precision_of_the_weights() -> None:
    assert clean(log(("a", "x", 1, 0.1)), min_weight=0.1, max_weight=0.1).report.interactions == 1


def test_thresholds_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValidationError, match="min_weight must be at most max_weight"):
        Cleaning(min_weight=3, max_weight=2)


def with_events(*events: str | None) -> pl.DataFrame:
    rows = [("a", f"i{place}", place, 1.0) for place in range(len(events))]
    return log(*rows).with_columns(event=pl.Series(events, dtype=pl.String))


def test_other_events_are_dropped_and_counted_by_type() -> None:
    raw = with_events("purchase", "cancel", "view", "view", None)
    cleaned = clean(raw, events=["purchase"])
    assert rows(cleaned) == [("a", "i0", 0)]
    assert cleaned.report.other_events == {"cancel": 1, "view": 2, NO_EVENT: 1}
    assert cleaned.report.as_table().rows()[:3] == [
        ("event (missing)", 1, 4), ("event cancel", 1, 3), ("event view", 2, 1)
    ]  # fmt: skip
    assert clean(raw).report.interactions == 5


def test_an_event_that_the_log_does_not_have_is_refused_with_those_it_has() -> None:
    with pytest.raises(ValueError, match=r"types of event that the log has, got purchas\. It has"):
        clean(with_events("purchase", "view"), events=["purchas"])
    with pytest.raises(ValueError, match=r"got view\. It has \(missing\) \(1 rows\)\."):
        clean(with_events(None), events=["view"])


def test_an_event_named_like_sql_is_a_name() -> None:
    name = "'); DROP TABLE raw; --"
    assert clean(with_events(name, "view"), events=[name]).report.other_events == {"view": 1}


def test_the_same_moment_with_another_event_is_no_duplicate_but_a_repeat() -> None:
    raw = log(("a", "x", 1, 1), ("a", "x", 1, 1)).with_columns(event=pl.Series(["view", "purchase"]))
    report = clean(raw).report
    assert (report.exact_duplicates, report.repeats) == (0, 1)


def test_the_weights_of_repeats_are_added_at_the_first_time() -> None:
    cleaned = clean(log(("a", "x", 3, 2), ("a", "x", 3, 2), ("a", "x", 1, 5), ("a", "y", 2, 1)), repeats="sum")
    assert rows(cleaned) == [("a", "x", 1), ("a", "y", 2)]
    assert cleaned.interactions.collect()["weight"].to_list() == [7, 1]  # the exact duplicate does not count


def test_the_threshold_comes_before_the_repeats_so_a_low_first_rating_hides_no_later_one() -> None:
    cleaned = clean(log(("a", "x", 1, 1), ("a", "x", 2, 5)), min_weight=4)
    assert rows(cleaned) == [("a", "x", 2)]


def test_the_core_is_found_through_a_chain_of_drops() -> None:
    # z has one user; without z, c has one item; without c, y still has two users.
    raw = log(
        ("a", "x", 1, 1), ("a", "y", 2, 1), ("b", "x", 1, 1), ("b", "y", 2, 1), ("c", "y", 1, 1), ("c", "z", 2, 1)
    )
    cleaned = clean(raw, k_core=2)
    assert rows(cleaned) == [("a", "x", 1), ("a", "y", 2), ("b", "x", 1), ("b", "y", 2)]
    report = cleaned.report
    assert (report.outside_k_core, report.outside_k_core_users, report.outside_k_core_items) == (2, 1, 1)
    assert report.k_core_passes == 2


def test_everyone_below_the_core_is_an_error_with_the_count() -> None:
    raw = log(*((f"u{number}", f"i{number}", 1, 1) for number in range(37)))
    message = (
        r"0 users left after 5-core \(had 37\)\. The largest k that leaves something is 1: 37 users, 37 items, "
        r"37 interactions\. Lower cleaning\.k_core to it"
    )
    with pytest.raises(ValueError, match=message):
        clean(raw, k_core=5)


def test_the_largest_core_that_leaves_something_is_named() -> None:
    square = [(f"u{user}", f"i{item}", 1, 1.0) for user in range(3) for item in range(4)]
    chain = [(f"v{place}", f"j{place + side}", 1, 1.0) for place in range(9) for side in (0, 1)]
    with pytest.raises(ValueError, match=r"The largest k that leaves something is 3: 3 users, 4 items, 12 interact"):
        clean(log(*square, *chain), k_core=40)


def test_a_single_user_has_no_core_of_two() -> None:
    with pytest.raises(
        ValueError, match=r"0 users left after 2-core \(had 1\)\. The largest k .* is 1: 1 users, 6 items"
    ):
        clean(log(*(("a", f"i{number}", number, 1.0) for number in range(6))), k_core=2)


def test_no_rating_above_the_threshold_is_an_error_that_names_it() -> None:
    with pytest.raises(ValueError, match=r"got 0 of 1 with a weight of at least 4\.0; the log has 1 to 1\."):
        clean(log(("a", "x", 1, 1)), min_weight=4)


def test_an_empty_log_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one interaction, got an empty log"):
        clean(log())


def test_the_report_accounts_for_every_row() -> None:
    raw = log(
        ("a", "x", 1, 5), ("a", "x", 1, 5), ("a", "x", 2, 5), ("a", "y", 3, 1), ("a", "z", 4, 5), ("b", "x", 1, 5)
    )
    report = clean(raw, min_weight=2, k_core=2, items=["x", "y", "z", "untouched"], repeats="all").report
    table = report.as_table()
    assert table["dropped"].sum() == report.raw_interactions - report.interactions
    assert table["left"].to_list()[-1] == report.interactions
    assert report.untouched_items == 1


def test_integer_ids_sort_as_numbers_and_others_as_text() -> None:
    assert clean(log(("10", "x", 1, 1), ("9", "x", 1, 1))).users["user"].to_list() == ["9", "10"]
    assert clean(log(("10", "x", 1, 1), ("9", "x", 1, 1), ("b", "x", 1, 1))).users["user"].to_list() == ["10", "9", "b"]


def test_ids_that_differ_in_leading_zeros_are_different_users() -> None:
    cleaned = clean(log(("01", "x", 1, 1), ("1", "x", 1, 1), ("001", "x", 1, 1)))
    assert cleaned.users["user"].to_list() == ["001", "01", "1"]


def test_items_carry_their_titles() -> None:
    cleaned = clean(log(("a", "y", 1, 1), ("a", "x", 2, 1)))
    assert cleaned.items.rows() == [(0, "x", "Title x", None, None), (1, "y", "Title y", None, None)]
    assert cleaned.interactions.collect_schema() == pl.Schema(
        {"user_id": pl.Int32(), "item_id": pl.Int32(), "at": pl.Datetime("us", "UTC"), "weight": pl.Float32()}
    )


def test_hashed_ties_in_time_follow_the_seed_and_not_the_file() -> None:
    tied = [("a", f"i{number}", 1, 1.0) for number in range(8)]
    forward, backward = (rows(clean(log(*order), ties="hash")) for order in (tied, tied[::-1]))
    assert forward == backward
    assert forward != sorted(forward)  # neither in the order of the ids
    assert forward != rows(clean(log(*tied), ties="hash", seed=1))


def test_ties_in_time_follow_file_and_line_and_not_the_order_of_rows_in_memory() -> None:
    tied = log(*((("a", f"i{number}", 1, 1.0)) for number in (3, 1, 2, 0)))
    two_files = pl.concat([tied, tied.with_columns(file=pl.lit("earlier.csv"), item="later " + pl.col("item"))])
    wanted = [f"later i{number}" for number in (3, 1, 2, 0)] + [f"i{number}" for number in (3, 1, 2, 0)]
    for table in (two_files, two_files.reverse(), two_files.sample(fraction=1, shuffle=True, seed=0)):
        assert [item for _, item, _ in rows(clean(table))] == wanted


def test_the_publishers_position_comes_before_the_line() -> None:
    table = log(*((("a", f"i{number}", None, 1.0)) for number in range(4))).with_columns(
        position=pl.Series([30, 10, 20, 10])
    )
    assert [item for _, item, _ in rows(clean(table))] == ["i1", "i3", "i2", "i0"]


def test_an_item_outside_the_catalogue_is_refused_with_its_line() -> None:
    with pytest.raises(ValueError, match=r"item of the catalogue, got item 'y' \(log\.csv, line 2; 1 rows\)"):
        clean(log(("a", "x", 1, 1), ("a", "y", 2, 1)), items=["x"])


def test_a_log_with_some_times_missing_is_refused() -> None:
    with pytest.raises(ValueError, match="Either all raw interactions or none must have a time, got 1 of 2 without"):
        clean(log(("a", "x", 1, 1), ("a", "y", None, 1)))


def test_a_log_without_any_time_can_be_cleaned() -> None:
    cleaned = clean(log(("a", "x", None, 1), ("a", "x", None, 1), ("a", "y", None, 1)))
    at = cleaned.interactions.collect()["at"]
    assert at.null_count() == at.len() == 2


def newest_first(days: int) -> list[tuple[str, str, int | None, float]]:
    """Two users, four items a day in the order 0 to 3, from the last row to the first."""
    return [
        (user, f"i{day}-{n}", 24 * day, 1.0)
        for day in reversed(range(days))
        for user in reversed("ab")
        for n in reversed(range(4))
    ]


def test_a_file_from_the_newest_row_to_the_oldest_is_refused_until_its_ties_are_decided() -> None:
    with pytest.raises(ValueError, match=r"fall between 100.0% .* 100.0% of the rows share.*newest_first"):
        clean(log(*newest_first(10)))
    forward = rows(clean(log(*newest_first(10)[::-1])))
    assert rows(clean(log(*newest_first(10)), ties="newest_first")) == forward
    assert rows(clean(log(*newest_first(10)), ties="hash"))


def test_a_file_without_ties_may_run_in_either_direction() -> None:
    alone = [("a", f"i{hour}", hour, 1.0) for hour in range(200)][::-1]
    assert rows(clean(log(*alone))) == [(user, item, hour) for user, item, hour, _ in alone][::-1]


def test_newest_first_reverses_each_file_and_keeps_the_order_of_the_files() -> None:
    first, second = (log(("a", "x", 0, 1), ("a", "y", 0, 1)), log(("a", "z", 0, 1), ("a", "w", 0, 1)))
    raw = pl.concat([first, second.with_columns(file=pl.lit("next.csv"))])
    assert [item for _, item, _ in rows(clean(raw, ties="newest_first"))] == ["y", "x", "w", "z"]
