"""Raw files found, opened and hashed: a member of the publisher's archive, or the same file unpacked.

An archive is untrusted: a member's name never becomes a path, and `blocks` counts bytes while it unpacks them. The
meaning of the bytes belongs to `assets/sources/reader`.
"""

import bz2
import gzip
import math
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

import pyarrow as pa

from assets.sources.contract import UnusableSource
from contracts.durable import sha256_of

MAX_EXPANSION = 200
"""How many times its compressed size a file may have: logs have 3 to 20, and an archive made to fill a disk 1,000."""
SMALL = 64 << 20
"""Bytes that any file may expand to."""
BLOCK = 16 << 20
"""Bytes that are read together."""


@dataclass(frozen=True)
class RawFile:
    """A raw file: a path, compressed as its name or else its first bytes say, or a member of a zip archive."""

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
        elif (compression := self._compression()) == "gz":
            with gzip.open(self.path) as stream:
                yield cast(IO[bytes], stream)
        elif compression == "bz2":
            with bz2.open(self.path) as stream:
                yield cast(IO[bytes], stream)
        elif compression == "zst":
            with pa.OSFile(str(self.path)) as file, pa.CompressedInputStream(file, "zstd") as stream:
                yield cast(IO[bytes], stream)
        else:
            with self.path.open("rb") as stream:
                yield stream

    def compressed_bytes(self) -> int | None:
        """What it takes on disk; None when it is not compressed."""
        if self.member is not None:
            with zipfile.ZipFile(self.path) as archive:
                return archive.getinfo(self.member).compress_size
        return self.path.stat().st_size if self._compression() else None

    def _compression(self) -> str | None:
        ending = self.path.suffix.lower().removeprefix(".")
        if ending in _FIRST_BYTES:
            return ending
        with self.path.open("rb") as stream:
            start = stream.read(16)
        return next((name for name, pattern in _FIRST_BYTES.items() if re.match(pattern, start, re.DOTALL)), None)


_FIRST_BYTES = {"gz": rb"\x1f\x8b\x08", "bz2": rb"BZh[1-9]1AY&SY", "zst": rb"\x28\xb5\x2f\xfd"}
"""Ending of a compressed file → how its content starts."""


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
        for block in blocks(source, max_bytes):
            out.write(block)
    return to


def hashed(folder: Path, files: list[RawFile]) -> tuple[tuple[str, str], ...]:
    """Each file on disk that these are read from, relative to `folder`, and its sha256; an archive once."""
    return tuple((path.relative_to(folder).as_posix(), sha256_of(path)) for path in sorted({f.path for f in files}))


def blocks(source: RawFile, max_bytes: int | None = None, where: Callable[[], str] | None = None) -> Iterator[bytes]:
    """The unpacked bytes of a file, some megabytes at a time.

    Args:
        source: the file.
        max_bytes: how many bytes a publisher's file may have; any number, when absent.
        where: says how far the caller has read, for an error; the number of bytes, when absent.

    Raises:
        UnusableSource: it is damaged, larger than `max_bytes`, or expands absurdly.
    """
    n_bytes, compressed = 0, source.compressed_bytes()
    most = math.inf if compressed is None else max(SMALL, MAX_EXPANSION * compressed)
    try:
        with source.open() as stream:
            while block := stream.read(BLOCK):
                n_bytes += len(block)
                if max_bytes is not None and n_bytes > max_bytes:
                    raise UnusableSource(
                        f"{source.name} must hold at most {max_bytes:,} bytes, got more. That is not the published "
                        "file; download it again."
                    )
                if n_bytes > most:
                    raise UnusableSource(
                        f"{source.name} must unpack to at most {MAX_EXPANSION} times its size, got more by "
                        f"{_place(n_bytes, where)}. Unpack it yourself if it is to be trusted."
                    )
                yield block
    except (EOFError, zipfile.BadZipFile, zlib.error, OSError, NotImplementedError) as error:
        raise UnusableSource(
            f"{source.name} must be readable to its end, got after {_place(n_bytes, where)}: {error}. Copy it again; "
            "it is cut off or damaged."
        ) from error


def _place(n_bytes: int, where: Callable[[], str] | None) -> str:
    return f"{n_bytes:,} bytes" if where is None else where()


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
