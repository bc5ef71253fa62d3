"""A benchmark's rows keep what was published: its split, its histories, its lists, its whole catalogue."""

from typing import Any

import polars as pl
import pytest

from assets.lake.validate import validate
from assets.transforms.guarantees.candidates import one_target_per_candidate_set
from assets.transforms.guarantees.splits import splits_follow_each_other
from assets.transforms.paper_rows import as_published, published_candidates, published_history_parts, published_lists
from contracts.config.dataset import Histories, PublishedSplit
from contracts.tables import TABLES
from evaluation.schemas import schema_of
from tests.assets.transforms.whole import histories_precede_targets

SEQUENCES = {"u": "abcbd", "v": "cda", "w": "eac"}
ROWS = [
    # "b" twice: it is train where it stands first, and a validation target where it stands again
    ("train", "u", 2, "ab", "c", None),
    ("validation", "u", 3, "abc", "b", "xyb"),
    ("test", "u", 4, "bcb", "d", "dxz"),
    ("train", "v", 2, "cd", "a", None),
    ("validation", "w", 1, "e", "a", "axy"),
    ("validation", "w", 2, "ea", "c", "zcy"),
]


def raw_tables() -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    log = [
        (user, item, None, n, 1.0, None, "f", 1) for user, items in SEQUENCES.items() for n, item in enumerate(items)
    ]
    items = [(item, item.upper(), None, None) for item in "abcdexyz"]
    rows = [(*row[:3], [*row[3]], row[4], None if row[5] is None else [*row[5]], "f", 1) for row in ROWS]
    tables = (("raw_interactions", log), ("raw_items", items), ("paper_rows", rows))
    frames = [pl.DataFrame(values, schema=schema_of(name), orient="row") for name, values in tables]
    for (name, _), frame in zip(tables, frames, strict=True):
        validate(frame, TABLES[name])
    return frames[0], frames[1], frames[2]


def history_table(*arguments: Any) -> pl.DataFrame:
    return pl.concat(list(published_history_parts(*arguments)))


@pytest.mark.parametrize("shuffle", [False, True])
def test_an_interaction_is_in_the_first_split_that_shows_it(shuffle: bool) -> None:
    log, items, rows = raw_tables()
    if shuffle:
        log, items, rows = (table.sample(fraction=1.0, shuffle=True, seed=3) for table in (log, items, rows))
    published = as_published(log, items, rows)
    for name in ("interactions", "users", "items"):
        validate(getattr(published, name), TABLES[name])
    shown = published.interactions.join(published.users, on="user_id").join(published.items, on="item_id")
    by_user = shown.group_by("user", maintain_order=True).agg("item", pl.col("split").str.head(1))
    assert [(user, "".join(found), "".join(splits)) for user, found, splits in by_user.rows()] == [
        ("u", "abcbd", "tttvt"), ("v", "cda", "ttt"), ("w", "eac", "vvv"),
    ]  # fmt: skip
    assert splits_follow_each_other(published.interactions).passed
    assert published.items["item"].to_list() == [*"abcdexyz"]


@pytest.mark.parametrize(("train", "expected"), [("rows", ["ab", "cd"]), ("windows", ["a", "ab", "c", "cd"])])
def test_held_out_histories_are_the_publishers_and_train_is_as_asked(train: str, expected: list[str]) -> None:
    log, items, rows = raw_tables()
    tables = as_published(log, items, rows)
    split = PublishedSplit.model_validate({"kind": "published", "train": train})
    histories = history_table(rows, tables.interactions, tables.users, tables.items, split, Histories(max_length=2))
    validate(histories, TABLES["histories"])
    names = tables.items["item"]
    shown = [
        (row["split"], "".join(names.gather(row["history"])), names[row["target"]]) for row in histories.to_dicts()
    ]
    assert [history for split, history, _ in shown if split == "train"] == expected
    assert shown[len(expected) :] == [
        ("validation", "bc", "b"), ("validation", "e", "a"), ("validation", "ea", "c"), ("test", "cb", "d"),
    ]  # fmt: skip
    assert histories_precede_targets(histories, tables.interactions).passed


def test_published_lists_stay_in_their_order_at_their_rows() -> None:
    log, items, rows = raw_tables()
    tables = as_published(log, items, rows)
    split, limits = PublishedSplit(kind="published"), Histories()
    histories = history_table(rows, tables.interactions, tables.users, tables.items, split, limits)
    shuffled = rows.sample(fraction=1.0, shuffle=True, seed=1)
    candidate_sets = published_candidates(shuffled, histories, tables.users, tables.items, 3)
    validate(candidate_sets, TABLES["candidate_sets"])
    assert one_target_per_candidate_set(histories, candidate_sets).passed
    names = tables.items["item"]
    assert ["".join(names.gather(found)) for found in candidate_sets["candidates"]] == ["xyb", "axy", "zcy", "dxz"]


@pytest.mark.parametrize(
    ("lists", "n", "message"),
    [
        (True, 20, r"got 20 for one of 3 items \(f, line 1; 4 rows\)\. Write candidates: \{draw: published, n: 3\}"),
        (False, 3, r"got 3 for one of 0 items .*draw: uniform\}; the publisher has no lists"),
    ],
)
def test_lists_of_another_length_or_none_are_refused(lists: bool, n: int, message: str) -> None:
    log, items, rows = raw_tables()
    if not lists:
        rows = rows.with_columns(candidates=pl.lit(None, pl.List(pl.String)))
    tables = as_published(log, items, rows)
    split, limits = PublishedSplit(kind="published"), Histories()
    histories = history_table(rows, tables.interactions, tables.users, tables.items, split, limits)
    with pytest.raises(ValueError, match=message):
        published_candidates(rows, histories, tables.users, tables.items, n)


def test_lists_for_the_probe_are_those_of_every_row_that_can_be_judged() -> None:
    """Train lists are among them; one of another length, without its target, or with a repeat is not."""
    raw_interactions, raw_items, rows = raw_tables()
    tables = as_published(raw_interactions, raw_items, rows)
    lists = [["c", "x"], ["x", "y", "b"], ["x", "z"], ["a", "a"], None, ["y", "c"]]
    shown = published_lists(rows.with_columns(pl.Series("candidates", lists)), tables.users, tables.items, 2)
    names = dict(tables.items.select("item_id", "item").iter_rows())
    assert [[names[item] for item in of_row] for of_row in shown["candidates"]] == [["c", "x"], ["y", "c"]]
    assert [names[item] for item in shown["target"]] == ["c", "c"]
    assert shown["row_id"].to_list() == [0, 1]


def test_an_interaction_that_no_row_shows_is_refused() -> None:
    log, items, rows = raw_tables()
    with pytest.raises(
        ValueError, match=r"must be shown by one of its rows, got user 'v', position 0 without \(f, line 1\)"
    ):
        as_published(log, items, rows.filter(pl.col("user") != "v"))


def test_a_user_whose_splits_overlap_in_time_is_found() -> None:
    log = pl.DataFrame({"user_id": [0, 0, 0, 1], "split": ["train", "validation", "train", "test"]})
    finding = splits_follow_each_other(log)
    assert (finding.violations, finding.first["row"].to_list()) == (1, [2])
