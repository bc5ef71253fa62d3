"""JSON lines: one object a line, read by DuckDB, which here can reach neither files nor the network."""

import itertools
import json
from collections.abc import Iterator

import duckdb
import polars as pl
import pyarrow as pa

from assets.sources.contract import UnusableSource
from assets.sources.files import RawFile
from assets.sources.reader.text import (
    LONGEST,
    Chunk,
    TextForm,
    bad_rows,
    refuse_empty,
    shown,
    utf8_blocks,
    whole_lines,
)

_LOOKED_AT = 1_000  # lines whose keys are the file's columns


def keys(file: RawFile, form: TextForm) -> tuple[str, ...]:
    """The keys of the file's first objects, in the order in which they appear.

    Raises:
        UnusableSource: the file is empty, or one JSON array.
    """
    text = b"".join(itertools.islice(utf8_blocks(file, form), 1))
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


def has_key(file: RawFile, form: TextForm, key: str) -> bool:
    """Whether the file has a key anywhere, which its first objects may lack.

    Raises:
        UnusableSource: the file is damaged or in another encoding.
    """
    written = [json.dumps(key, ensure_ascii=is_ascii).encode() for is_ascii in (True, False)]
    return any(text in line for _, lines in whole_lines(file, form) for line in lines for text in written)


def chunks(file: RawFile, form: TextForm, wanted: tuple[str, ...], *, nested: bool = False) -> Iterator[Chunk]:
    """The objects of a file, with the keys `wanted`; what an object lacks is missing.

    Args:
        file: one object a line.
        form: how it is written as text.
        wanted: keys of the objects.
        nested: lists and objects are given as JSON; they are missing otherwise.

    Raises:
        UnusableSource: the file is damaged or in another encoding.
    """
    with _sealed() as connection:
        for line, lines in whole_lines(file, form):
            yield _chunk(connection, lines, line, wanted, nested=nested)


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
    connection: duckdb.DuckDBPyConnection, lines: list[bytes], first_line: int, wanted: tuple[str, ...], *, nested: bool
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
    has_value = f"{_IS_OBJECT}" if nested else f"{_IS_OBJECT} AND json_type(text, ?) NOT IN ('OBJECT', 'ARRAY')"
    values = "".join(
        f", CASE WHEN {has_value} THEN json_extract_string(text, ?) END AS value_{place}"
        for place in range(len(wanted))
    )
    query = f"SELECT {_IS_OBJECT} AS is_object{values} FROM lines ORDER BY place"
    bound = [pointer for pointer in pointers for _ in range(1 if nested else 2)]
    table = pl.DataFrame(connection.sql(query, params=bound).to_arrow_table())
    is_object = table["is_object"].fill_null(False)
    for place in (~is_object).arg_true():
        bad.append((first_line + places[place], "must be a JSON object", shown(kept[place])))
    objects = is_object.arg_true()
    records = table[objects].select(pl.col(f"value_{place}").alias(name) for place, name in enumerate(wanted))
    numbers = pl.Series([first_line + places[place] for place in objects], dtype=pl.Int64)
    return Chunk(
        records, numbers, lambda wrong: [shown(kept[objects[place]]) for place in wrong], bad_rows(sorted(bad))
    )
