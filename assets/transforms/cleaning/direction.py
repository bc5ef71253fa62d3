"""Whether a log runs from the newest row to the oldest, so that the order of the file reverses what ties in time."""

import polars as pl

_MOSTLY = 0.9  # share of falling times among those that change from one row to the next
_FEWEST = 5  # changes of time, below which the direction of a file may be chance
_MANY = 0.01  # share of tied rows that changes what models learn


def refuse_newest_first(raw: pl.LazyFrame) -> None:
    """Refuses a log whose times mostly fall while many rows share the time of another row of their user.

    Args:
        raw: table `raw_interactions`, in the order of the files.

    Raises:
        ValueError: the order of the file would reverse these rows.
    """
    falls, rises = _turns(raw)
    if _runs_backwards(falls, rises):
        falls, rises = _turns(raw.sort("file", "line"))  # rows in memory may be in another order than in the file
    if not _runs_backwards(falls, rises):
        return
    groups = raw.group_by("user", "at", "position").len()
    n_tied = groups.filter(pl.col("len") > 1).select(pl.col("len").sum()).collect(engine="streaming").item()
    n_rows = raw.select(pl.len()).collect().item()
    if n_tied < _MANY * n_rows:
        return
    raise ValueError(
        f"The log must run from the oldest row to the newest where times tie, got times that fall between "
        f"{falls / (falls + rises):.1%} of the rows where they change; {n_tied / n_rows:.1%} of the rows share the "
        "time of another row of their user, and the order of the file would reverse them. Write cleaning: {ties: "
        "newest_first}, or {ties: hash} if the order of the rows says nothing."
    )


def _runs_backwards(falls: int, rises: int) -> bool:
    return falls + rises >= _FEWEST and falls >= _MOSTLY * (falls + rises)


def _turns(raw: pl.LazyFrame) -> tuple[int, int]:
    """How often the time falls and rises from one row to the next."""
    steps = raw.select(pl.col("at").to_physical().diff().alias("step")).collect(engine="streaming")["step"]
    return int((steps < 0).sum()), int((steps > 0).sum())
