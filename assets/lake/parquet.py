"""Tables as Parquet: the same bytes for the same rows, however many threads wrote them."""

from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from assets.transforms.chunks import exact_parts
from contracts.parquet_layout import COMPRESSION, ROW_GROUP


def write_table(table: pl.DataFrame | pl.LazyFrame, path: Path) -> pl.LazyFrame:
    """Writes a table as Parquet, the same bytes for the same rows however they were cut into chunks; and scans it.

    Each row group is written as one chunk of ROW_GROUP rows: where a writer of streams ends its pages depends on how
    many threads fed it, and the hash of the bytes is the table's version.
    """
    empty = pl.DataFrame(schema=table.collect_schema()).to_arrow(compat_level=pl.CompatLevel.oldest())
    texts = [name for name, dtype in table.collect_schema().items() if dtype == pl.String]
    # pyarrow takes names where its annotation says bool.
    with pq.ParquetWriter(path, empty.schema, compression=COMPRESSION, use_dictionary=texts) as writer:  # pyright: ignore[reportArgumentType]
        for part in exact_parts(table, ROW_GROUP):
            writer.write_table(part.to_arrow(compat_level=pl.CompatLevel.oldest()), row_group_size=ROW_GROUP)
    return pl.scan_parquet(path, glob=False)
