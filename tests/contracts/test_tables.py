"""Tables as data: complete, consistent, and the same in polars and Arrow."""

from typing import get_args

import polars as pl
import pyarrow as pa
import pytest

from contracts.tables import TABLES, Column, Type
from evaluation.schemas import dtype_of, empty, schema_of
from training.io.writers import arrow_schema


@pytest.mark.parametrize("name", TABLES)
def test_every_table_and_column_is_described_and_named_once(name: str) -> None:
    table = TABLES[name]
    assert table.description.endswith(".")
    assert all(column.description for column in table)
    assert len({column.name for column in table}) == len(table.columns)
    for names in (*table.unique, table.sorted_by):
        assert [table.column(column).name for column in names] == list(names)
    assert table.dense is None or table.column(table.dense)


@pytest.mark.parametrize("name", TABLES)
def test_polars_and_arrow_understand_a_table_alike(name: str) -> None:
    there = pa.Table.from_pylist([], schema=arrow_schema(name))
    assert pl.DataFrame(pl.from_arrow(there)).schema == schema_of(name) == empty(name).schema


@pytest.mark.parametrize("type_", get_args(Type))
def test_every_type_has_a_polars_type_of_its_own(type_: Type) -> None:
    dtype = dtype_of(Column("x", type_, "X."))
    others = [dtype_of(Column("x", other, "X.")) for other in get_args(Type) if other != type_]
    assert dtype not in others
    assert (dtype == pl.List) == type_.startswith("list[")


def test_what_must_hold_is_said_in_words() -> None:
    column = Column("items", "list[float32]", "Items.", minimum=0, min_length=2, distinct=True)
    assert column.rules() == [
        "never missing",
        "each element is a finite number",
        "each element is at least 0",
        "at least 2 elements",
        "no element twice",
    ]
    assert Column("note", "string", "A note.", nullable=True).rules() == []


def test_a_column_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(KeyError, match=r"users.*item.*user_id"):
        TABLES["users"].column("item")
