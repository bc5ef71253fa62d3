"""One word for each thing: names in the code use the words of docs/glossary.md, and none that it refuses."""

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

from contracts.files.names import project_folder

ROOMS = ("borderline", "orchestration", "assets", "training", "evaluation", "contracts")
GLOSSARY = (project_folder() / "docs" / "glossary.md").read_text(encoding="utf-8")


def table(heading: str) -> list[list[str]]:
    """The rows of the table under a heading."""
    part = GLOSSARY.split(heading)[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def refused_words() -> set[str]:
    return {word for *_, cell in table("# Glossary") for word in re.findall(r"`([^`]+)`", cell)}


def exceptions() -> list[tuple[str, str]]:
    return [(word.strip("`"), where) for word, cell, _ in table("## Where") for where in re.findall(r"`([^`]+)`", cell)]


def snake(name: str) -> str:
    """`ModelCard` and `model_card` are one name.

    >>> snake("ModelCard")
    'model_card'
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every name that the code gives, with its line; parameters and attributes of libraries are not given here."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name
            case ast.arg(arg=name):
                yield node.lineno, name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name


def says(name: str, word: str) -> bool:
    """Whether a name holds a refused word, whole; a word with a capital is refused as the whole name only.

    >>> says("user_sequence", "sequence"), says("sequences", "sequence"), says("negatives", "neg")
    (True, True, False)
    >>> says("Probe", "Probe"), says("LeakProbe", "Probe")
    (True, False)
    """
    if word[0].isupper():
        return name == word
    return re.search(rf"(^|_){re.escape(word)}s?(_|$)", snake(name)) is not None


def found(path: Path, words: set[str], allowed: list[tuple[str, str]]) -> list[str]:
    shown = path.relative_to(project_folder()).as_posix()
    given = [(1, path.stem), *names(ast.parse(path.read_text(encoding="utf-8")))]
    return [
        f"{shown}:{line}: {name} says {word}"
        for line, name in given
        for word in sorted(words)
        if says(name, word)
        and not any(word == allowed_word and fnmatch(f"{shown}:{name}", where) for allowed_word, where in allowed)
    ]


def test_the_glossary_refuses_words_that_people_type() -> None:
    assert {"event", "rating", "sequence", "context", "label", "sample", "neg", "gt", "user_seq"} <= refused_words()


def test_every_refused_word_has_a_reason() -> None:
    for word, _, cell in table("# Glossary"):
        assert not cell or ":" in cell, word


@pytest.mark.parametrize("room", ROOMS)
def test_names_use_the_words_of_the_glossary(room: str) -> None:
    words, allowed = refused_words(), exceptions()
    assert [
        line for path in sorted((project_folder() / room).rglob("*.py")) for line in found(path, words, allowed)
    ] == []


def test_every_exception_is_still_needed() -> None:
    paths = [path for room in ROOMS for path in (project_folder() / room).rglob("*.py")]
    lines = [line for path in paths for line in found(path, {word for word, _ in exceptions()}, [])]
    for word, where in exceptions():
        assert any(
            fnmatch(f"{place.split(':')[0]}:{place.split(': ')[1].split(' says ')[0]}", where) and place.endswith(word)
            for place in lines
        ), f"{word} in {where}"
