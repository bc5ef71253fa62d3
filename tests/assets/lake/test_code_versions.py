"""A change of code without a decision about its code version is found; a comment is no change."""

import json
from pathlib import Path

import pytest

from assets.lake import code_versions
from assets.lake.code_versions import asset_modules, code_of, decide, undecided

PROJECT = {
    "assets/data/splits.py": "from assets.transforms.cut import cut\n\n@asset()\ndef splits(of):\n    return cut(of)\n",
    "assets/learning/policies.py": '@asset()\ndef policies(launcher):\n    launcher.run("mine")\n',
    "assets/learning/start.py": "def start():\n    pass\n",
    "assets/transforms/cut.py": "def cut(of):\n    from contracts.draws import draw\n\n    return draw(of)\n",
    "assets/transforms/glue.py": "x = 1\n",
    "contracts/draws.py": '"""Draws."""\n\n\ndef draw(of):\n    return of + 1\n',
    "training/mine.py": "from training.engine import score\n",
    "training/engine/__init__.py": "",
    "training/engine/score.py": "x = 1\n",
}
SPLITS, POLICIES = "assets.data.splits", "assets.learning.policies"


def test_every_code_version_was_decided_for_the_code_as_it_is() -> None:
    waiting = undecided()
    assert not waiting, (
        f"The code of {', '.join(waiting)} has changed. Where the same inputs and configuration give the same content: "
        f"python -m borderline code-versions --changes-nothing {' '.join(waiting)}. Where they give other content: "
        f"python -m borderline code-versions --raises {' '.join(waiting)}."
    )


def test_every_module_with_assets_has_an_entry_and_no_other_has() -> None:
    assert set(json.loads(code_versions.FILE.read_text())) == set(asset_modules())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in PROJECT.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "after", "changed"),
    [
        ("contracts/draws.py", '"""Draws."""\n\n\ndef draw(of):\n    return of + 2\n', {SPLITS}),
        (
            "contracts/draws.py",
            '"""Other words."""\n# Why.\ndef draw(of):\n    """Text."""\n    return (of +\n 1)\n',
            set(),
        ),
        ("assets/transforms/glue.py", "x = 2\n", set()),
        ("training/engine/score.py", "x = 2\n", {POLICIES}),
        ("training/mine.py", "from training.engine import score\n\nx = 1\n", {POLICIES}),
        ("assets/data/splits.py", "@asset()\ndef splits(of):\n    return of\n", {SPLITS}),
    ],
)
def test_code_counts_however_far_away_and_comments_do_not(root: Path, file: str, after: str, changed: set[str]) -> None:
    before = {module: code_of(module, root) for module in (SPLITS, POLICIES)}
    (root / file).write_text(after)
    assert {module for module in before if code_of(module, root) != before[module]} == changed


def test_modules_with_assets_are_found_and_tools_beside_them_are_not(root: Path) -> None:
    assert asset_modules(root) == {"splits": SPLITS, "policies": POLICIES}


def test_a_decision_raises_the_version_or_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "code_versions.json"
    entries = json.loads(code_versions.FILE.read_text())
    before = entries["splits"]["code_version"]
    entries["splits"]["code"] = entries["metrics"]["code"] = "of another time"
    file.write_text(json.dumps(entries))
    monkeypatch.setattr(code_versions, "FILE", file)
    code_versions._recorded.cache_clear()
    try:
        assert set(undecided()) >= {"splits", "metrics"}
        decide(["splits"], raises=True)
        decide(undecided(), raises=False)
        assert undecided() == []
        after = json.loads(file.read_text())
        assert after["splits"]["code_version"] == str(int(before) + 1)
        assert after["metrics"]["code_version"] == entries["metrics"]["code_version"]
    finally:
        code_versions._recorded.cache_clear()
