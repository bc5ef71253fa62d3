"""Predictions of models from elsewhere: measured as they are, or refused by name."""

import json
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest

from evaluation.metrics.foreign.files import read_predictions
from evaluation.metrics.foreign.predictions import foreign_predictions
from evaluation.metrics.ranking import InvalidPredictions, metrics_of

N_ITEMS = 8
HELD_OUT = pl.DataFrame(
    {
        "row_id": [5, 6, 7],
        "user_id": [0, 1, 0],
        "split": ["test", "test", "validation"],
        "history": [[0, 1], [2], [0]],
        "target": [3, 4, 1],
    },
    schema={
        "row_id": pl.Int32,
        "user_id": pl.Int32,
        "split": pl.String,
        "history": pl.List(pl.Int32),
        "target": pl.Int32,
    },
)
CANDIDATES = pl.DataFrame(
    {"row_id": [5, 6, 7], "candidates": [[3, 4, 5], [5, 4, 6], [1, 2, 3]]},
    schema={"row_id": pl.Int32, "candidates": pl.List(pl.Int32)},
)


def table(**changes: Sequence[object]) -> pl.DataFrame:
    columns = {
        "row_id": [5, 6, 5, 6],
        "protocol": ["full", "full", "of_3", "of_3"],
        "items": [[2, 3, 4], [3, 5, 6], [3, 4, 5], [5, 6, 4]],
        "scores": [[3.0, 2.0, 1.0]] * 4,
    }
    return pl.DataFrame(columns | changes, strict=False)


def judged(given: pl.DataFrame):
    return foreign_predictions(given, HELD_OUT, CANDIDATES, split="test", n_items=N_ITEMS)


def ranks(given: pl.DataFrame) -> dict[tuple[int, str], int]:
    return {(row[0], row[1]): row[2] for row in judged(given).table.select("row_id", "protocol", "target_rank").rows()}


@pytest.mark.parametrize(
    "scores",
    [
        [1.7e9, 1.7e9 - 10, 1.7e9 - 20],
        [1.0, 1.0 - 1e-9, 1.0 - 2e-9],
        [1e300, 1e299, 1e298],
        [2**60 + 2, 2**60 + 1, 2**60],
    ],
)
def test_scores_that_only_their_own_type_tells_apart_are_no_ties(scores: list[float]) -> None:
    given = table(items=[[3, 2, 4], [4, 5, 6], [3, 4, 5], [4, 6, 5]]).with_columns(scores=pl.Series([scores] * 4))
    assert set(ranks(given).values()) == {1}
    with pytest.raises(InvalidPredictions, match="best first"):
        judged(given.with_columns(pl.col("scores").list.reverse()))


def test_ranks_are_the_places_in_the_lists_and_the_last_where_a_list_lacks_its_target() -> None:
    # Row 6 has seen one of eight items: its target is at worst the seventh of the rest.
    assert ranks(table()) == {(5, "full"): 2, (6, "full"): 7, (5, "of_3"): 1, (6, "of_3"): 3}
    assert judged(table()).notes == (
        "1 lists do not hold their target and have no target_rank: it counts as ranked last",
        "1 of these full lists have fewer than 10 items: what they leave out is lost",
    )


def test_scores_are_optional_and_equal_ones_put_the_target_last() -> None:
    assert ranks(table().drop("scores")) == ranks(table())
    tied = table(scores=[[3.0, 3.0, 3.0], [3.0, 2.0, 1.0], [1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    assert ranks(tied) == {(5, "full"): 3, (6, "full"): 7, (5, "of_3"): 2, (6, "of_3"): 3}
    lists = judged(tied).table.filter((pl.col("row_id") == 5) & (pl.col("protocol") == "of_3"))["items"].to_list()
    assert lists == [[4, 3, 5]]


def test_a_given_rank_counts_where_the_list_cannot_tell_and_nowhere_else() -> None:
    assert ranks(table(target_rank=[1, 5, 1, 3]))[(6, "full")] == 5
    found = judged(table(target_rank=[1, 5, 1, 3]))
    assert found.notes == ("target_rank of 1 rows was not the target's place in its list; the place counts",)


def test_the_order_of_rows_and_unused_columns_change_nothing() -> None:
    again = table().reverse().with_columns(model=pl.lit("mine"))
    assert metrics_of(judged(again).table, HELD_OUT.filter(pl.col("split") == "test")).equals(
        metrics_of(judged(table()).table, HELD_OUT.filter(pl.col("split") == "test"))
    )


def test_a_split_that_the_data_set_has_no_rows_of_is_named() -> None:
    validation_alone = HELD_OUT.filter(pl.col("split") == "validation")
    with pytest.raises(InvalidPredictions, match="the data set has no test rows to evaluate"):
        foreign_predictions(table(), validation_alone, CANDIDATES, split="test", n_items=N_ITEMS)


def test_rows_of_the_other_split_are_passed_over() -> None:
    more = pl.concat([table(), pl.DataFrame({"row_id": [7], "protocol": ["full"], "items": [[1]], "scores": [[1.0]]})])
    assert ranks(more) == ranks(table())


def test_a_history_item_may_be_listed_where_repeats_are_kept_and_nowhere_else_even_as_the_target() -> None:
    again = HELD_OUT.with_columns(history=pl.Series([[2, 3], [2], [0]], dtype=pl.List(pl.Int32)))
    given = table(items=[[2, 3, 4], [3, 5, 6], [3, 4, 5], [5, 6, 4]])
    found = foreign_predictions(given, again, CANDIDATES, split="test", n_items=N_ITEMS, keeps_repeats=True).table
    full = found.filter(pl.col("protocol") == "full")
    assert full["target_rank"].to_list() == [2, N_ITEMS], "nothing is left out of the catalogue"
    only_target = table(items=[[3, 4, 5], [3, 5, 6], [3, 4, 5], [5, 6, 4]])
    with pytest.raises(InvalidPredictions, match="no item of the row's history"):
        foreign_predictions(only_target, again, CANDIDATES, split="test", n_items=N_ITEMS)


NAN = float("nan")


@pytest.mark.parametrize(
    ("bad", "defect", "said"),
    [
        (table().head(3), "missing_row", "got 1 rows that break this, the first row_id 6 under 'of_3'"),
        (pl.concat([table(), table().head(1)]), "duplicate_row", "the first row_id 5 under 'full'"),
        (table(row_id=[5, 6, 5, 90]), "unknown_row", "must be of a validation or test row of this data set"),
        (table(items=[[2, 2, 4], [3, 5, 6], [3, 4, 5], [5, 6, 4]]), "items", "an item must occur once in a list"),
        (table(items=[[2, 9, 4], [3, 5, 6], [3, 4, 5], [5, 6, 4]]), "unknown_item", "item ids must be 0 to 7"),
        (table(items=[[2, 1, 4], [3, 5, 6], [3, 4, 5], [5, 6, 4]]), "history_item", "no item of the row's history"),
        (table(items=[[2, 3, 4], [3, 5, 6], [3, 4, 7], [5, 6, 4]]), "no_candidate", "of the row's candidate set alone"),
        (table(items=[[2, 3, 4], [3, 5, 6], [3, 4, 5], []]), "items", "of one length, 1 or more"),
        (table(scores=[[3.0, NAN, 1.0]] + [[3.0, 2.0, 1.0]] * 3), "scores", "scores must be finite numbers"),
        (table(scores=[[1.0, 2.0, 3.0]] + [[3.0, 2.0, 1.0]] * 3), "scores", "a list must be best first"),
        (table(scores=[[3.0, 2.0]] + [[3.0, 2.0, 1.0]] * 3), "items", "must be of one length"),
        (table(user_id=[0, 0, 0, 0]), "other_dataset", "user_id must be that of the row in histories"),
        (table(target=[3, 4, 3, 5]), "other_dataset", "target must be that of the row in histories"),
        (table(target_rank=[2, 2, 1, 3]), "target_rank", "must be behind the list and within the protocol"),
        (table(target_rank=[2, 8, 1, 3]), "target_rank", "must be behind the list and within the protocol"),
        (table(protocol=["full", "full", "of_4", "of_4"]), "protocol", "named after the size of the row's candidate"),
        (table(protocol=["full", "full", "top", "top"]), "protocol", "protocol must be 'full' or 'of_<n>'"),
        (table(items=[["a"]] * 4), "columns", "lists of whole numbers up to 2,147,483,647, got 'a' in row 1"),
        (table(items=[[2, 3, 4], [3.5, 5, 6]] * 2), "columns", "up to 2,147,483,647, got 3.5 in row 2 of the file"),
        (table(row_id=[5, 6.25, 5, 6]), "columns", "row_id must hold whole numbers up to 2,147,483,647, got 6.25"),
        (table(row_id=[5, 2**40, 5, 6]), "columns", "got 1099511627776 in row 2 of the file"),
        (table(row_id=[True] * 4), "columns", "row_id must hold whole numbers up to 2,147,483,647, got Boolean"),
        (table(items=[3, 4, 5, 6]), "columns", "items must hold lists of whole numbers up to 2,147,483,647, got Int64"),
        (table(scores=["high"] * 4), "columns", "scores must hold lists of numbers, got String"),
        (table(row_id=[5, None, 5, 6]), "columns", "row_id must hold no nulls"),
        (table().drop("items"), "columns", "must have the column items, got row_id, protocol, scores"),
        (table().clear(), "missing_row", "must hold rows, got none"),
        (table(row_id=[7] * 4), "missing_row", "must hold the 2 test rows, got none"),
    ],
)  # fmt: skip
def test_a_bad_table_is_refused_by_name(bad: pl.DataFrame, defect: str, said: str) -> None:
    with pytest.raises(InvalidPredictions) as refusal:
        judged(bad)
    assert refusal.value.defect == defect
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def as_jsonl(folder: Path, given: pl.DataFrame) -> Path:
    path = folder / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in given.to_dicts()), encoding="utf-8")
    return path


def as_csv(folder: Path, given: pl.DataFrame) -> Path:
    lists = [pl.col(name).cast(pl.List(pl.String)).list.join(" ") for name in ("items", "scores") if name in given]
    given.with_columns(lists).write_csv(folder / "mine.csv")
    return folder / "mine.csv"


def as_parquet(folder: Path, given: pl.DataFrame) -> Path:
    given.write_parquet(folder / "mine.parquet")
    return folder / "mine.parquet"


@pytest.mark.parametrize("write", [as_jsonl, as_csv, as_parquet])
def test_every_format_says_the_same(tmp_path: Path, write) -> None:
    given = table(target_rank=[2, 5, 1, 3])
    assert judged(read_predictions(write(tmp_path, given))).table.equals(judged(given).table)
    with pytest.raises(InvalidPredictions, match="scores must be finite numbers"):
        judged(read_predictions(write(tmp_path, table(scores=[[3.0, NAN, 1.0]] + [[3.0, 2.0, 1.0]] * 3))))


@pytest.mark.parametrize("text", ["[2, 3, 4]", "2 3 4", "2|3|4", " [2;3;4] "])
def test_a_list_in_a_csv_file_may_be_written_in_several_ways(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.csv").write_text(f'row_id,protocol,items\n5,full,"{text}"\n')
    assert read_predictions(tmp_path / "mine.csv")["items"].to_list() == [[2, 3, 4]]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("mine.csv", "row_id,protocol,items\n5,full,2 x\n", "items must be a list of numbers, got '2 x' in row 1"),
        ("mine.csv", "row_id,protocol,items\n5,full,\n", "items must be a list of numbers, got None in row 1"),
        ("mine.csv", "", "cannot be read as csv"),
        ("mine.jsonl", '{"row_id": 5}\n{"row_id"\n', "mine.jsonl:2: not valid JSON"),
        ("mine.jsonl", "[1]\n", "mine.jsonl:1: must be one JSON object a line, got list"),
        ("mine.parquet", "no parquet", "cannot be read as parquet"),
        ("mine.pkl", "", "must be one of .parquet, .csv, .jsonl, .ndjson, .json, got '.pkl'"),
        ("mine.jsonl", '{"row_id": 5}\n{"answer": "caf\xe9"}\n', "mine.jsonl:2: must be UTF-8 text, byte 16 is not"),
        ("mine.csv", "row_id,answer\n5,caf\xe9\n", "mine.csv:2: must be UTF-8 text, byte 6 is not. Save it as UTF-8"),
        ("mine.csv", "\xff\xfer\0o\0w\0", "mine.csv:1: must be UTF-8 text, byte 1 is not"),
        ("mine.jsonl", '{"answer": "\\ud83d"}\n', "mine.jsonl:1: must be whole characters, got half of one: \\ud83d"),
        ("mine.jsonl", '{"row_id": ' + "9" * 5000 + "}", "mine.jsonl:1: not valid JSON: Exceeds the limit"),
        ("mine.jsonl", '{"a":' + "[" * 100_000, "mine.jsonl:1: must be an object of numbers, text and lists of them"),
        (None, "", "must be a file, there is none of that name"),
    ],
    ids=lambda given: None if given is None else given[:20],
)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, name: str | None, text: str, said: str) -> None:
    if name:
        (tmp_path / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidPredictions) as refusal:
        read_predictions(tmp_path / (name or "none.csv"))
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_line_of_json_ends_at_a_line_feed_alone(tmp_path: Path) -> None:
    answers = ["two\u2028lines", "next\x85line", "caf\xe9"]
    lines = [json.dumps({"row_id": row, "answer": answer}, ensure_ascii=False) for row, answer in enumerate(answers)]
    (tmp_path / "mine.jsonl").write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8", newline="")
    assert read_predictions(tmp_path / "mine.jsonl")["answer"].to_list() == answers


def test_an_answer_in_a_csv_file_is_text_whatever_it_looks_like(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("row_id,answer\n5,007\n6,1984\n")
    assert read_predictions(tmp_path / "mine.csv")["answer"].to_list() == ["007", "1984"]


def test_numbers_are_taken_from_whichever_type_holds_them_whole() -> None:
    floats = table().with_columns(pl.col("row_id").cast(pl.Float64), pl.col("items").cast(pl.List(pl.Float64)))
    texts = table().with_columns(pl.col("row_id").cast(pl.String), pl.col("items").cast(pl.List(pl.String)))
    fixed = table().with_columns(pl.col("items").list.to_array(3))
    for same in (floats, texts, fixed):
        assert judged(same).table.equals(judged(table()).table)
