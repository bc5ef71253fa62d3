"""What the files of a benchmark hold while they are read, and the text and JSON in them. No layout belongs here."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from assets.sources.contract import UnusableSource
from assets.sources.files import RawFile
from assets.sources.reader.text import SHOWN, TextForm, utf8_blocks


@dataclass(frozen=True)
class Row:
    """A row as published: the target is at `position` of the user's sequence, after its history."""

    split: str
    user: str
    position: int
    history: Sequence[str]
    target: str
    candidates: Sequence[str] | None
    file: str
    line: int


@dataclass
class Found:
    """What the files hold, while they are read."""

    rows: list[Row] = field(default_factory=list)
    sequences: dict[str, list[tuple[str, str, int]]] = field(default_factory=dict)
    """User → (item, file, line) at each position."""
    titles: dict[str, str] = field(default_factory=dict)
    """Item → title; empty, when the publisher has none."""
    bad: list[tuple[str, int, str, str]] = field(default_factory=list)
    """file, line, reason, text."""
    n_lines: dict[str, int] = field(default_factory=dict)

    def set_aside(self, file: RawFile, line: int, reason: str, text: str) -> None:
        """Puts a row of a file into quarantine."""
        self.bad.append((file.name, line, reason, text[:SHOWN]))


def text_of(file: RawFile) -> str:
    """The whole text of a file.

    Raises:
        UnusableSource: it is empty, damaged or not UTF-8.
    """
    text = b"".join(utf8_blocks(file, TextForm())).decode()
    if not text.strip():
        raise UnusableSource(f"{file.name} must hold data, got an empty file. Download it again.")
    return text


def lines_of(file: RawFile) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers."""
    for number, line in enumerate(text_of(file).split("\n"), start=1):
        if line.strip():
            yield number, line


def json_of(file: RawFile) -> Any:
    """A file of JSON.

    Raises:
        UnusableSource: it is not; names the line.
    """
    try:
        return json.loads(text_of(file))
    except json.JSONDecodeError as error:
        raise UnusableSource(f"{file.name}, line {error.lineno:,}: must be JSON, got: {error.msg}.") from error


def objects_of(file: RawFile) -> Iterator[tuple[int, Any]]:
    """The elements of a JSON array, and the line each starts on."""
    text = text_of(file)
    decoder = json.JSONDecoder()
    place, line = len(text) - len(text.lstrip()), 1
    if text[place] != "[":
        raise UnusableSource(f"{file.name}, line 1: must be a JSON array of rows. Bring the file as published.")
    counted = 0
    place += 1
    while True:
        while place < len(text) and text[place] in " \t\n,":
            place += 1
        line += text.count("\n", counted, place)
        counted = place
        if place < len(text) and text[place] == "]":
            return
        try:
            value, place = decoder.raw_decode(text, place)
        except json.JSONDecodeError as error:
            raise UnusableSource(
                f"{file.name}, line {error.lineno:,}: must be JSON to its end, got: {error.msg}. Download it again."
            ) from error
        yield line, value
