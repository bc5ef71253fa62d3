"""The rows of gSASRec: a folder for each split, with histories in input.txt and targets in output.txt."""

from collections.abc import Mapping

from assets.sources.contract import UnusableSource
from assets.sources.files import RawFile
from assets.sources.presplit.found import Found, Row, lines_of
from contracts.config.sources import InputRows


def read_inputs(config: InputRows, files: Mapping[str, RawFile], found: Found) -> None:
    """Rows whose users are told by their train sequences."""
    train = files[f"{config.train}/input.txt"]
    users: dict[tuple[str, ...], str] = {}
    for line, text in lines_of(train):
        found.n_lines[train.name] = line
        sequence = text.split()
        user = str(line)
        if tuple(sequence) in users:
            found.set_aside(train, line, "the same sequence as another user's; a held-out row could be of either", text)
            continue
        users[tuple(sequence)] = user
        found.sequences[user] = [(item, train.name, line) for item in sequence]
        if len(sequence) > 1:
            row = Row("train", user, len(sequence) - 1, sequence[:-1], sequence[-1], None, train.name, line)
            found.rows.append(row)
    for split, folder in (("validation", config.validation), ("test", config.test)):
        if f"{folder}/input.txt" in files:
            _read_pairs(files[f"{folder}/input.txt"], files[f"{folder}/output.txt"], split, users, found)


def _read_pairs(
    inputs: RawFile, outputs: RawFile, split: str, users: Mapping[tuple[str, ...], str], found: Found
) -> None:
    """Rows whose history starts with a user's train sequence: that is how the files say whose it is."""
    lines, targets = dict(lines_of(inputs)), dict(lines_of(outputs))
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
            found.rows.append(Row(split, user, len(history), history, target[0], None, inputs.name, line))
