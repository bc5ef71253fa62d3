"""Times of logs: what Python reads, this reads alike; a fraction, an offset or a unit is never lost without a word."""

from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any, Literal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from assets.sources.reader.times import in_another_unit, misread, parsed
from contracts.config.sources import TimeColumn

DAYS = (
    "%Y-%m-%d", "%d/%m/%y", "%d %b %Y", "%B %d, %Y", "%Y%m%d", "%A, %d %B %Y", "%Y day %j", "%G-W%V-%u", "%x",
    "%U %w %Y",
)  # fmt: skip
CLOCKS = (
    "", " %H:%M:%S", "T%H:%M", " %H", " %I:%M %p", " %I%p", " %H:%M:%S.%f", " %H:%M:%S,%f", " %H:%M:%S;%f", " %S%f",
    " %X",    " %H:%M:%S %z", ":%H:%M:%S%z", " %H:%M:%S %Z", " %M", " 100%% %H:%M",
)  # fmt: skip
NOW = datetime(2025, 1, 1, tzinfo=UTC)


def column(form: str, zone: str = "UTC") -> TimeColumn:
    return TimeColumn(column="t", format=form, zone=zone)


@settings(max_examples=150, deadline=None)
@given(
    day=st.sampled_from(DAYS),
    clock=st.sampled_from(CLOCKS),
    times=st.lists(st.datetimes(datetime(1969, 1, 1), datetime(2068, 12, 31)), min_size=1, max_size=4),
    minutes=st.integers(-720, 720),
)
def test_a_pattern_is_read_as_python_reads_it(day: str, clock: str, times: list[datetime], minutes: int) -> None:
    pattern = day + clock
    zone: tzinfo | None = UTC if "%Z" in pattern else None
    if "%z" in pattern:
        zone = datetime.strptime(
            f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}{abs(minutes) % 60:02}", "%z"
        ).tzinfo
    texts = [at.replace(tzinfo=zone).strftime(pattern) for at in times]
    expected = [datetime.strptime(text, pattern) for text in texts]
    in_utc = [at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC) for at in expected]
    assert parsed(pl.Series(texts), column(pattern)).to_list() == in_utc


@pytest.mark.parametrize(
    ("values", "form", "micros"),
    [
        (pl.Series([1714557600.9, 1714557600.1]), "seconds", [900_000, 100_000]),
        (pl.Series([1714557600.25], dtype=pl.Float64), "seconds", [250_000]),
        (pl.Series([Decimal("1714557600.123456"), Decimal("1714557600.5")]), "seconds", [123_456, 500_000]),
        (pl.Series([1714557600900.5]), "milliseconds", [900_500]),
        (pl.Series([Decimal("1714557600123.4")]), "milliseconds", [123_400]),
        (pl.Series(["1714557600.75", " 1714557600 "]), "seconds", [750_000, 0]),
        (pl.Series([1714557600]), "seconds", [0]),
        (pl.Series([1714557600123456789]), "nanoseconds", [123_456]),
    ],
)
def test_a_fraction_is_kept_in_every_type(values: pl.Series, form: str, micros: list[int]) -> None:
    base = datetime(2024, 5, 1, 10, tzinfo=UTC)
    assert parsed(values, column(form)).to_list() == [base + timedelta(microseconds=part) for part in micros]


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2024-05-01 00:00:00 UTC", datetime(2024, 5, 1, tzinfo=UTC)),
        ("2024-05-01T00:00:00.5z", datetime(2024, 5, 1, 0, 0, 0, 500_000, tzinfo=UTC)),
        ("2024-05-01T02:00:00+02:00[Europe/Berlin]", datetime(2024, 5, 1, tzinfo=UTC)),
        ("2024-05-01T00:00:00Z[Etc/UTC]", datetime(2024, 5, 1, tzinfo=UTC)),
        ("20240501T123000Z", datetime(2024, 5, 1, 12, 30, tzinfo=UTC)),
        ("2024-05-01 12:30:00,25", datetime(2024, 5, 1, 10, 30, 0, 250_000, tzinfo=UTC)),
        ("2024-05-01 12:30:00 CEST", None),
    ],
)
def test_iso_as_databases_and_java_write_it(text: str, at: datetime | None) -> None:
    assert parsed(pl.Series([text]), column("iso", "Europe/Berlin")).to_list() == [at]


def test_a_pattern_with_an_offset_does_not_look_at_the_zone() -> None:
    texts = pl.Series(["01/May/2024:12:00:00 +0530", "01/May/2024:12:00:00 -0800"])
    found = parsed(texts, column("%d/%b/%Y:%H:%M:%S %z", "Asia/Tokyo"))
    assert [at.hour for at in found] == [6, 20]


def test_a_time_after_the_year_9999_is_missing() -> None:
    units: list[tuple[Literal["ms", "us"], int]] = [("ms", 10**3), ("us", 10**6)]
    for unit, per_second in units:
        times = pl.Series([146_000 * 31_556_952 * per_second, 1_714_557_600 * per_second]).cast(pl.Datetime(unit))
        assert parsed(times, column("iso")).is_null().to_list() == [True, False]
        assert misread(times, column("iso"), NOW) is None


@pytest.mark.parametrize(
    ("value", "form", "is_other"),
    [
        (1_714_557_600, "milliseconds", True),
        (1_714_557_600, "microseconds", True),
        (1_714_557_600_000, "microseconds", True),
        (1_714_557_600_000, "nanoseconds", True),
        (0, "seconds", True),
        (86_400, "seconds", False),
        (1_714_557_600, "seconds", False),
        (157_766_400_000, "milliseconds", False),  # 1975: no other unit makes it recent
    ],
)
def test_a_row_in_another_unit_is_told(value: int, form: str, is_other: bool) -> None:
    values = pl.Series([str(value)])
    assert in_another_unit(values, parsed(values, column(form)), column(form), NOW).to_list() == [is_other]


def test_a_wrong_format_is_told_from_a_part_of_a_long_file() -> None:
    texts = pl.Series([f"{1 + row % 28:02}.{1 + row % 12:02}.2024" for row in range(500_000)])
    problem = misread(texts, column("%d %b %Y"), NOW)
    assert problem is not None
    assert "Write format: '%d.%m.%Y'" in problem


@pytest.mark.parametrize(
    "config",
    [
        {"format": "%H:%M"},
        {"format": "%G-W%V"},
        {"format": "%Y-%m"},
        {"format": "%Q"},
        {"zone": "Factory"},
        {"zone": "localtime"},
        {"zone": "posixrules"},
        {"zone": "right/UTC"},
    ],
)
def test_a_format_or_zone_without_a_meaning_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"must be (seconds, .* or a pattern with day|a time zone such as)"):
        TimeColumn(column="t", **config)
