"""Files of text as UTF-8, some megabytes at a time, with the limits that every reader of records keeps.

`Chunk` is what the readers of CSV, JSON lines and Parquet give; where chunks are cut changes nothing. The reading of
records belongs to these readers, the reading of bytes to `assets/sources/files.py`.
"""

import codecs
import io
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from assets.sources.contract import EmptyFile, UnusableSource
from assets.sources.files import RawFile, blocks

Lines = NDArray[np.int64]

LONGEST = 1_000_000
"""Bytes of the longest record that is read; a longer one is set aside."""
SHOWN = 200
"""Characters of a record in quarantine that are kept."""
_ENDLESS = 64 << 20


@dataclass(frozen=True)
class TextForm:
    """How a file is written as text."""

    encoding: str = "utf-8"
    max_bytes: int | None = None
    """How many bytes a publisher's file may have, some ten times the published one; None for a user's own file."""


@dataclass(frozen=True)
class Chunk:
    """Records of a file that follow each other."""

    records: pl.DataFrame
    """The wanted columns under the file's own names, which can be any; text, except from Parquet, which has types."""
    lines: pl.Series
    """The line on which each record starts."""
    shown: Callable[[Sequence[int]], list[str]]
    """Places of records → the records as the file has them, cut, for the quarantine."""
    bad: pl.DataFrame
    """line, reason and text of each line that is not a record."""


def bad_rows(rows: Iterable[tuple[int, str, str]]) -> pl.DataFrame:
    """The table `Chunk.bad` of (line, reason, text)."""
    return pl.DataFrame(list(rows), schema={"line": pl.Int64, "reason": pl.String, "text": pl.String}, orient="row")


def shown(record: bytes) -> str:
    """A record as the quarantine shows it."""
    return record[: SHOWN * 4].decode("utf-8", errors="replace")[:SHOWN]


def utf8_blocks(file: RawFile, form: TextForm) -> Iterator[bytes]:
    """The file's text as UTF-8 with line feeds, in blocks that end anywhere, without a byte order mark.

    Raises:
        UnusableSource: it is not text in the encoding, is damaged, or is too large; names the line.
    """
    encoding = "utf-8-sig" if form.encoding == "utf-8" else form.encoding
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)(), translate=True)
    line = 1

    def where() -> str:
        return f"line {line:,}"

    try:
        for block in itertools.chain(blocks(file, form.max_bytes, where), [b""]):
            text = decoder.decode(block, final=not block).encode()
            line += text.count(b"\n")
            if text:
                yield text
    except UnicodeDecodeError as error:
        line += error.object[: error.start].count(b"\n")
        raise UnusableSource(
            f"{file.name}, line {line:,}: must be text in {form.encoding}, got the byte "
            f"0x{error.object[error.start]:02x}. {_encoding_remedy(form, line, error.object)}"
        ) from error
    except UnicodeError as error:
        raise UnusableSource(f"{file.name} must be text in {form.encoding}, got: {error}. Say its encoding.") from error


def _encoding_remedy(form: TextForm, line: int, block: bytes) -> str:
    if form.max_bytes is not None:
        return "Bring the file as published, not converted."
    if form.encoding == "utf-8" and line == 1 and block[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "It starts like UTF-16: write encoding: utf-16."
    if form.encoding == "utf-8":
        return "Write encoding: cp1252 (Windows) or encoding: iso-8859-1, or save it as UTF-8."
    return "Write the encoding it was saved in."


def whole_lines(file: RawFile, form: TextForm) -> Iterator[tuple[int, list[bytes]]]:
    """The lines of a file, many at a time, with the number of the first of them.

    Raises:
        UnusableSource: it is not text in the encoding, is damaged, or is too large.
    """
    rest, line = b"", 1
    for block, is_last in with_last(utf8_blocks(file, form)):
        text, end, tail = (rest + block).rpartition(b"\n")
        if is_last:
            text, tail = text + end + tail, b""
        rest = tail
        refuse_endless_line(file, rest, line)
        lines = text.split(b"\n") if text or end else []
        yield line, lines
        line += len(lines)


def with_last(blocks: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Each block, and whether none follows."""
    before: bytes | None = None
    for block in blocks:
        if before is not None:
            yield before, False
        before = block
    if before is not None:
        yield before, True


def refuse_empty(file: RawFile, text: bytes) -> None:
    """Raises when a file holds nothing but blank lines.

    Raises:
        UnusableSource: it does.
    """
    if not text.strip(b"\n"):
        raise EmptyFile(f"{file.name} must hold data, got an empty file. Bring its rows, or take it away.")


def refuse_endless_line(file: RawFile, rest: bytes, line: int) -> None:
    """Raises when what is left of a text without a line break is longer than any log's line.

    Raises:
        UnusableSource: it is.
    """
    if len(rest) > _ENDLESS:
        raise UnusableSource(
            f"{file.name}, line {line:,}: must end within {_ENDLESS:,} bytes. This is no file of one record a line."
        )
