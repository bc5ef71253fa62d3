"""Times as logs write them → UTC; and which way of reading them fits, when the stated one evidently does not."""

import re
from datetime import UTC, datetime, timedelta

import polars as pl

from contracts.config.sources import UNITS, TimeColumn
from evaluation.schemas import UTC as UTC_TYPE

_PER_SECOND = dict(zip(UNITS, (1, 1_000, 1_000_000, 1_000_000_000), strict=True))
_FIRST, _LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OLDEST_LIKELY = datetime(1990, 1, 1, tzinfo=UTC)
"""A log whose middle time is older than this is read in the wrong unit, if another one makes it recent."""
_SAMPLED = 1_000
"""About how many of a file's first times are looked at to tell whether it is misread."""
_PATTERNS = ("%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M", "%d.%m.%Y %H:%M", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%Y%m%d")


def parsed(values: pl.Series, time: TimeColumn) -> pl.Series:
    """The times as UTC; missing where one cannot be read.

    >>> from contracts.config.sources import TimeColumn
    >>> clocks = TimeColumn(column="at", format="iso", zone="Europe/Berlin")
    >>> texts = ["2024-05-01", "2024-05-01 12:00:00", "2024-05-01T12:00:00.5+00:00", "May"]
    >>> [str(at) for at in parsed(pl.Series(texts), clocks)[:3]]
    ['2024-04-30 22:00:00+00:00', '2024-05-01 10:00:00+00:00', '2024-05-01 12:00:00.500000+00:00']
    >>> parsed(pl.Series(texts), clocks)[3] is None
    True
    """
    if isinstance(values.dtype, pl.Datetime):
        zone = values.dtype.time_zone
        local = in_calendar(values).cast(pl.Datetime("us", zone), strict=False)
        return _in_utc(local, time.zone) if zone is None else local.dt.convert_time_zone("UTC")
    if values.dtype == pl.Date:
        return _in_utc(in_calendar(values).cast(pl.Datetime("us")), time.zone)
    if time.format in _PER_SECOND:
        return _counted(values, _PER_SECOND[time.format])
    texts = values.cast(pl.String).str.strip_chars()
    return _iso(texts, time.zone) if time.format == "iso" else _patterned(texts, time.format, time.zone)


def in_calendar(values: pl.Series) -> pl.Series:
    """Dates or times, of which those outside the years 1 to 9999 are missing: polars holds them, Python cannot."""
    a_day = {"ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}
    per_day = a_day[values.dtype.time_unit] if isinstance(values.dtype, pl.Datetime) else 1
    days = values.to_physical().cast(pl.Int64) // per_day
    return values.set(~days.is_between((_FIRST - _EPOCH).days + 1, (_LAST - _EPOCH).days - 1).fill_null(False), None)


def in_another_unit(values: pl.Series, at: pl.Series, time: TimeColumn, now: datetime) -> pl.Series:
    """Which times of a log that counts since 1970 were counted otherwise: 0, or in a coarser unit.

    >>> from datetime import UTC, datetime
    >>> from contracts.config.sources import TimeColumn
    >>> clock = TimeColumn(column="ts", format="milliseconds")
    >>> texts = pl.Series(["1714557600000", "1714557600", "0"])
    >>> in_another_unit(texts, parsed(texts, clock), clock, datetime(2025, 1, 1, tzinfo=UTC)).to_list()
    [False, True, True]

    Args:
        values: as the file has them.
        at: `values` read as `time` says.
        time: the format.
        now: no time of the log is a day after this.
    """
    suspects = (at < _OLDEST_LIKELY).fill_null(False)
    if time.format not in _PER_SECOND or values.dtype.is_temporal() or not suspects.any():
        return pl.Series([False]).new_from_index(0, values.len())
    is_other = (at == _EPOCH).fill_null(False)
    for unit in UNITS[: UNITS.index(time.format)]:
        coarser = parsed(values, time.model_copy(update={"format": unit}))
        is_other |= suspects & coarser.is_between(_OLDEST_LIKELY, now + timedelta(days=1)).fill_null(False)
    return is_other


def misread(values: pl.Series, time: TimeColumn, now: datetime) -> str | None:
    """Why the first times of a file cannot have been written as `time` says, and what fits instead; None if they can.

    >>> from datetime import UTC, datetime
    >>> from contracts.config.sources import TimeColumn
    >>> clock = TimeColumn(column="ts", format="seconds")
    >>> misread(pl.Series(["1714557600000"] * 3), clock, datetime(2025, 1, 1, tzinfo=UTC))
    "must be seconds, got '1714557600000', which would be the year 56,302; as milliseconds it is 2024-05-01. \
Write format: milliseconds."
    """
    values = values.drop_nulls()
    if values.is_empty() or values.dtype.is_temporal():
        return None
    values = values.gather_every(max(1, values.len() // _SAMPLED))
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
    numbers = values.str.strip_chars() if values.dtype == pl.String else values
    real = numbers.cast(pl.Float64, strict=False)
    whole = numbers.cast(pl.Int64, strict=False)
    if not (numbers.dtype == pl.String or numbers.dtype.is_integer()):
        whole = whole.set((whole.cast(pl.Float64) != real).fill_null(True), None)  # the cast cut a fraction off
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
        .with_columns(text=pl.col("text").str.replace(_ZONE_NAME, "$1"))
        .with_columns(offset=pl.col("text").str.extract(r"[Tt ][0-9:.,]+ ?(Z|z|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2})?)$"))
        .with_columns(
            local=pl.when(pl.col("offset").is_null())
            .then(pl.col("text"))
            .otherwise(pl.col("text").str.head(pl.col("text").str.len_chars() - pl.col("offset").str.len_chars()))
            .str.strip_chars()
            .str.replace("[ t]", "T")
            .str.replace(",", ".", literal=True)
        )
        .with_columns(local=_first_of("local", _ISO))
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
    """Times as Python's strptime reads them: by polars where both agree, else by Python itself."""
    fast = _by_polars(texts, pattern, zone)
    rest = texts.filter(fast.is_null() & texts.is_not_null()).unique()
    if rest.is_empty():
        return fast
    found = {text: _by_python(text, pattern) for text in rest}
    naive = pl.Series([at if at and at.tzinfo is None else None for at in found.values()], dtype=pl.Datetime("us"))
    aware = [at if at and at.tzinfo is not None else None for at in found.values()]
    slow = pl.DataFrame(
        {"text": rest, "slow": pl.Series(aware, dtype=UTC_TYPE).fill_null(_in_utc(naive, zone))},
        schema={"text": pl.String, "slow": UTC_TYPE},
    )
    joined = texts.to_frame("text").join(slow, on="text", how="left", maintain_order="left")
    return fast.fill_null(joined["slow"])


_AGREED = frozenset("YymdjHIMSpbBaAz%")
"""Directives that polars (chrono) reads as Python does, or not at all."""
_ISO = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d", "%Y%m%dT%H%M%S%.f", "%Y%m%dT%H%M")
_ZONE_NAME = r"(Z|z|[0-9])\[[A-Za-z0-9_+/-]+\]$"
"""The name of a zone after an offset, as Java writes it; the offset says it all."""


def _by_polars(texts: pl.Series, pattern: str, zone: str) -> pl.Series:
    """What polars can read as Python would; the rest is missing."""
    nothing = pl.Series([None], dtype=UTC_TYPE).new_from_index(0, texts.len())
    if pattern.count(",") == pattern.count(",%f") == 1:
        texts, pattern = texts.str.replace(",", ".", literal=True), pattern.replace(",%f", ".%f")
    pattern = pattern.replace("%S.%f", "%S%.f")  # chrono's fraction holds its dot
    if set(re.findall(r"%(.)", pattern.replace("%.f", ""))) - _AGREED:
        return nothing
    try:
        if "%z" in pattern:
            return texts.str.to_datetime(pattern, time_unit="us", time_zone="UTC", strict=False)
        local = texts.str.to_datetime(pattern, time_unit="us", strict=False)
    except pl.exceptions.PolarsError:  # an hour without its minute, say
        return nothing
    if "%y" in pattern:
        local = local.set((local.dt.year() == 2069).fill_null(False), None)  # 69 is 1969 in Python
    return _in_utc(local, zone)


def _by_python(text: str, pattern: str) -> datetime | None:
    try:
        at = datetime.strptime(text, pattern)
        at = at.replace(tzinfo=UTC) if "%Z" in pattern and at.tzinfo is None else at  # Python reads UTC and GMT alone
        return at if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _in_utc(local: pl.Series, zone: str) -> pl.Series:
    if zone == "UTC":
        return local.dt.replace_time_zone("UTC")
    return local.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null").dt.convert_time_zone("UTC")
