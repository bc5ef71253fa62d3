"""CSV, TSV and relatives as RFC 4180 has it: quoted fields may hold delimiters, doubled quotes and line breaks.

Numpy finds the records and polars splits them. Nothing is guessed: a record with too few or too many fields, or with a
quote where none may be, is set aside with its line, and reading goes on at the next line. A delimiter of several bytes
becomes one byte that the text does not hold.
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from assets.sources.contract import UnusableSource
from assets.sources.files import RawFile
from assets.sources.reader.text import (
    LONGEST,
    Chunk,
    Lines,
    TextForm,
    bad_rows,
    refuse_empty,
    refuse_endless_line,
    shown,
    utf8_blocks,
    with_last,
)

_NEWLINE, _QUOTE = 10, 34


WHITESPACE = "whitespace"
"""The delimiter that is any run of spaces and tabs."""


@dataclass(frozen=True)
class Dialect:
    """How the fields of a record are told apart."""

    delimiter: str = ","
    """One or more characters, or WHITESPACE."""
    quote: bool = True
    """Whether a quotation mark may enclose a field; not between runs of whitespace."""
    one_line: bool = False
    """Whether every record is one line, so that a quote which is not closed on its line is broken."""
    form: TextForm = field(default_factory=TextForm)


@dataclass(frozen=True)
class _Records:
    """Where the records of a text are: bytes [start, end) of each, without the line break, and its first line."""

    starts: Lines
    ends: Lines
    lines: Lines
    bad: list[tuple[int, str, str]]


def beginning(file: RawFile, form: TextForm) -> bytes:
    """The first lines of a file, from the first that is not blank.

    Raises:
        UnusableSource: the file is empty.
    """
    text = b""
    for block in utf8_blocks(file, form):
        text = (text + block).lstrip(b"\n")
        if text.count(b"\n") > 100 or len(text) > LONGEST:
            break
    refuse_empty(file, text)
    return text


def header(file: RawFile, dialect: Dialect) -> tuple[str, ...]:
    """The fields of the first record.

    Raises:
        UnusableSource: the file is empty, or its first record is broken.
    """
    text = beginning(file, dialect.form)
    if b"\0" in text.partition(b"\n")[0]:
        raise UnusableSource(f"{file.name}, line 1: must be a header, got a NUL byte in it. Write the file again.")
    block = _Block.of(text, dialect, is_last=True)
    rows = csv.reader(
        io.StringIO(block.text.decode("utf-8", errors="replace"), newline=""),
        delimiter=chr(block.mark),
        quoting=csv.QUOTE_MINIMAL if dialect.quote else csv.QUOTE_NONE,
        strict=True,
    )
    try:
        return tuple(name.replace(chr(block.mark), dialect.delimiter).strip() for name in next(rows))
    except csv.Error as error:
        raise UnusableSource(f"{file.name}, line 1: must be a header, got: {error}.") from error


def chunks(
    file: RawFile, dialect: Dialect, names: tuple[str, ...], wanted: tuple[str, ...], *, has_header: bool
) -> Iterator[Chunk]:
    """The records of a file, with the columns `wanted` of `names`.

    Raises:
        UnusableSource: it is damaged or in another encoding.
    """
    rest, line, skip = b"", 1, has_header
    for text, is_last in with_last(utf8_blocks(file, dialect.form)):
        block = _Block.of(rest + text, dialect, is_last=is_last)
        found, consumed, next_line = _find(block, line, is_last=is_last)
        records = _judged(found, block, len(names))
        rest, line = block.original(consumed, len(block.text)), next_line
        refuse_endless_line(file, rest, line)
        if skip and len(records.starts):
            records = replace(records, starts=records.starts[1:], ends=records.ends[1:], lines=records.lines[1:])
            skip = False
        if len(records.starts) or records.bad:
            yield _chunk(block, records, names, wanted, file)


@dataclass(frozen=True)
class _Block:
    """A text whose delimiter is one byte."""

    text: bytes
    mark: int
    """The delimiter; a byte that the original text does not hold, when the dialect's has several bytes."""
    dialect: Dialect

    @classmethod
    def of(cls, text: bytes, dialect: Dialect, *, is_last: bool) -> "_Block":
        """Puts one byte for each delimiter; `is_last` says that no text follows."""
        delimiter = dialect.delimiter.encode()
        if len(delimiter) == 1:
            return cls(text, delimiter[0], dialect)
        free = [byte for byte in _CONTROLS if byte not in text]
        if not free:
            raise UnusableSource(
                f"A file with the delimiter {dialect.delimiter!r} must not hold every control character. Write it with "
                "a delimiter of one character."
            )
        if dialect.delimiter == WHITESPACE:
            text = re.sub(rb"(?:^|(?<=\n))[ \t]+|[ \t]+(?=\n)", b"", text.rstrip(b" \t") if is_last else text)
            return cls(re.sub(rb"[ \t]+", free[0], text), free[0][0], dialect)
        return cls(text.replace(delimiter, free[0]), free[0][0], dialect)

    def original(self, start: int, end: int) -> bytes:
        """What the file has at these bytes of `text`; of a run of whitespace, a space."""
        delimiter = b" " if self.dialect.delimiter == WHITESPACE else self.dialect.delimiter.encode()
        return self.text[start:end].replace(bytes([self.mark]), delimiter)

    def shown(self, start: int, end: int) -> str:
        """The same, as the quarantine shows it."""
        return shown(self.original(start, min(end, start + 1_000)))


_CONTROLS = [bytes([byte]) for byte in (*range(28, 32), *range(1, 9), *range(14, 28))]  # no tab, no line break


def _find(block: _Block, line: int, *, is_last: bool) -> tuple[_Records, int, int]:
    """The records of a text that starts with one, the bytes they take, and the line that follows."""
    text = block.text
    buffer = np.frombuffer(text, dtype=np.uint8)
    newlines = np.flatnonzero(buffer == _NEWLINE)
    if is_last and not text.endswith(b"\n"):
        newlines = np.append(newlines, len(text))
    quotes = np.flatnonzero(buffer == _QUOTE) if block.dialect.quote else newlines[:0]
    if len(quotes):
        ends = newlines[np.searchsorted(quotes, newlines) % 2 == 0]
        consumed = int(ends[-1]) + 1 if len(ends) else 0
        is_stuck = (is_last and consumed < len(text)) or len(text) - consumed > LONGEST
        is_stuck |= bool((np.diff(ends, prepend=-1) > LONGEST).any())
        is_stuck |= block.dialect.one_line and len(ends) < len(newlines)
        if is_stuck or not _quotes_are_legal(buffer, quotes[quotes < consumed], block.mark):
            return _find_carefully(block, line, newlines, is_last=is_last)
    else:
        ends = newlines
        consumed = int(ends[-1]) + 1 if len(ends) else 0
    starts = np.concatenate([[0], ends[:-1] + 1]).astype(np.int64)[: len(ends)]
    lines = line + np.searchsorted(newlines, starts)
    n_lines = int(np.searchsorted(newlines, consumed))
    return _Records(starts, ends, lines, []), min(consumed, len(text)), line + n_lines


def _quotes_are_legal(buffer: np.ndarray, quotes: np.ndarray, delimiter: int) -> bool:
    """Whether every quote that opens a field is at its start, and every one that closes it at its end.

    Quotes alternate between opening and closing; a doubled quote closes and opens again at once.
    """
    opening, closing = quotes[0::2], quotes[1::2]
    before = np.where(opening > 0, buffer[opening - 1], _NEWLINE)
    at_start = (before == delimiter) | (before == _NEWLINE)
    at_start[1:] |= opening[1:] == closing[: len(opening) - 1] + 1
    after = np.where(closing + 1 < len(buffer), buffer[np.minimum(closing + 1, len(buffer) - 1)], _NEWLINE)
    at_end = (after == delimiter) | (after == _NEWLINE)
    at_end[: len(opening) - 1] |= opening[1:] == closing[: len(opening) - 1] + 1
    return bool(at_start.all() and at_end.all())


def _find_carefully(block: _Block, line: int, newlines: np.ndarray, *, is_last: bool) -> tuple[_Records, int, int]:
    """The same, record by record, for a text with a misplaced quote: only that line is set aside."""
    text, one_line = block.text, block.dialect.one_line
    reason = _BROKEN_LINE if one_line else _STRAY
    delimiter = re.escape(bytes([block.mark]))
    quoted = rb'"(?>[^"]*)(?>(?:""[^"]*)*)"'
    field = rb"(?:" + quoted + rb'|[^"\n' + delimiter + rb"]*)"
    record = re.compile(field + rb"(?:" + delimiter + field + rb")*")
    cut_off = re.compile(rb"(?:" + field + delimiter + rb")*" + quoted + rb"?\Z")
    starts: list[int] = []
    ends: list[int] = []
    lines: list[int] = []
    bad: list[tuple[int, str, str]] = []
    at, place = 0, 0  # a byte, and how many line breaks are before it
    while place < len(newlines):
        line_end = end = int(newlines[place])
        if text.find(b'"', at, line_end) >= 0:
            match = record.match(text, at, line_end if one_line else len(text))
            end = match.end() if match else at
            at_end = end == len(text) or (text[end] != _NEWLINE and cut_off.match(text, at) is not None)
            if at_end and not (is_last or one_line) and len(text) - at <= LONGEST:
                break  # what closes it may be in the next block
            is_whole = end == len(text) or text[end] == _NEWLINE
            if not is_whole or (end > line_end and end - at > LONGEST):
                bad.append((line + place, reason, block.shown(at, line_end)))
                at, place = line_end + 1, place + 1
                continue
        starts.append(at)
        ends.append(end)
        lines.append(line + place)
        place = place + 1 if end == line_end else int(np.searchsorted(newlines, end)) + 1
        at = end + 1
    whole = [np.array(values, dtype=np.int64) for values in (starts, ends, lines)]
    return _Records(whole[0], whole[1], whole[2], bad), min(at, len(text)), line + place


_STRAY = (
    'has a " inside a field that is not quoted, or one that is never closed; double it and quote the field, or write '
    "quote: none"
)
_BROKEN_LINE = "quotes must enclose whole fields and close on their line"


def _judged(found: _Records, block: _Block, n_fields: int) -> _Records:
    """Without blank lines, and without records that cannot be split into `n_fields`."""
    text, starts, ends, lines = block.text, found.starts, found.ends, found.lines
    buffer = np.frombuffer(text, dtype=np.uint8)
    delimiters = np.flatnonzero(buffer == block.mark)
    if len(starts) and block.dialect.quote and b'"' in text:
        delimiters = delimiters[~_is_quoted(buffer, starts, ends, delimiters)]
    fields = np.searchsorted(delimiters, ends) - np.searchsorted(delimiters, starts) + 1
    is_blank = starts == ends
    is_long = ends - starts > LONGEST
    has_nul = np.zeros(len(starts), dtype=bool)
    if b"\0" in text:
        has_nul = np.searchsorted(nuls := np.flatnonzero(buffer == 0), ends) > np.searchsorted(nuls, starts)
    is_bad = ~is_blank & (is_long | has_nul | (fields != n_fields))
    bad = list(found.bad)
    for place in np.flatnonzero(is_bad):
        if is_long[place]:
            reason = f"is longer than {LONGEST:,} bytes"
        elif has_nul[place]:
            reason = "holds a NUL byte"
        else:
            reason = f"must have {n_fields} fields, got {fields[place]}"
        bad.append((int(lines[place]), reason, block.shown(starts[place], ends[place])))
    keep = ~is_blank & ~is_bad
    return _Records(starts[keep], ends[keep], lines[keep], sorted(bad))


def _is_quoted(buffer: np.ndarray, starts: Lines, ends: Lines, places: np.ndarray) -> np.ndarray:
    """Which bytes are between quotes: after an odd number of them within their record."""
    quotes = np.flatnonzero(buffer == _QUOTE)
    record = np.maximum(np.searchsorted(starts, places, side="right") - 1, 0)
    return (np.searchsorted(quotes, places) - np.searchsorted(quotes, starts[record])) % 2 == 1


def _chunk(block: _Block, records: _Records, names: tuple[str, ...], wanted: tuple[str, ...], file: RawFile) -> Chunk:
    places = [names.index(name) for name in wanted]
    table = pl.DataFrame(schema=dict.fromkeys(wanted, pl.String))
    if len(records.starts):
        parsed = pl.read_csv(
            _joined(block.text, records),
            has_header=False,
            infer_schema=False,
            separator=chr(block.mark),
            quote_char='"' if block.dialect.quote else None,
            columns=sorted(set(places)),
        )
        table = parsed.select(pl.col(f"column_{place}").alias(name) for place, name in zip(places, wanted, strict=True))
        if block.dialect.quote and len(block.dialect.delimiter.encode()) > 1 and b'"' in block.text:
            table = table.with_columns(pl.all().str.replace_all(chr(block.mark), block.dialect.delimiter, literal=True))
    if table.height != len(records.starts):
        raise UnusableSource(
            f"{file.name}, from line {records.lines[0]:,}: must be {len(records.starts):,} records, got "
            f"{table.height:,}. Its quotes are not as in RFC 4180; write it again with a CSV library."
        )

    def show(places: Sequence[int]) -> list[str]:
        return [block.shown(records.starts[place], records.ends[place]) for place in places]

    return Chunk(table, pl.Series(records.lines), show, bad_rows(records.bad))


def _joined(text: bytes, records: _Records) -> bytes:
    """Only the records, each with a line break."""
    lengths = records.ends - records.starts
    if len(lengths) and records.starts[0] == 0 and (records.starts[1:] == records.ends[:-1] + 1).all():
        return text[: int(records.ends[-1])] + b"\n"
    return b"".join(text[start:end] + b"\n" for start, end in zip(records.starts, records.ends, strict=True))
