"""Benchmarks that publish rows instead of a log: histories with their targets, split, some with candidate lists.

The publisher's rows become the table `paper_rows`; the sequences they are cut from become `raw_interactions`, each
item at its position. Where the publisher names no users, every sequence is one.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from assets.sources.contract import MissingRawFile, PublishedStatistics, RawTables, SourceCard, UnusableSource
from assets.sources.files import RawFile
from assets.sources.reader.quarantine import Quarantine
from assets.sources.reader.text import SHOWN, TextForm, bad_rows, utf8_blocks
from contracts.config.dataset import InnerPath, InputRows, PresplitSource, PromptRows, SequenceRows
from contracts.words import HELD_OUT, SPLITS
from evaluation.schemas import empty, schema_of

_SHORTEST = 3  # items of a sequence that has a validation and a test target


@dataclass(frozen=True)
class _Row:
    """A row as published: the target stands at `position` of the user's sequence, the history just before it."""

    split: str
    user: str
    position: int
    history: Sequence[str]
    target: str
    candidates: Sequence[str] | None
    file: str
    line: int


@dataclass
class _Read:
    """What the files hold, while they are read."""

    rows: list[_Row] = field(default_factory=list)
    sequences: dict[str, list[tuple[str, str, int]]] = field(default_factory=dict)
    """User → (item, file, line) at each position."""
    titles: dict[str, str] = field(default_factory=dict)
    """Item → title; empty, when the publisher has none."""
    bad: list[tuple[str, int, str, str]] = field(default_factory=list)
    """file, line, reason, text."""
    n_lines: dict[str, int] = field(default_factory=dict)

    def set_aside(self, file: RawFile, line: int, reason: str, text: str) -> None:
        self.bad.append((file.name, line, reason, text[:SHOWN]))


def card(config: PresplitSource) -> SourceCard:
    """What the configuration says of the benchmark."""
    published = config.published and PublishedStatistics(**config.published.model_dump())
    return SourceCard(config.title, _names(config), config.page, config.terms, published)


def locate(config: PresplitSource, folder: Path) -> list[RawFile]:
    """The files that are there.

    Raises:
        MissingRawFile: one is missing that is not of the test part.
        UnusableSource: a link leads out of `folder`.
    """
    return sorted(_located(config, folder).values(), key=lambda file: file.name)


def read(config: PresplitSource, folder: Path, scratch: Path) -> RawTables:
    """The publisher's rows, the sequences they are cut from, and the catalogue.

    Raises:
        MissingRawFile: a file is missing that is not of the test part.
        UnusableSource: a file is not in its layout, or too many of its rows are unusable.
    """
    files = _located(config, folder)
    found = _Read()
    match config.rows:
        case PromptRows():
            _read_prompts(config.rows, files, found)
        case SequenceRows():
            _read_sequences(config.rows, files, found)
        case InputRows():
            _read_inputs(config.rows, files, found)
    quarantine = _quarantine(found, config.max_quarantined_share)
    log = pl.DataFrame(
        [
            (user, item, position, file, line)
            for user, sequence in found.sequences.items()
            for position, (item, file, line) in enumerate(sequence)
        ],
        schema={"user": pl.String, "item": pl.String, "position": pl.Int64, "file": pl.String, "line": pl.Int64},
        orient="row",
    )
    schema = schema_of("raw_interactions")
    nothing = {"at": pl.lit(None, schema["at"]), "event": pl.lit(None, pl.String)}
    path = scratch / "log.parquet"
    log.with_columns(weight=pl.lit(1.0, pl.Float32), **nothing).select(list(schema)).write_parquet(path)
    return RawTables(
        interactions=pl.scan_parquet(path, glob=False),
        items=_items(found, log),
        quarantine=quarantine,
        paper_rows=_paper_rows(found.rows),
    )


def _paper_rows(rows: Sequence[_Row]) -> pl.DataFrame:
    schema = schema_of("paper_rows")
    columns = {name: [getattr(row, name) for row in rows] for name in schema}
    return pl.DataFrame(columns, schema=schema)


def _items(found: _Read, log: pl.DataFrame) -> pl.DataFrame:
    titles = found.titles or {item: item for item in log["item"].unique().sort()}
    schema = schema_of("raw_items")
    nothing = [None] * len(titles)
    return pl.DataFrame({"item": [*titles], "title": [*titles.values()], "category": nothing, "text": nothing}, schema)


def _quarantine(found: _Read, max_share: float) -> pl.DataFrame:
    tables = [empty("quarantine")]
    for file, n_lines in found.n_lines.items():
        quarantine = Quarantine(file, max_share)
        rows = bad_rows(row[1:] for row in found.bad if row[0] == file)
        quarantine.add(rows, n_lines - rows.height)
        tables.append(quarantine.table())
    return pl.concat(tables).sort("file", "line", maintain_order=True)


# Files


def _parts(config: PresplitSource) -> dict[str, tuple[str, ...]]:
    """Part → its files; a part is named after its field."""
    match config.rows:
        case PromptRows() as rows:
            return {name: (getattr(rows, name),) for name in (*SPLITS, "items")}
        case SequenceRows() as rows:
            named = {"path": rows.path, "ids": rows.ids, "titles": rows.titles}
            return {name: (path,) for name, path in named.items() if path is not None}
        case InputRows() as rows:
            held_out = {name: getattr(rows, name) for name in HELD_OUT}
            pairs = {name: (f"{path}/input.txt", f"{path}/output.txt") for name, path in held_out.items()}
            return {"train": (f"{rows.train}/input.txt",), **pairs}


def _names(config: PresplitSource) -> tuple[str, ...]:
    paths = [path for part in _parts(config).values() for path in part]
    return (f"{' and '.join(paths)} (each may end in .gz; the test part may be missing)",)


def _located(config: PresplitSource, folder: Path) -> dict[str, RawFile]:
    """The files that are there, by the path that the configuration names."""
    found: dict[str, RawFile] = {}
    for part, paths in _parts(config).items():
        places = {path: _place(folder, path) for path in paths}
        missing = [path for path, place in places.items() if place is None]
        if missing and (part != "test" or len(missing) < len(paths)):
            raise MissingRawFile(card(config), folder)
        found |= {path: place for path, place in places.items() if place is not None}
    return found


def _place(folder: Path, path: InnerPath) -> RawFile | None:
    for name in (path, f"{path}.gz"):
        if (folder / name).is_file():
            if not (folder / name).resolve().is_relative_to(folder.resolve()):
                raise UnusableSource(
                    f"{name} must lie in {folder}, got a link to {(folder / name).resolve()}. Put the file there."
                )
            return RawFile(folder / name, None, name)
    return None


def _text(file: RawFile) -> str:
    text = b"".join(utf8_blocks(file, TextForm())).decode()
    if not text.strip():
        raise UnusableSource(f"{file.name} must hold data, got an empty file. Download it again.")
    return text


def _lines(file: RawFile) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers."""
    for number, line in enumerate(_text(file).split("\n"), start=1):
        if line.strip():
            yield number, line


def _json(file: RawFile) -> Any:
    try:
        return json.loads(_text(file))
    except json.JSONDecodeError as error:
        raise UnusableSource(f"{file.name}, line {error.lineno:,}: must be JSON, got: {error.msg}.") from error


# Prompts: historyList, itemList, trueSelection


def _read_prompts(config: PromptRows, files: Mapping[str, RawFile], found: _Read) -> None:
    ids = _ids_by_title(files[config.items], found)
    for split, path in (("train", config.train), ("validation", config.validation), ("test", config.test)):
        if path in files:
            _read_prompt_file(files[path], split, ids, found)


def _ids_by_title(file: RawFile, found: _Read) -> dict[str, str]:
    ids: dict[str, str] = {}
    for line, text in _lines(file):
        item, separator, title = text.partition("::")
        item, title = item.strip(), title.strip()
        if not (separator and item and title):
            found.set_aside(file, line, "must be id::title", text)
        elif title in ids or item in found.titles:
            found.set_aside(file, line, "its id or title was listed before; a row could mean either", text)
        else:
            ids[title], found.titles[item] = item, title
    found.n_lines[file.name] = len(ids) + len(found.bad)
    return ids


def _read_prompt_file(file: RawFile, split: str, ids: Mapping[str, str], found: _Read) -> None:
    user, sequence = "", list[tuple[str, str, int]]()
    n_users = n_rows = 0
    before: list[str] = []
    for line, prompt in _objects(file):
        n_rows += 1
        titles = _prompt(prompt, ids)
        if isinstance(titles, str):
            found.set_aside(file, line, titles, json.dumps(prompt, ensure_ascii=False))
            continue
        history, target, candidates = titles
        goes_on = before[-len(history) :] == history and len(history) >= len(before) - 1
        if not goes_on:
            n_users += 1
            user = f"{split}-{n_users}"
            sequence = found.sequences[user] = [(item, file.name, line) for item in history]
        found.rows.append(_Row(split, user, len(sequence), history, target, candidates, file.name, line))
        sequence.append((target, file.name, line))
        before = [*history, target]
    found.n_lines[file.name] = n_rows


def _prompt(prompt: Any, ids: Mapping[str, str]) -> tuple[list[str], str, list[str]] | str:
    """History, target and candidates as ids; or what is wrong with the prompt."""
    try:
        shown, listed, chosen = prompt["historyList"], prompt["itemList"], prompt["trueSelection"]
    except (KeyError, TypeError):
        return "must have historyList, itemList and trueSelection"
    if not (isinstance(shown, str) and isinstance(listed, list) and isinstance(chosen, str)):
        return "historyList and trueSelection must be texts, itemList a list of them"
    history = _split_titles(shown, ids)
    if history is None:
        return "historyList must be titles of the catalogue, joined by ::"
    unknown = [title for title in [*listed, chosen] if not isinstance(title, str) or title.strip() not in ids]
    if unknown:
        return f"must be titles of the catalogue, got {str(unknown[0])[:60]!r}"
    candidates, target = [ids[title.strip()] for title in listed], ids[chosen.strip()]
    if candidates.count(target) != 1 or len(set(candidates)) < len(candidates):
        return "itemList must hold trueSelection once, and no item twice"
    return history, target, candidates


def _split_titles(joined: str, ids: Mapping[str, str]) -> list[str] | None:
    """The ids of titles joined by ::, where a title may itself end or start with colons; None if there are none.

    >>> _split_titles(":wumpscut:::Covenant", {":wumpscut:": "7", "Covenant": "8"})
    ['7', '8']
    """
    titles = joined.split("::")
    if all(title.strip() in ids for title in titles):
        return [ids[title.strip()] for title in titles]
    ways: dict[int, list[str]] = {len(joined) + 2: []}  # where a title starts → the ids from there on
    ends = [place for place in range(len(joined) + 1) if place == len(joined) or joined.startswith("::", place)]
    starts = [0, *(end + 2 for end in ends[:-1])]
    for start in reversed(starts):
        for end in ends:
            item = ids.get(joined[start:end].strip())
            if item is not None and end + 2 in ways:
                ways[start] = [item, *ways[end + 2]]
                break
    return ways.get(0)


def _objects(file: RawFile) -> Iterator[tuple[int, Any]]:
    """The elements of a JSON array, and the line each starts on."""
    text = _text(file)
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


# Sequences: user item item …


def _read_sequences(config: SequenceRows, files: Mapping[str, RawFile], found: _Read) -> None:
    file = files[config.path]
    users, items = ({}, {}) if config.ids is None else _id_maps(files[config.ids])
    for line, text in _lines(file):
        found.n_lines[file.name] = found.n_lines.get(file.name, 0) + 1
        user, *sequence = text.split()
        unknown = [item for item in sequence if items and item not in items] + [user] * bool(
            users and user not in users
        )
        if not sequence:
            found.set_aside(file, line, "must be a user and at least one item", text)
        elif unknown:
            found.set_aside(file, line, f"{config.ids} must map every id, it lacks {unknown[0][:60]!r}", text)
        else:
            places = [(items.get(item, item), file.name, line) for item in sequence]
            found.sequences.setdefault(users.get(user, user), []).extend(places)
    for user, places in found.sequences.items():
        sequence = [item for item, _, _ in places]
        n_train = len(sequence) - 2 if len(sequence) >= _SHORTEST else len(sequence)
        targets = [("train", n_train - 1), ("validation", n_train), ("test", n_train + 1)]
        for split, position in targets:
            if 0 < position < len(sequence):
                history, target = sequence[:position], sequence[position]
                found.rows.append(_Row(split, user, position, history, target, None, file.name, places[position][2]))
    if config.titles is not None:
        _read_titles(files[config.titles], found)


def _id_maps(file: RawFile) -> tuple[dict[str, str], dict[str, str]]:
    maps = _json(file)
    for name in ("id2user", "id2item"):
        if not isinstance(maps, dict) or not isinstance(maps.get(name), dict):
            raise UnusableSource(f"{file.name} must be a JSON object with id2user and id2item. Bring it as published.")
        if len(set(maps[name].values())) < len(maps[name]):
            raise UnusableSource(f"{file.name}: {name} must map no two numbers to one id. Bring it as published.")
    return maps["id2user"], maps["id2item"]


def _read_titles(file: RawFile, found: _Read) -> None:
    """Titles of items; of those that are in a sequence and have none, the id."""
    for line, text in _lines(file):
        found.n_lines[file.name] = found.n_lines.get(file.name, 0) + 1
        item, _, title = text.partition(" ")
        if not title.strip():
            found.set_aside(file, line, "must be an item's id, a space, and its title", text)
        elif item in found.titles:
            found.set_aside(file, line, "its item was listed before; the first line counts", text)
        else:
            found.titles[item] = title.strip()
    touched = {item for sequence in found.sequences.values() for item, _, _ in sequence}
    found.titles |= {item: item for item in sorted(touched - found.titles.keys())}


# Inputs: train/input.txt, validation/input.txt and output.txt


def _read_inputs(config: InputRows, files: Mapping[str, RawFile], found: _Read) -> None:
    train = files[f"{config.train}/input.txt"]
    users: dict[tuple[str, ...], str] = {}
    for line, text in _lines(train):
        found.n_lines[train.name] = line
        sequence = text.split()
        user = str(line)
        if tuple(sequence) in users:
            found.set_aside(train, line, "the same sequence as another user's; a held-out row could be of either", text)
            continue
        users[tuple(sequence)] = user
        found.sequences[user] = [(item, train.name, line) for item in sequence]
        if len(sequence) > 1:
            row = _Row("train", user, len(sequence) - 1, sequence[:-1], sequence[-1], None, train.name, line)
            found.rows.append(row)
    for split, folder in (("validation", config.validation), ("test", config.test)):
        if f"{folder}/input.txt" in files:
            _read_pairs(files[f"{folder}/input.txt"], files[f"{folder}/output.txt"], split, users, found)


def _read_pairs(
    inputs: RawFile, outputs: RawFile, split: str, users: Mapping[tuple[str, ...], str], found: _Read
) -> None:
    """Rows whose history starts with a user's train sequence: that is how the files say whose it is."""
    lines, targets = dict(_lines(inputs)), dict(_lines(outputs))
    if lines.keys() != targets.keys():
        lonely = min(lines.keys() ^ targets.keys())
        raise UnusableSource(
            f"{inputs.name} and {outputs.name} must have the same lines, got line {lonely:,} in one of them alone. "
            "Bring both as published."
        )
    found.n_lines[inputs.name] = len(lines)
    for line, text in lines.items():
        history, target = text.split(), targets[line].split()
        starts = (users.get(tuple(history[:length])) for length in range(len(history), 0, -1))
        user = next((user for user in starts if user is not None), None)
        sequence = found.sequences.get(user or "", [])
        if len(target) != 1:
            found.set_aside(inputs, line, f"{outputs.name} must have one target on the same line", targets[line])
        elif user is None:
            found.set_aside(inputs, line, "must go on from a sequence of the train part", text)
        elif [item for item, _, _ in sequence[: len(history) + 1]] != [*history, *target][: len(sequence)]:
            found.set_aside(inputs, line, "contradicts what another split shows of its user", text)
        else:
            shown = [(item, inputs.name, line) for item in history] + [(target[0], outputs.name, line)]
            found.sequences[user] = sequence + shown[len(sequence) :]
            found.rows.append(_Row(split, user, len(history), history, target[0], None, inputs.name, line))
