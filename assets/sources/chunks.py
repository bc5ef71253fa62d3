"""Files of records, chunk by chunk: every record as text fields with its line, what is no record with its reason.

A chunk is a few megabytes, whatever the file's size. Where the chunks are cut changes nothing.
"""

import codecs
import io
import math
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from assets.sources.contract import UnusableSource
from assets.sources.files import MAX_EXPANSION, RawFile

Lines = NDArray[np.int64]

BLOCK = 16 << 20
"""Bytes of text that are looked at together."""
LONGEST = 1_000_000
"""Bytes of the longest record that is read; a longer one is set aside."""
SHOWN = 200
"""Characters of a record in quarantine that are kept."""
SMALL = 64 << 20
"""Bytes that any file may expand to."""
_ENDLESS = 4 * BLOCK


@dataclass(frozen=True)
class Chunk:
    """Records of a file that stand together."""

    records: pl.DataFrame
    """The wanted columns, and `line`; text, but for Parquet, which has types."""
    text: Callable[[int], str]
    """Place of a record → the record as the file has it, cut, for the quarantine."""
    bad: pl.DataFrame
    """line, reason, text: what is no record."""


def bad_rows(rows: Iterable[tuple[int, str, str]]) -> pl.DataFrame:
    """The table `Chunk.bad` of (line, reason, text)."""
    return pl.DataFrame(list(rows), schema={"line": pl.Int64, "reason": pl.String, "text": pl.String}, orient="row")


def shown(record: bytes) -> str:
    """A record as the quarantine shows it."""
    return record[: SHOWN * 4].decode("utf-8", errors="replace")[:SHOWN]


def utf8_blocks(file: RawFile, encoding: str) -> Iterator[bytes]:
    """The file's text as UTF-8 with line feeds, in blocks that end anywhere, without a byte order mark.

    Raises:
        UnusableSource: it is not text in `encoding`, is damaged, or expands absurdly; names the line.
    """
    decoder = io.IncrementalNewlineDecoder(
        codecs.getincrementaldecoder("utf-8-sig" if encoding == "utf-8" else encoding)(), translate=True
    )
    compressed = file.compressed_bytes()
    most = math.inf if compressed is None else max(SMALL, MAX_EXPANSION * compressed)
    line, n_bytes = 1, 0
    try:
        with file.open() as stream:
            while True:
                block = stream.read(BLOCK)
                n_bytes += len(block)
                if n_bytes > most:
                    raise UnusableSource(
                        f"{file.name} must unpack to at most {MAX_EXPANSION} times its size, got more by line "
                        f"{line:,}. Unpack it yourself if it is to be trusted."
                    )
                text = decoder.decode(block, final=not block).encode()
                line += text.count(b"\n")
                if text:
                    yield text
                if not block:
                    return
    except UnicodeDecodeError as error:
        start = error.object[: error.start]
        line += start.count(b"\n")
        byte = error.object[error.start]
        raise UnusableSource(
            f"{file.name}, line {line:,}: must be text in {encoding}, got the byte 0x{byte:02x}. "
            f"{_encoding_remedy(encoding, line, error.object)}"
        ) from error
    except UnicodeError as error:
        raise UnusableSource(f"{file.name} must be text in {encoding}, got: {error}. Say its encoding.") from error
    except (EOFError, zipfile.BadZipFile, zlib.error, OSError, NotImplementedError) as error:
        raise UnusableSource(
            f"{file.name} must be readable to its end, got after line {line:,}: {error}. Copy it again; it is cut off "
            "or damaged."
        ) from error


def _encoding_remedy(encoding: str, line: int, block: bytes) -> str:
    if encoding == "utf-8" and line == 1 and block[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "It starts like UTF-16: write encoding: utf-16."
    if encoding == "utf-8":
        return "Write encoding: cp1252 (Windows) or encoding: iso-8859-1, or save it as UTF-8."
    return "Write the encoding it was saved in."


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
        raise UnusableSource(f"{file.name} must hold data, got an empty file. Bring its rows, or take it away.")


def refuse_endless_line(file: RawFile, rest: bytes, line: int) -> None:
    """Raises when what is left of a text without a line break is longer than any log's line.

    Raises:
        UnusableSource: it is.
    """
    if len(rest) > _ENDLESS:
        raise UnusableSource(
            f"{file.name}, line {line:,}: must end within {_ENDLESS:,} bytes. This is no file of one record a line."
        )
