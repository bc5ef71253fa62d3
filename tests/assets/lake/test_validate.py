"""The data contract: what each table must be, and what a table that is not is told."""

from collections.abc import Callable

import polars as pl
import pytest

from assets.lake.validate import SchemaError, validate
from contracts.tables import TABLES
from evaluation.schemas import empty, schema_of

HISTORIES = pl.DataFrame(
    {
        "row_id": [0, 1, 2],
        "user_id": [0, 0, 1],
        "split": ["train", "validation", "test"],
        "history": [[4], [4, 7], [9]],
        "target": [7, 2, 3],
    },
    schema=schema_of("histories"),
)
REFERENCE_LOGPS = pl.DataFrame(
    {"row_id": [0, 0], "item_id": [1, 2], "logp": [-1.5, -2.0], "tokens": [1, 1]},
    schema=schema_of("reference_logps"),
)


def test_a_table_that_keeps_its_contract_passes() -> None:
    validate(HISTORIES, TABLES["histories"])
    validate(REFERENCE_LOGPS, TABLES["reference_logps"])


@pytest.mark.parametrize("name", TABLES)
def test_every_empty_table_keeps_its_contract(name: str) -> None:
    validate(empty(name), TABLES[name])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.drop("target"), r"histories must have the columns .* \(missing target\)"),
        (lambda t: t.with_columns(extra=1), r"\(unknown extra\)"),
        (lambda t: t.select("user_id", "row_id", "split", "history", "target"), r"\(in another order\)"),
        (lambda t: t.cast({"target": pl.Int64}), "histories.target must be Int32, got Int64"),
        (
            lambda t: t.with_columns(target=pl.lit(None, pl.Int32)),
            "histories.target must never be missing, got None in",
        ),
        (lambda t: t.with_columns(target=-pl.col("target")), "histories.target must be at least 0, got -7 in row 0"),
        (lambda t: t.with_columns(split=pl.lit("dev")), "must be one of train, validation, test, got 'dev'"),
        (lambda t: t.with_columns(row_id=pl.col("row_id") + 1), "histories.row_id must count the rows from 0, got 1"),
        (
            lambda t: _with_history(t, [[4], [], [9]]),
            r"histories.history must have at least 1 elements, got \[\] in row 1",
        ),
        (lambda t: _with_history(t, [[4], [5, -1], [9]]), "histories.history must be at least 0, got -1 in row 1"),
        (lambda t: _with_history(t, [[4], [5, 1], [None]]), "must hold no missing element, got None in row 2"),
        (lambda t: _with_history(t, [None, [5, 1], [-3]]), "must never be missing, got None in row 0"),
    ],
)
def test_a_broken_table_is_refused_by_table_column_row_and_value(
    spoil: Callable[[pl.DataFrame], pl.DataFrame], message: str
) -> None:
    with pytest.raises(SchemaError, match=message):
        validate(spoil(HISTORIES), TABLES["histories"])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_was_never_computed_is_refused(value: float) -> None:
    broken = REFERENCE_LOGPS.with_columns(logp=pl.Series([-1.5, value], dtype=pl.Float32))
    with pytest.raises(SchemaError, match=r"logp must be a finite number, got .* in row 1"):
        validate(broken, TABLES["reference_logps"])


def test_a_repeated_key_is_refused_and_named() -> None:
    with pytest.raises(SchemaError, match="one row for each row_id, item_id, got row_id=0, item_id=1 more than once"):
        validate(pl.concat([REFERENCE_LOGPS, REFERENCE_LOGPS]), TABLES["reference_logps"])
    items = pl.DataFrame({"item": ["a", "a"], "title": ["x", "y"], "category": None, "text": None})
    with pytest.raises(SchemaError, match="raw_items must have one row for each item, got item='a' more than once"):
        validate(items.cast(schema_of("raw_items")), TABLES["raw_items"])


def test_rows_out_of_order_are_refused_where_they_first_fall() -> None:
    rows = pl.DataFrame(
        {"row_id": [0, 2, 1], "chosen": [1, 1, 1], "rejected": [[2], [2], [2]]},
        schema=schema_of("preference_rows"),
    )
    with pytest.raises(SchemaError, match=r"ascend by row_id, got \(1,\) after \(2,\) in row 2"):
        validate(rows, TABLES["preference_rows"])


def test_a_candidate_twice_in_one_list_is_refused() -> None:
    sets = pl.DataFrame({"row_id": [5], "candidates": [[1, 2, 1]]}, schema=schema_of("candidate_sets"))
    with pytest.raises(SchemaError, match=r"candidates must hold no element twice, got \[1, 2, 1\] in row 0"):
        validate(sets, TABLES["candidate_sets"])


def test_an_unknown_protocol_is_refused() -> None:
    row = {"row_id": [0], "protocol": ["sampled"], "items": [[1]], "scores": [[0.5]], "target_rank": [1]}
    with pytest.raises(SchemaError, match=r"predictions.protocol must match .*, got 'sampled'"):
        validate(pl.DataFrame(row, schema=schema_of("predictions")), TABLES["predictions"])


def _with_history(table: pl.DataFrame, history: list[list[int | None] | None]) -> pl.DataFrame:
    return table.with_columns(history=pl.Series(history, dtype=pl.List(pl.Int32)))
