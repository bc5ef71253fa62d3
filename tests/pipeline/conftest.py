"""A project and a home for all tests of a file: what one test walks, the others look at.

Every walk in this interpreter is held to what its assets declare to read.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.declared_reads import held_to_declarations
from tests.pipeline.shop import write_project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    write_project(folder)
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True, scope="session")
def _reads() -> Iterator[None]:
    with held_to_declarations():
        yield
