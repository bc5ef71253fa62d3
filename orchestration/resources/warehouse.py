"""The SQL face of the lake: `warehouse.duckdb` holds a view for each table, over all current versions."""

import fcntl
import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb

from assets.lake.versions import Version
from contracts.durable import commit, staging_path

PARTITION_COLUMNS = ("dataset", "experiment")


def write_warehouse(path: Path, tables: Mapping[str, Sequence[Version]], *, afresh: bool) -> None:
    """Writes a new database beside `path` and renames it over it, so that no reader ever holds a lock that stops us.

    Args:
        path: of the database.
        tables: asset → its current versions that hold a table.
        afresh: the database shows nothing else; otherwise the views of other assets stay.
    """
    staged = staging_path(path)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # or the views of two publications at once would be those of one
        if not afresh:
            shutil.copyfile(path, staged)
        try:
            with duckdb.connect(str(staged)) as connection:
                for asset, versions in sorted(tables.items()):
                    selects = [_select(version) for version in versions if _is_readable(connection, version)]
                    if selects:
                        connection.execute(f'CREATE OR REPLACE VIEW "{asset}" AS {" UNION ALL BY NAME ".join(selects)}')
                    else:
                        connection.execute(f'DROP VIEW IF EXISTS "{asset}"')
            commit(staged, path)
        finally:
            staged.unlink(missing_ok=True)


def _is_readable(connection: duckdb.DuckDBPyConnection, version: Version) -> bool:
    """A damaged file must not take the view of every other partition with it; reading it says so."""
    try:
        connection.execute("SELECT * FROM read_parquet(?) LIMIT 0", [str(version.table_path)])
    except duckdb.Error as error:
        warnings.warn(f"{version.table_path} is left out of the warehouse: {error}", stacklevel=2)
        return False
    return True


def _select(version: Version) -> str:
    # The names come from files and folders that match a narrow pattern; quotes are doubled all the same.
    columns = "".join(
        f"'{_quoted(value)}' AS {name}, " for name, value in zip(PARTITION_COLUMNS, version.partition, strict=False)
    )
    return f"SELECT {columns}* FROM read_parquet('{_quoted(str(version.table_path))}')"


def _quoted(text: str) -> str:
    return text.replace("'", "''")
