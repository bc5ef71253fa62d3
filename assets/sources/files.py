"""Raw files found, opened and hashed: a member of the publisher's archive, or the same file unpacked.

An archive is untrusted: a member's name never becomes a path, and bytes are counted while they are unpacked.
"""

import codecs
import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np
from numpy.typing import NDArray

from assets.sources.contract import UnusableSource

_BLOCK = 1 << 20


@dataclass(frozen=True)
class RawFile:
    """A raw file: a path, or a member of a zip archive."""

    path: Path
    member: str | None
    name: str
    """Relative to the data set's folder; a member follows its archive's name."""

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Its bytes, as a stream."""
        if self.member is None:
            with self.path.open("rb") as stream:
                yield stream
            return
        with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as stream:
            yield stream


def find(folder: Path, archive: str, names: tuple[str, ...]) -> list[RawFile] | None:
    """The files `names` of a data set: in its archive, if that is there, else unpacked; None if neither is complete.

    Unpacked files are looked for in `folder` and in the subfolder that the archive would unpack to.

    Raises:
        UnusableSource: the archive is broken, unsafe, or lacks a file.
    """
    path = folder / archive
    if path.is_file():
        members = _members(path)
        missing = [name for name in names if name not in members]
        if missing:
            raise UnusableSource(
                f"{path} must hold {', '.join(names)}, got an archive without {', '.join(missing)}. Download it again."
            )
        return [RawFile(path, members[name], f"{archive}/{members[name]}") for name in names]
    for place in (folder, folder / path.stem):
        if all((place / name).is_file() for name in names):
            return [RawFile(place / name, None, (place / name).relative_to(folder).as_posix()) for name in names]
    return None


def sha256(path: Path) -> str:
    """Sixty-four hexadecimal digits of the file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hashed(folder: Path, files: list[RawFile]) -> tuple[tuple[str, str], ...]:
    """Each file on disk that these are read from, relative to `folder`, and its sha256; an archive once."""
    return tuple((path.relative_to(folder).as_posix(), sha256(path)) for path in sorted({f.path for f in files}))


def write_utf8(source: RawFile, encoding: str, to: Path, max_bytes: int) -> NDArray[np.int64]:
    """Writes the text of `source` to `to` as UTF-8 with line feeds; returns the numbers of the lines not blank.

    Whoever reads the copy meets one encoding and one line end, and can tell which line of the original each row is.

    Raises:
        UnusableSource: it is broken, larger than `max_bytes`, or not text in `encoding`.
    """
    lengths: list[NDArray[np.int64]] = []
    open_line = 0  # bytes since the last line feed
    n_bytes = n_lines = 0
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)(), translate=True)
    try:
        with source.open() as stream, to.open("wb") as out:
            while block := stream.read(_BLOCK):
                n_bytes += len(block)
                if n_bytes > max_bytes:
                    raise UnusableSource(
                        f"{source.name} must hold at most {max_bytes:,} bytes, got more. That is not the published "
                        "file; download it again."
                    )
                text = decoder.decode(block).encode()
                out.write(text)
                ends = np.flatnonzero(np.frombuffer(text, dtype=np.uint8) == ord("\n"))
                found = np.diff(ends, prepend=-1) - 1
                if len(found):
                    found[0] += open_line
                    lengths.append(found)
                    open_line = len(text) - 1 - int(ends[-1])
                else:
                    open_line += len(text)
                n_lines += len(found)
            text = decoder.decode(b"", final=True).encode()
            out.write(text)  # a carriage return was held back, in case a line feed followed
            lengths.append(np.array([open_line + len(text.rstrip(b"\n"))]))
    except UnicodeDecodeError as error:
        raise UnusableSource(
            f"{source.name} must be text in {encoding}, got the byte 0x{error.object[error.start]:02x} near line "
            f"{n_lines + 1:,}. Bring the file as published, not converted."
        ) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
        raise UnusableSource(f"{source.name} must be readable, got: {error}. Download it again.") from error
    return np.flatnonzero(np.concatenate(lengths)) + 1


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
