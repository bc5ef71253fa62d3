"""What the sources with a list of items share: the list read once, the log typed, its items among those listed."""

from pathlib import Path

import polars as pl

from assets.lake.validate import SCHEMAS
from assets.sources.files import RawFile
from assets.sources.text import Layout, read_lines, refuse_bad_share

WHOLE_LINE = "left(text, 200)"
"""What a layout of items selects as `whole_line`."""
REPEATED = "item is listed more than once; the first line counts"


def is_not_listed(item: str, items_file: str) -> dict[str, str]:
    """The rule of a log whose items must be in a list, which `read_lines` is given as `known`."""
    return {f"item has no usable line in {items_file}": f"{item} NOT IN (SELECT item FROM known)"}


def read_items(
    source: RawFile, layout: Layout, scratch: Path, max_bad_share: float, *, may_repeat: bool = False
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Table `raw_items` of a file that lists items, and its quarantine, with every line of an item but its first.

    Args:
        source: the file.
        layout: selects item, title, and category and text where there are any; and `whole_line` for the quarantine.
        scratch: a folder for what is in between.
        max_bad_share: a file of which more lines than this share are unusable is refused.
        may_repeat: repeated items are set aside too, and do not count to that share: the publisher repeats them.

    Raises:
        UnusableSource: the file is not what was published, or too many of its lines are unusable.
    """
    lines, bad = read_lines(source, layout, scratch, max_bad_share)
    items = lines.collect()
    is_first = pl.col("item").is_first_distinct()
    repeats = items.filter(~is_first).select(
        "file", "line", pl.lit(REPEATED).alias("reason"), pl.col("whole_line").alias("text")
    )
    if not may_repeat:
        refuse_bad_share(pl.concat([bad, repeats]), {source.name: items.height + bad.height}, max_bad_share)
    listed = items.filter(is_first)
    absent = [pl.lit(None, pl.String).alias(name) for name in ("category", "text") if name not in listed.columns]
    return listed.with_columns(absent).select(SCHEMAS["raw_items"].dtypes.keys()), pl.concat([bad, repeats])


def interactions(lines: pl.LazyFrame, *, per_second: int | None = 1) -> pl.LazyFrame:
    """Table `raw_interactions` of lines with user, item, file, line, and what else there is of it.

    Args:
        lines: with `epoch`, a whole number since 1970, when the log has times.
        per_second: how often `epoch` counts in a second; None for a log without time.
    """
    have = lines.collect_schema().names()
    if per_second is not None:
        microseconds = pl.col("epoch") * (1_000_000 // per_second)
        lines = lines.with_columns(at=pl.from_epoch(microseconds, time_unit="us").dt.replace_time_zone("UTC"))
        have = [*have, "at"]
    dtypes = SCHEMAS["raw_interactions"].dtypes
    return lines.select(
        pl.col(name).cast(dtype) if name in have else pl.lit(None, dtype).alias(name) for name, dtype in dtypes.items()
    )
