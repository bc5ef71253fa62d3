"""JSON lines: one object a line, read by DuckDB, which here can reach neither files nor the network."""

from collections.abc import Iterator

import duckdb
import polars as pl
import pyarrow as pa

from assets.sources.chunks import (
    LONGEST,
    Chunk,
    bad_rows,
    refuse_empty,
    refuse_endless_line,
    shown,
    utf8_blocks,
    with_last,
)
from assets.sources.contract import UnusableSource
from assets.sources.files import RawFile

_LOOKED_AT = 1_000  # lines whose keys are the file's columns


def keys(file: RawFile, encoding: str) -> tuple[str, ...]:
    """The keys of the file's first objects, in the order in which they appear.

    Raises:
        UnusableSource: the file is empty, or one JSON array.
    """
    text = b"".join(block for block, _ in zip(utf8_blocks(file, encoding), range(1), strict=False))
    refuse_empty(file, text)
    if text.lstrip()[:1] == b"[":
        raise UnusableSource(
            f"{file.name}, line 1: must be one JSON object a line, got an array. Write each element on its own line."
        )
    with _sealed() as connection:
        lines = [line for line in text.split(b"\n")[:_LOOKED_AT] if line and b"\0" not in line]
        _register(connection, [line.decode("utf-8", errors="replace") for line in lines])
        found = connection.execute(f"SELECT json_keys(text) FROM lines WHERE {_IS_OBJECT}").fetchall()
    return tuple(dict.fromkeys(key for (row,) in found for key in row))


def chunks(file: RawFile, encoding: str, wanted: tuple[str, ...]) -> Iterator[Chunk]:
    """The objects of a file, with the keys `wanted`; what an object lacks is missing.

    Raises:
        UnusableSource: the file is damaged or in another encoding.
    """
    rest, line = b"", 1
    with _sealed() as connection:
        for block, is_last in with_last(utf8_blocks(file, encoding)):
            text, end, tail = (rest + block).rpartition(b"\n")
            if is_last:
                text, tail = text + end + tail, b""
            rest = tail
            refuse_endless_line(file, rest, line)
            lines = text.split(b"\n") if text or end else []
            yield _chunk(connection, lines, line, wanted)
            line += len(lines)


_IS_OBJECT = "json_valid(text) AND json_type(CASE WHEN json_valid(text) THEN text END) = 'OBJECT'"


def _sealed() -> duckdb.DuckDBPyConnection:
    """A connection that reads no file and loads no extension, and cannot be unlocked."""
    connection = duckdb.connect(
        config={
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
        }
    )
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def _register(connection: duckdb.DuckDBPyConnection, lines: list[str]) -> None:
    places = pa.array(range(len(lines)), pa.int64())
    connection.register("lines", pa.table({"place": places, "text": pa.array(lines, pa.large_string())}))


def _chunk(
    connection: duckdb.DuckDBPyConnection, lines: list[bytes], first_line: int, wanted: tuple[str, ...]
) -> Chunk:
    bad: list[tuple[int, str, str]] = []
    kept: list[bytes] = []
    places: list[int] = []
    for place, text in enumerate(lines):
        if not text.strip():
            continue
        if b"\0" in text:
            bad.append((first_line + place, "holds a NUL byte", shown(text)))
        elif len(text) > LONGEST:
            bad.append((first_line + place, f"is longer than {LONGEST:,} bytes", shown(text)))
        else:
            kept.append(text)
            places.append(place)
    _register(connection, [text.decode("utf-8") for text in kept])
    # The names of keys are a user's text: they are bound, as JSON pointers, and never become SQL.
    pointers = ["/" + name.replace("~", "~0").replace("/", "~1") for name in wanted]
    values = ", ".join(
        f"CASE WHEN {_IS_OBJECT} AND json_type(text, ?) NOT IN ('OBJECT', 'ARRAY') "
        f"THEN json_extract_string(text, ?) END AS value_{place}"
        for place in range(len(wanted))
    )
    query = f"SELECT {_IS_OBJECT} AS is_object, {values} FROM lines ORDER BY place"
    twice = [pointer for pointer in pointers for _ in range(2)]
    found = connection.sql(query, params=twice).to_arrow_table()
    table = pl.DataFrame(found).with_columns(pl.Series("line", [first_line + place for place in places], pl.Int64))
    is_object = table["is_object"].fill_null(False)
    for place in (~is_object).arg_true():
        bad.append((first_line + places[place], "must be a JSON object", shown(kept[place])))
    objects = is_object.arg_true()
    records = table[objects].select(
        *(pl.col(f"value_{place}").alias(name) for place, name in enumerate(wanted)), "line"
    )
    return Chunk(records, lambda place: shown(kept[objects[place]]), bad_rows(sorted(bad)))
