"""The code version of each asset, beside a hash of the code it was decided for: nobody can forget to raise one.

A version is reused while the fingerprint of what it was made from stays the same, and `code_version` is all that the
fingerprint knows of code. `code_versions.json` holds both; a test fails when an asset's code is another than the one
recorded. The author of a change records a decision:

    python -m borderline code-versions                            which assets wait for one
    python -m borderline code-versions --raises splits            same inputs, other content: made anew everywhere
    python -m borderline code-versions --changes-nothing splits   same inputs, same content: versions stay in use
    python -m borderline code-versions --changes-nothing --all

The code of an asset is its own module and every module of the project that it imports, however far away, with those of
the training command that it launches. Comments, docstrings and layout do not count, nor do the machinery of the lake
and the reading of YAML files, whose outcome is in the fingerprint itself.
"""

import ast
import functools
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILE = Path(__file__).with_suffix(".json")
ASSET_ROOMS = ("data", "learning", "results", "registry")
ROOMS = ("assets", "contracts", "evaluation", "training")
NOT_COUNTED = ("assets.lake", "contracts.files")
STAGES = ("sft", "preference", "mine", "reference", "score")
"""Modules of `training` that are commands; an asset launches one by its name."""


def code_version_of(module: str) -> str:
    """The code version of the assets that a module defines, by the module's last name."""
    return _recorded()[module]["code_version"]


def code_of(module: str, root: Path = ROOT) -> str:
    """Sixteen hexadecimal digits of the code behind a module of the project, such as `assets.data.splits`."""
    digest = hashlib.sha256()
    for name in sorted(_reached(module, root)):
        digest.update(f"{name}\n{_normal(_text(root, name))}\n".encode())
    return digest.hexdigest()[:16]


def asset_modules(root: Path = ROOT) -> dict[str, str]:
    """Every module that defines assets, by its last name."""
    files = (path for room in ASSET_ROOMS for path in sorted((root / "assets" / room).glob("*.py")))
    return {path.stem: f"assets.{path.parent.name}.{path.stem}" for path in files if _defines_assets(path)}


def undecided(root: Path = ROOT) -> list[str]:
    """The assets whose code is another than the one their code version was decided for."""
    recorded = _recorded()
    return [
        name
        for name, module in asset_modules(root).items()
        if recorded.get(name, {}).get("code") != code_of(module, root)
    ]


def decide(names: Sequence[str], *, raises: bool) -> None:
    """Record the code of these assets as it is, with the next code version if the decision raises it.

    Raises:
        KeyError: no module of that name defines assets.
    """
    modules, recorded = asset_modules(), dict(_recorded())
    for name in names:
        module = modules[name]
        version = recorded[name]["code_version"] if name in recorded else "0"
        version = str(int(version) + 1) if raises or name not in recorded else version
        recorded[name] = {"code_version": version, "code": code_of(module)}
    kept = {name: recorded[name] for name in sorted(recorded) if name in modules}
    FILE.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    _recorded.cache_clear()


@functools.cache
def _recorded() -> dict[str, dict[str, str]]:
    return json.loads(FILE.read_text(encoding="utf-8"))


def _defines_assets(path: Path) -> bool:
    return any(
        isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in ("asset", "assets")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
        for call in node.decorator_list
    )


def _reached(module: str, root: Path) -> set[str]:
    """The module, and every module of the project that it imports or launches, directly or through others."""
    reached: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in reached or _path(root, name) is None or name.startswith(NOT_COUNTED):
            continue
        reached.add(name)
        waiting += _named_in(_text(root, name))
    return reached


@functools.cache
def _named_in(text: str) -> tuple[str, ...]:
    """Modules that a module may name: what it imports, the packages around those, and the command it launches."""
    found: list[str] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Call) and _launches(node.func):
            said = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
            found += [f"training.{stage}" for stage in STAGES if stage in said]
    parts = [name.split(".") for name in found if name.split(".")[0] in ROOMS]
    return tuple(".".join(name[:n]) for name in parts for n in range(1, len(name) + 1))


def _launches(function: ast.expr) -> bool:
    if isinstance(function, ast.Attribute):
        return function.attr == "run"
    return isinstance(function, ast.Name) and function.id == "run_tracked"


@functools.cache
def _normal(text: str) -> str:
    """A module as Python understands it: without comments, docstrings and layout."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            kept = [each for each in node.body if not _is_text(each)]
            node.body = kept or [ast.Pass()]
    return ast.unparse(tree)


def _is_text(node: ast.stmt) -> bool:
    """Whether a statement is a docstring, or the text below an attribute."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _text(root: Path, module: str) -> str:
    path = _path(root, module)
    assert path is not None  # only modules of the project are looked at
    return path.read_text(encoding="utf-8")


def _path(root: Path, module: str) -> Path | None:
    base = root.joinpath(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)
