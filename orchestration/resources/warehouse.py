"""The SQL face of the lake: `warehouse.duckdb` holds a view for each table, over all current versions."""

import warnings
from pathlib import Path

import duckdb

from assets.lake.versions import Version
from contracts.durable import commit, staging_path

PARTITION_COLUMNS = ("dataset", "experiment")


def write_warehouse(path: Path, versions: list[Version]) -> None:
    """Writes a new database beside `path` and renames it over it, so that no reader ever holds a lock that stops us.

    Args:
        path: of the database.
        versions: every current version in the lake that holds a table.
    """
    by_asset: dict[str, list[Version]] = {}
    for version in versions:
        by_asset.setdefault(version.asset, []).append(version)
    staged = staging_path(path)
    with duckdb.connect(str(staged)) as connection:
        for asset, partitions in sorted(by_asset.items()):
            selects = [_select(version) for version in partitions if _is_readable(connection, version)]
            if not selects:
                continue
            connection.execute(f'CREATE VIEW "{asset}" AS {" UNION ALL BY NAME ".join(selects)}')
    commit(staged, path)


def _is_readable(connection: duckdb.DuckDBPyConnection, version: Version) -> bool:
    """A damaged file must not take the view of every other partition with it; whoever reads it is told."""
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
