"""A project of its own for each test, with the data sets and experiments that ship."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from contracts.files.names import project_folder


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for folder in ("datasets", "experiments"):
        shutil.copytree(project_folder() / folder, tmp_path / folder)
    monkeypatch.setenv("BORDERLINE_PROJECT", str(tmp_path))
    return tmp_path


@pytest.fixture
def write(project: Path) -> Callable[..., None]:
    """Writes the file of an experiment, `mine` unless another key is given."""

    def written(text: str, key: str = "mine") -> None:
        (project / "experiments" / f"{key}.yaml").write_text(text, encoding="utf-8")

    return written
