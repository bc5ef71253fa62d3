"""Tables that commands write: a reader finds a whole file or none."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int


def list_array(offsets: Int[np.ndarray, " k+1"], values: np.ndarray) -> pa.ListArray:
    """Lists of different lengths as an Arrow column."""
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(values))


def write_table(table: pa.Table, path: Path) -> None:
    """Writes the table beside `path`, then renames it: a reader finds all of it or nothing."""
    staging = staging_path(path)
    pq.write_table(table, staging)
    commit(staging, path)


def staging_path(path: Path) -> Path:
    """Where a file is written before it gets its name."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def commit(staging: Path, path: Path) -> None:
    """Gives a finished file its name, after its bytes have reached the disk."""
    flush(staging)
    staging.rename(path)
    flush(path.parent)


def flush(path: Path) -> None:
    """Waits until a file, or the names in a folder, have reached the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
