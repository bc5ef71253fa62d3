"""No module imports itself by way of others: imports inside functions and under TYPE_CHECKING are counted too.

Directions between rooms are the contracts of import-linter, in pyproject.toml. This law is about the inside of a room.
"""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
ROOMS = ("borderline", "orchestration", "assets", "training", "evaluation", "contracts")


def modules_of(folder: Path) -> dict[str, Path]:
    """The dotted name of each module of a room, and its file."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported_by(path: Path, modules: dict[str, Path]) -> set[str]:
    """The modules of the room that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            found |= {whole if whole in modules else node.module for whole in names.values()}
    return found & modules.keys()


def cycle_in(folder: Path) -> list[str]:
    """One circle of imports in a room, or nothing."""
    modules = modules_of(folder)
    graph = {name: imported_by(path, modules) for name, path in modules.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_has_no_circle_of_imports(room: str) -> None:
    assert modules_of(PROJECT / room)
    assert cycle_in(PROJECT / room) == []


@pytest.mark.parametrize(
    "back",
    [
        "from room.walk import layer",
        "import room.walk",
        "from room import walk",
        "def job():\n    from room.walk import layer\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from room.walk import layer\n",
    ],
)
def test_a_circle_is_found_wherever_the_import_is(tmp_path: Path, back: str) -> None:
    room = tmp_path / "room"
    room.mkdir()
    (room / "__init__.py").touch()
    (room / "walk.py").write_text("from room.jobs import job\n")
    (room / "jobs.py").write_text("def job(): ...\n")
    assert cycle_in(room) == []
    (room / "jobs.py").write_text(back)
    assert set(cycle_in(room)) == {"room.walk", "room.jobs"}
