"""The layout of a table's Parquet file: both rooms that write tables keep it, so that same rows are the same bytes.

A table's version is the hash of its bytes. Columns and types are in `tables.py`; how Parquet is written is not here.
"""

ROW_GROUP = 250_000
"""Rows of a row group; every one but the last has as many, however many parts the rows came in."""
COMPRESSION = "zstd"
