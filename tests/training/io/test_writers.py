"""Tables that commands write: the bytes depend on the rows only, and are those that the parent would write."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from assets.lake.parquet import write_table
from contracts.parquet_layout import ROW_GROUP
from contracts.words import MINERS
from training.io.writers import arrow_schema, list_array, write_parts

N = 2 * ROW_GROUP + 17


def mined() -> pa.Table:
    random = np.random.default_rng(0)
    logp = random.normal(-5, 1, N).astype(np.float32)
    numbers = [random.integers(0, 99, N).astype(np.int32) for _ in range(5)]
    columns = [np.sort(numbers[0]), numbers[1], logp, numbers[2], -logp, logp > -4]
    columns += [pa.array(random.choice(MINERS, N)), numbers[3], numbers[4], pa.repeat("sft", N)]
    return pa.table(columns, schema=arrow_schema("mined_negatives"))


def predicted() -> pa.Table:
    random = np.random.default_rng(1)
    offsets = np.concatenate([[0], np.cumsum(random.integers(1, 5, N))])
    items = list_array(offsets, random.integers(0, 99, offsets[-1]).astype(np.int32))
    scores = list_array(offsets, random.random(offsets[-1]).astype(np.float32))
    row_id, rank = (np.arange(N) // 2).astype(np.int32), random.integers(1, 99, N).astype(np.int32)
    protocol = pa.array(np.resize(["full", "of_20"], N))
    return pa.table([row_id, protocol, items, scores, rank], schema=arrow_schema("predictions"))


@pytest.mark.parametrize("make", [mined, predicted])
def test_a_command_writes_the_bytes_that_the_parent_would(make: Callable[[], pa.Table], tmp_path: Path) -> None:
    rows = make()
    cuts = [[], [1], [ROW_GROUP], [0, 100, 101, N - 1], list(range(16_384, N, 16_384))]
    contents = set()
    for place, cut in enumerate(cuts):
        parts = [rows.slice(first, end - first) for first, end in zip([0, *cut], [*cut, N], strict=True)]
        write_parts(iter(parts), rows.schema, tmp_path / f"{place}.parquet")
        contents.add((tmp_path / f"{place}.parquet").read_bytes())
    frame = pl.from_arrow(rows)
    assert isinstance(frame, pl.DataFrame)
    write_table(frame, tmp_path / "parent.parquet")
    assert contents == {(tmp_path / "parent.parquet").read_bytes()}


def test_a_table_without_rows_has_its_columns(tmp_path: Path) -> None:
    schema = arrow_schema("predictions")
    write_parts(iter([schema.empty_table()]), schema, tmp_path / "empty.parquet")
    write_table(pl.DataFrame(pl.from_arrow(schema.empty_table())), tmp_path / "parent.parquet")
    assert (tmp_path / "empty.parquet").read_bytes() == (tmp_path / "parent.parquet").read_bytes()
    assert pl.read_parquet(tmp_path / "empty.parquet").columns == schema.names


def test_a_writer_that_fails_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    def parts():
        yield mined()
        raise OSError("the machine went away")

    with pytest.raises(OSError, match="went away"):
        write_parts(parts(), arrow_schema("mined_negatives"), tmp_path / "mined_negatives.parquet")
    assert not (tmp_path / "mined_negatives.parquet").exists()
