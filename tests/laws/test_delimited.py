"""Reading CSV: what Python writes comes back, with the lines it stands on, wherever the file is cut into blocks."""

import csv
import io
import tempfile
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.sources import files
from assets.sources.files import RawFile
from assets.sources.reader.delimited import Dialect
from assets.sources.reader.delimited import chunks as read_chunks

FIELD = st.text(alphabet='ab,;"\n é👩\t', max_size=6)
ROWS = st.lists(st.tuples(FIELD, FIELD, FIELD), min_size=1, max_size=12)
NAMES = ("x", "y", "z")


def read(content: bytes, block: int, *, has_header: bool = False) -> tuple[list[tuple[str, ...]], list[int], list[int]]:
    """Fields, lines, and the lines that were set aside."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "BLOCK", block)
        path = Path(folder) / "x.csv"
        path.write_bytes(content)
        found = list(read_chunks(RawFile(path, None, "x.csv"), Dialect(","), NAMES, NAMES, has_header=has_header))
    fields = [tuple(value or "" for value in row) for chunk in found for row in chunk.records.select(NAMES).rows()]
    lines = [line for chunk in found for line in chunk.lines]
    return fields, lines, [line for chunk in found for line in chunk.bad["line"]]


def written(rows: list[tuple[str, ...]], quoting: Literal[0, 1]) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out, quoting=quoting, lineterminator="\n").writerows(rows)
    return out.getvalue().encode()


@given(rows=ROWS, quote_all=st.booleans(), block=st.integers(1, 40))
def test_what_is_written_comes_back_with_its_lines(rows: list[tuple[str, ...]], quote_all: bool, block: int) -> None:
    content = written(rows, csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL)
    starts = [1]
    for row in rows:
        starts.append(starts[-1] + 1 + sum(field.count("\n") for field in row))
    assert read(content, block) == (rows, starts[:-1], [])


@given(lines=st.lists(st.text(alphabet='a,"', max_size=9), min_size=1, max_size=12), block=st.integers(1, 40))
def test_blocks_change_nothing_however_broken_the_quotes_are(lines: list[str], block: int) -> None:
    content = "\n".join(lines).encode()
    whole = read(content, 1 << 20)
    assert read(content, block) == whole
    fields, kept, bad = whole
    assert len(fields) == len(kept)
    assert not set(kept) & set(bad)
