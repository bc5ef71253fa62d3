"""Tables that commands write: a reader finds a whole file or none."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int

from contracts.durable import commit, staging_path


def list_array(offsets: Int[np.ndarray, " k+1"], values: np.ndarray) -> pa.ListArray:
    """Lists of different lengths as an Arrow column."""
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(values))


def write_table(table: pa.Table, path: Path) -> None:
    """Writes the table beside `path`, then renames it: a reader finds all of it or nothing."""
    staging = staging_path(path)
    pq.write_table(table, staging)
    commit(staging, path)
