"""With an MLflow that does not answer, a command says so in one line, and nothing is computed or moved."""

import os
import socket
from pathlib import Path

import pytest

from tests.pipeline.shop import borderline_in


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--experiments", "popularity"],
        ["promote", "--version", "1", "--reason", "a test"],
        ["rollback", "--reason", "a test"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_registry_that_is_down_is_named_before_anything_happens(
    project: Path, tmp_path: Path, arguments: list[str]
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # held, and nobody listens on it
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        down = {"MLFLOW_TRACKING_URI": url, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
        result = borderline_in(project, tmp_path, **down)(arguments[0], "--dataset", "shop", *arguments[1:])
    assert result.returncode == 1, result.stderr
    last = result.stderr.rstrip().splitlines()[-1]
    assert last.startswith(f"borderline: MLflow at {url} does not answer (")
    assert "Traceback" not in result.stderr
    assert not os.path.exists(tmp_path / "lake"), "nothing was computed"
