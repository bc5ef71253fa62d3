"""Raw files found, opened and hashed: a member of the publisher's archive, or the same file unpacked.

An archive is untrusted: a member's name never becomes a path, and bytes are counted while they are unpacked. The only
file of the sources that speaks arrow: lines go to DuckDB in batches, so that no file is ever held as a whole.
"""

import codecs
import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from assets.sources.contract import UnusableSource
from contracts.durable import sha256_of

MAX_LINE = 1 << 20
"""Bytes of a line; a longer one cannot be used."""
MAX_EXPANSION = 200
"""How many times its compressed size a file may have: logs have 3 to 20, and an archive made to fill a disk 1,000."""
LINES = pa.schema([("number", pa.int64()), ("text", pa.string()), ("is_too_long", pa.bool_())])
_BLOCK = 4 << 20
_SMALL = 16 << 20  # bytes that any file may expand to
_KEPT = 1000  # bytes of a line that is too long for its block


@dataclass(frozen=True)
class RawFile:
    """A raw file: a path, gzipped if its name ends in .gz, or a member of a zip archive."""

    path: Path
    member: str | None
    name: str
    """Relative to the data set's folder; a member follows its archive's name."""

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Its bytes, unpacked, as a stream."""
        if self.member is not None:
            with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as stream:
                yield stream
        elif self._is_gzipped:
            with gzip.open(self.path) as stream:
                yield cast(IO[bytes], stream)
        else:
            with self.path.open("rb") as stream:
                yield stream

    def compressed_bytes(self) -> int | None:
        """What it takes on disk; None when it is not compressed."""
        if self.member is not None:
            with zipfile.ZipFile(self.path) as archive:
                return archive.getinfo(self.member).compress_size
        return self.path.stat().st_size if self._is_gzipped else None

    @property
    def _is_gzipped(self) -> bool:
        return self.path.suffix == ".gz"


def find(folder: Path, archive: str | None, names: Sequence[str]) -> list[RawFile] | None:
    """The files `names` of a data set: each from its archive, if that has it, else unpacked; None if one is missing.

    Unpacked files, which may be gzipped (`name.gz`), are looked for in `folder` and in the subfolder that the archive
    would unpack to.

    Raises:
        UnusableSource: the archive is broken or unsafe, or lacks a file that does not lie beside it either.
    """
    path = folder / archive if archive else None
    members = _members(path) if path and path.is_file() else {}
    places = [folder, *([folder / Path(archive).stem] if archive else [])]
    found = {name: _in_archive(path, members, name) or _unpacked(folder, places, name) for name in names}
    missing = [name for name, file in found.items() if file is None]
    if missing and path and path.is_file():
        raise UnusableSource(
            f"{path} must hold {', '.join(names)}, got an archive without {', '.join(missing)}. Download it again."
        )
    return None if missing else [file for file in found.values() if file]


def _in_archive(archive: Path | None, members: Mapping[str, str], name: str) -> RawFile | None:
    if archive is None or name not in members:
        return None
    return RawFile(archive, members[name], f"{archive.name}/{members[name]}")


def _unpacked(folder: Path, places: Sequence[Path], name: str) -> RawFile | None:
    paths = [place / spelling for place in places for spelling in (name, f"{name}.gz")]
    path = next((path for path in paths if path.is_file()), None)
    return RawFile(path, None, path.relative_to(folder).as_posix()) if path else None


def unpacked(source: RawFile, to: Path, max_bytes: int) -> Path:
    """A file that can be opened by its path: itself, or the member of an archive written to `to`.

    Raises:
        UnusableSource: it is broken, larger than `max_bytes`, or expands absurdly.
    """
    if source.compressed_bytes() is None:
        return source.path
    with to.open("wb") as out:
        for block in _blocks(source, max_bytes):
            out.write(block)
    return to


def hashed(folder: Path, files: list[RawFile]) -> tuple[tuple[str, str], ...]:
    """Each file on disk that these are read from, relative to `folder`, and its sha256; an archive once."""
    return tuple((path.relative_to(folder).as_posix(), sha256_of(path)) for path in sorted({f.path for f in files}))


def numbered_lines(source: RawFile, encoding: str, max_bytes: int) -> Iterator[pa.RecordBatch]:
    """The lines of a text that are not blank, in batches of `LINES`: number in the file (from 1), text, is_too_long.

    Line feeds, carriage returns and both together end a line. A line of more than MAX_LINE bytes is marked and cut.

    Raises:
        UnusableSource: it is broken, larger than `max_bytes`, expands absurdly, or is not text in `encoding`.
    """
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)(), translate=True)
    rest, is_cut = b"", False  # what stands after the last line feed, and whether more of it was left out
    n_lines = 0
    try:
        for block in _blocks(source, max_bytes):
            text = decoder.decode(block, final=not block).encode()
            if not block:
                text += b"\n"  # the last line may lack its end; a blank line more is no line
            text = text if is_cut and b"\n" not in text else rest + text
            ends = np.flatnonzero(np.frombuffer(text, dtype=np.uint8) == ord("\n"))
            if len(ends):
                yield _batch(text, ends, n_lines, is_cut)
                n_lines, is_cut = n_lines + len(ends), False
                rest = text[ends[-1] + 1 :]
            elif not is_cut:
                rest = text
            if len(rest) > MAX_LINE:
                rest, is_cut = rest[:_KEPT].decode(errors="ignore").encode(), True
    except UnicodeDecodeError as error:
        raise UnusableSource(
            f"{source.name} must be text in {encoding}, got the byte 0x{error.object[error.start]:02x} near line "
            f"{n_lines + 1:,}. Bring the file as published, not converted."
        ) from error


def _blocks(source: RawFile, max_bytes: int) -> Iterator[bytes]:
    """The bytes of a file, and an empty block at the end."""
    n_bytes, compressed = 0, source.compressed_bytes()
    try:
        with source.open() as stream:
            while block := stream.read(_BLOCK):
                n_bytes += len(block)
                if n_bytes > max_bytes:
                    raise UnusableSource(
                        f"{source.name} must hold at most {max_bytes:,} bytes, got more. That is not the published "
                        "file; download it again."
                    )
                if compressed is not None and n_bytes > max(_SMALL, MAX_EXPANSION * compressed):
                    raise UnusableSource(
                        f"{source.name} must expand to at most {MAX_EXPANSION} times its {compressed:,} compressed "
                        "bytes, got more. No log compresses so well; unpack it yourself if it is to be trusted."
                    )
                yield block
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
        raise UnusableSource(f"{source.name} must be readable, got: {error}. Download it again.") from error
    yield b""


def _batch(text: bytes, ends: NDArray[np.int64], n_before: int, is_first_cut: bool) -> pa.RecordBatch:
    starts = np.concatenate([[0], ends[:-1] + 1])
    is_too_long = ends - starts > MAX_LINE
    is_too_long[0] |= is_first_cut
    is_kept = ends > starts
    # Lines and line feeds in turn are one array over the bytes as they stand; every second one is a line.
    offsets = np.empty(2 * len(ends) + 1, dtype=np.int32)
    offsets[0:-1:2], offsets[1::2], offsets[-1] = starts, ends, ends[-1] + 1
    turns = pa.StringArray.from_buffers(2 * len(ends), pa.py_buffer(offsets), pa.py_buffer(text))
    is_line = np.zeros(2 * len(ends), dtype=bool)
    is_line[::2] = is_kept
    numbers = n_before + 1 + np.flatnonzero(is_kept)
    return pa.record_batch([numbers, turns.filter(pa.array(is_line)), is_too_long[is_kept]], schema=LINES)


def _members(path: Path) -> dict[str, str]:
    """The archive's files: base name → member.

    Raises:
        UnusableSource: not a zip archive, encrypted, or a member's name would leave the folder it is unpacked to.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except zipfile.BadZipFile as error:
        raise UnusableSource(f"{path} must be a zip archive, got: {error}. Download it again.") from error
    members: dict[str, str] = {}
    for info in infos:
        name = PurePosixPath(info.filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or ":" in "".join(name.parts[:1]):
            raise UnusableSource(
                f"{path} must hold files inside its own folder, got the member {info.filename!r}. That is not the "
                "published archive; download it again."
            )
        if info.flag_bits & 1:
            raise UnusableSource(f"{path} must not be encrypted, got an encrypted {name}. Download it again.")
        if not info.is_dir():
            members.setdefault(name.name, info.filename)
    return members
