"""Raw ids of users or items → 0, 1, 2, …: what models and tables count with."""

import polars as pl


def dense_ids(raw: pl.Series, name: str) -> pl.DataFrame:
    """`<name>_id` (Int32), `<name>`: the distinct raw ids in their order, which is numeric if all are integers.

    >>> dense_ids(pl.Series(["10", "9", "10"]), "user").rows()
    [(0, '9'), (1, '10')]
    """
    distinct = raw.rename(name).unique().to_frame()
    # Only canonical integers sort as numbers: 01, 1 and 001 are three ids.
    are_integers = bool(distinct[name].str.contains(r"^(0|[1-9][0-9]{0,17})$").all())
    ordered = distinct.sort(pl.col(name).cast(pl.Int64) if are_integers else pl.col(name))
    return ordered.with_row_index(f"{name}_id").cast({f"{name}_id": pl.Int32})
