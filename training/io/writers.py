"""Tables that commands write: a reader finds a whole file or none."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int

from contracts.durable import commit, staging_path
from contracts.tables import TABLES

_TYPES = {
    "bool": pa.bool_(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "string": pa.string(),
    "timestamp[us, UTC]": pa.timestamp("us", tz="UTC"),
}


def list_array(offsets: Int[np.ndarray, " k+1"], values: np.ndarray) -> pa.ListArray:
    """Lists of different lengths as an Arrow column."""
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(values))


def write_table(table: pa.Table, path: Path) -> None:
    """Writes the table beside `path`, then renames it: a reader finds all of it or nothing."""
    staging = staging_path(path)
    pq.write_table(table, staging)
    commit(staging, path)


def arrow_schema(table: str) -> pa.Schema:
    """Column names and Arrow types of a table of `contracts.tables`, in order."""
    columns = TABLES[table].columns
    return pa.schema([(c.name, pa.list_(_TYPES[c.value_type]) if c.is_list else _TYPES[c.type]) for c in columns])
