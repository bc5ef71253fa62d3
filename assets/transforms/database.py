"""DuckDB as this project uses it: it reads the folders it is given and nothing else, and spills rather than dies."""

import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import duckdb

DEFAULT_MEMORY = "1GB"
"""What DuckDB may hold before it spills to disk. The process holds more: Python, polars, buffers of Parquet files."""


@contextmanager
def database(scratch: Path, *readable: Path) -> Generator[duckdb.DuckDBPyConnection]:
    """A connection that can neither reach beyond these folders, nor load extensions, nor be unlocked.

    The environment variable BORDERLINE_MEMORY (as DuckDB writes it: `1GB`) limits its memory; what does not fit goes to
    `scratch`.

    Args:
        scratch: an empty folder on a disk with room for a few copies of the data; read and written.
        readable: more folders that may be read.

    Raises:
        ValueError: BORDERLINE_MEMORY is not a size.
    """
    memory = os.environ.get("BORDERLINE_MEMORY") or DEFAULT_MEMORY
    if not re.fullmatch(r"[0-9.]+ ?[KMGT]i?B", memory):
        raise ValueError(
            f"BORDERLINE_MEMORY must be a size such as 500MB or 4GB, got {memory!r}. Set it so, or unset it."
        )
    spill = scratch / "spill"
    spill.mkdir(exist_ok=True)
    connection = duckdb.connect(
        config={
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
        },
    )
    try:
        # In this order: folders can only be named while access is open, and the lock ends all changes.
        connection.execute(f"SET memory_limit = {sql_text(memory)}")
        connection.execute(f"SET temp_directory = {sql_text(spill)}")
        folders = ", ".join(sql_text(folder) for folder in (scratch, *readable))
        connection.execute(f"SET allowed_directories = [{folders}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        yield connection
    finally:
        connection.close()


def sql_text(value: str | Path) -> str:
    """A text literal.

    >>> sql_text("it's")
    "'it''s'"
    """
    return "'{}'".format(str(value).replace("'", "''"))
