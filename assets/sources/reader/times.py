"""Times as logs write them → UTC; and which way of reading them fits, when the stated one evidently does not."""

from datetime import UTC, datetime, timedelta

import polars as pl

from contracts.config.dataset import UNITS, TimeColumn
from evaluation.schemas import UTC as UTC_TYPE

_PER_SECOND = dict(zip(UNITS, (1, 1_000, 1_000_000, 1_000_000_000), strict=True))
_FIRST, _LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OLDEST_LIKELY = datetime(1990, 1, 1, tzinfo=UTC)
"""A log whose middle time is older than this is read in the wrong unit, if another one makes it recent."""
_PATTERNS = ("%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M", "%d.%m.%Y %H:%M", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%Y%m%d")


def parsed(values: pl.Series, time: TimeColumn) -> pl.Series:
    """The times as UTC; missing where one cannot be read.

    >>> from contracts.config.dataset import TimeColumn
    >>> clocks = TimeColumn(column="at", format="iso", zone="Europe/Berlin")
    >>> texts = ["2024-05-01", "2024-05-01 12:00:00", "2024-05-01T12:00:00.5+00:00", "May"]
    >>> [str(at) for at in parsed(pl.Series(texts), clocks)[:3]]
    ['2024-04-30 22:00:00+00:00', '2024-05-01 10:00:00+00:00', '2024-05-01 12:00:00.500000+00:00']
    >>> parsed(pl.Series(texts), clocks)[3] is None
    True
    """
    if isinstance(values.dtype, pl.Datetime):
        zone = values.dtype.time_zone
        local = values.cast(pl.Datetime("us", zone), strict=False)
        return _in_utc(local, time.zone) if zone is None else local.dt.convert_time_zone("UTC")
    if values.dtype == pl.Date:
        return _in_utc(values.cast(pl.Datetime("us")), time.zone)
    if time.format in _PER_SECOND:
        return _counted(values, _PER_SECOND[time.format])
    texts = values.cast(pl.String).str.strip_chars()
    return _iso(texts, time.zone) if time.format == "iso" else _patterned(texts, time.format, time.zone)


def misread(values: pl.Series, time: TimeColumn, now: datetime) -> str | None:
    """Why the first times of a file cannot have been written as `time` says, and what fits instead; None if they can.

    >>> from datetime import UTC, datetime
    >>> from contracts.config.dataset import TimeColumn
    >>> clock = TimeColumn(column="ts", format="seconds")
    >>> misread(pl.Series(["1714557600000"] * 3), clock, datetime(2025, 1, 1, tzinfo=UTC))
    "must be seconds, got '1714557600000', which would be the year 56,302; as milliseconds it is 2024-05-01. \
Write format: milliseconds."
    """
    values = values.drop_nulls()
    if values.is_empty() or values.dtype.is_temporal():
        return None
    if _likely(values, time, now):
        return None
    example = str(values[values.len() // 2]).strip()[:60]
    fits = [
        form for form in (*UNITS, "iso", *_PATTERNS) if _likely(values, time.model_copy(update={"format": form}), now)
    ]
    at = parsed(values, time)
    if (
        not fits
        and at.null_count() <= values.len() // 2
        and (time.format not in _PER_SECOND or _middle(at).year > 1970)
    ):
        return None  # an old log, or one with rows in the future: rows are judged one by one
    reading = f"must be {time.format}, got {example!r}{_consequence(example, time)}"
    if not fits:
        return f"{reading}, and no other format fits. If it is an order and no clock, map it as position."
    as_read = parsed(pl.Series([example]), time.model_copy(update={"format": fits[0]}))[0]
    day = "" if as_read is None else f"; as {fits[0]} it is {as_read:%Y-%m-%d}"
    return f"{reading}{day}. Write format: {_quoted(fits[0])}."


def _likely(values: pl.Series, time: TimeColumn, now: datetime) -> bool:
    at = parsed(values, time)
    return at.null_count() <= values.len() // 2 and _OLDEST_LIKELY <= _middle(at) <= now + timedelta(days=1)


def _middle(at: pl.Series) -> datetime:
    known = at.drop_nulls().sort()
    return known[known.len() // 2] if known.len() else _EPOCH


def _consequence(example: str, time: TimeColumn) -> str:
    if time.format not in _PER_SECOND:
        return ""
    try:
        years = float(example) / _PER_SECOND[time.format] / 31_556_952
    except ValueError:
        return ""
    return (
        f", which would be the year {1970 + years:,.0f}"
        if years > 8029
        else f", which would be the year {1970 + int(years)}"
    )


def _quoted(form: str) -> str:
    return f"'{form}'" if "%" in form else form


def _counted(values: pl.Series, per_second: int) -> pl.Series:
    """Numbers since 1970 → UTC; below 0 and beyond the year 9999 is missing."""
    most = int((_LAST - _EPOCH).total_seconds())
    texts = values.str.strip_chars() if values.dtype == pl.String else values
    whole, real = texts.cast(pl.Int64, strict=False), texts.cast(pl.Float64, strict=False)
    table = pl.DataFrame({"whole": whole, "real": real}).with_columns(
        in_range=pl.col("real").is_between(0, most * per_second)
    )
    if per_second <= 1_000_000:
        whole_us, real_us = pl.col("whole") * (1_000_000 // per_second), pl.col("real") * (1_000_000 / per_second)
    else:
        whole_us, real_us = pl.col("whole") // 1_000, pl.col("real") / 1_000
    micros = pl.coalesce(whole_us, pl.when(pl.col("in_range")).then(real_us.round().cast(pl.Int64, strict=False)))
    return table.select(pl.when(pl.col("in_range")).then(micros).cast(UTC_TYPE)).to_series()


def _iso(texts: pl.Series, zone: str) -> pl.Series:
    parts = (
        texts.to_frame("text")
        .with_columns(offset=pl.col("text").str.extract(r"[T ][0-9:.,]+ ?(Z|[+-][0-9]{2}(?::?[0-9]{2})?)$"))
        .with_columns(
            local=pl.when(pl.col("offset").is_null())
            .then(pl.col("text"))
            .otherwise(pl.col("text").str.head(pl.col("text").str.len_chars() - pl.col("offset").str.len_chars()))
            .str.strip_chars()
            .str.replace(" ", "T", literal=True)
            .str.replace(",", ".", literal=True)
        )
        .with_columns(local=_first_of("local", ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d")))
    )
    digits = pl.col("offset").str.replace_all(r"[^0-9]", "")
    minutes = digits.str.head(2).cast(pl.Int64, strict=False).fill_null(0) * 60
    minutes += digits.str.slice(2, 2).cast(pl.Int64, strict=False).fill_null(0)
    sign = pl.when(pl.col("offset").str.starts_with("-")).then(-1).otherwise(1)
    with_offset = (pl.col("local") - pl.duration(minutes=minutes * sign)).dt.replace_time_zone("UTC")
    without = _in_utc(parts["local"], zone).alias("without")
    return (
        parts.with_columns(without)
        .select(pl.when(pl.col("offset").is_null()).then(pl.col("without")).otherwise(with_offset))
        .to_series()
    )


def _first_of(column: str, patterns: tuple[str, ...]) -> pl.Expr:
    return pl.coalesce(
        pl.col(column).str.to_datetime(pattern, time_unit="us", strict=False, exact=True) for pattern in patterns
    )


def _patterned(texts: pl.Series, pattern: str, zone: str) -> pl.Series:
    # Python writes a fraction .%f, chrono, which polars parses with, %.f.
    pattern = pattern.replace(".%f", "%.f")
    if "%z" in pattern:
        return texts.str.to_datetime(pattern, time_unit="us", time_zone="UTC", strict=False)
    return _in_utc(texts.str.to_datetime(pattern, time_unit="us", strict=False), zone)


def _in_utc(local: pl.Series, zone: str) -> pl.Series:
    if zone == "UTC":
        return local.dt.replace_time_zone("UTC")
    return local.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null").dt.convert_time_zone("UTC")
