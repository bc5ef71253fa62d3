"""The health checks of compose ask a question that needs the database: a server without one is not healthy."""

import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from contracts.files.names import project_folder

SCRIPT = project_folder() / "docker" / "healthy.py"


@contextmanager
def server_that_answers(status: int, body: str) -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(f"{self.path} {self.rfile.read(int(self.headers['Content-Length'])).decode()}")
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("service", "status", "body", "healthy"),
    [
        ("dagster", 200, '{"data": {"runsOrError": {"__typename": "Runs"}}}', True),
        ("dagster", 200, '{"data": {"runsOrError": {"__typename": "PythonError"}}}', False),
        ("dagster", 200, '{"errors": [{"message": "no database"}]}', False),
        ("dagster", 500, "", False),
        ("mlflow", 200, '{"experiments": []}', True),
        ("mlflow", 500, '{"error_code": "INTERNAL_ERROR"}', False),
    ],
)
def test_a_server_without_its_database_is_not_healthy(service: str, status: int, body: str, healthy: bool) -> None:
    with server_that_answers(status, body) as (address, asked):
        result = subprocess.run([sys.executable, SCRIPT, service, address], capture_output=True, timeout=30)
    assert (result.returncode == 0) is healthy
    assert any(word in asked[0] for word in ("runsOrError", "experiments/search"))


def test_nobody_there_is_not_healthy() -> None:
    result = subprocess.run([sys.executable, SCRIPT, "mlflow", "http://127.0.0.1:9"], capture_output=True, timeout=30)
    assert result.returncode != 0
