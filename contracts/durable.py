"""Files that are whole or absent, also after a crash: written beside their name, flushed to the disk, renamed.

The contents of a file do not matter here; formats belong to the rooms that know them.
"""

import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import Any


def sha256_of(path: Path) -> str:
    """Sixty-four hexadecimal digits of the file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def staging_path(path: Path) -> Path:
    """Where a file or folder is written before `commit` gives it its name: beside it, hidden, under a fresh name."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")


def commit(staging: Path, path: Path) -> None:
    """Gives a finished file or folder its name, after all its bytes have reached the disk.

    A file of that name is replaced. A folder of that name is replaced only when it is empty.

    Raises:
        OSError: the disk refuses, or `path` is a folder that holds something.
    """
    if staging.is_dir():
        for inner in staging.rglob("*"):
            flush(inner)
    flush(staging)
    os.replace(staging, path)
    flush(path.parent)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text that a reader finds whole or not at all; a file of that name is replaced."""
    staging = staging_path(path)
    staging.write_text(text, encoding="utf-8")
    commit(staging, path)


def write_json(path: Path, value: Any) -> None:
    """Writes one JSON value as `write_text` does."""
    write_text(path, json.dumps(value))


def flush(path: Path) -> None:
    """Waits until the bytes of a file, or the names in a folder, have reached the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
