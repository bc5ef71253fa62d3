"""Lines `user item item …`, oldest first: a user's last item is test, the one before it validation."""

from collections.abc import Mapping

from assets.sources.contract import UnusableSource
from assets.sources.files import RawFile
from assets.sources.presplit.found import Found, Row, json_of, lines_of
from contracts.config.sources import SequenceRows

_SHORTEST = 3  # items of a sequence that has a validation and a test target


def read_sequences(config: SequenceRows, files: Mapping[str, RawFile], found: Found) -> None:
    """Sequences of users, cut into rows, with the ids and titles that other files give."""
    file = files[config.path]
    _refuse_other_text(file)
    users, items = ({}, {}) if config.ids is None else _id_maps(files[config.ids])
    for line, text in lines_of(file):
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
                found.rows.append(Row(split, user, position, history, target, None, file.name, places[position][2]))
    if config.titles is not None:
        _read_titles(files[config.titles], found)


def _refuse_other_text(file: RawFile) -> None:
    """Refuses text that splits at spaces and is something else: JSON, CSV, or a log with a line for each interaction.

    Raises:
        UnusableSource: it is; names the reader that would fit.
    """
    n_lines = n_long = n_comma = 0
    of_long: set[str] = set()
    for line, text in lines_of(file):
        fields = text.split()
        if text.lstrip()[0] in "{[" and any(mark in text for mark in '"]}'):
            raise UnusableSource(
                f"{file.name}, line {line:,}: must be a user and items with spaces between, got JSON. Objects with one "
                "interaction a line are kind: tabular, format: json_lines; rows with historyList are kind: prompts."
            )
        n_lines += 1
        n_comma += any(fields[0].count(mark) > 0 for mark in ",;")
        if len(fields) > 2:
            n_long += 1
            of_long.add(fields[0])
    if 2 * n_comma > n_lines:
        raise UnusableSource(
            f"{file.name} must be a user and items with spaces between, got commas or semicolons in most lines' first "
            "word. A table is kind: tabular, with delimiter."
        )
    if n_long >= 2 * len(of_long) > 0:
        raise UnusableSource(
            f"{file.name} must have one line a user, or lines of one user and one item, got {n_long:,} longer lines of "
            f"{len(of_long):,} users. A line for each interaction, with a rating or a time, is kind: tabular, with "
            "delimiter: whitespace (or tab) and columns."
        )


def _id_maps(file: RawFile) -> tuple[dict[str, str], dict[str, str]]:
    maps = json_of(file)
    for name in ("id2user", "id2item"):
        if not isinstance(maps, dict) or not isinstance(maps.get(name), dict):
            raise UnusableSource(f"{file.name} must be a JSON object with id2user and id2item. Bring it as published.")
        if len(set(maps[name].values())) < len(maps[name]):
            raise UnusableSource(f"{file.name}: {name} must map no two numbers to one id. Bring it as published.")
    return maps["id2user"], maps["id2item"]


def _read_titles(file: RawFile, found: Found) -> None:
    """Titles of items; of those that are in a sequence and have none, the id."""
    for line, text in lines_of(file):
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
