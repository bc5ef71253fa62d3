"""The edge of compose, in a real nginx: attacks are refused, people and programs pass, addresses may change."""

import http.client
import http.server
import shutil
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from contracts.files.names import project_folder

NGINX = shutil.which("nginx")
pytestmark = pytest.mark.skipif(NGINX is None, reason="needs nginx (Debian: nginx-light)")

OURS = "http://localhost:3000"
FOREIGN = "http://evil.example"
REPORT = "/report_asset_materialization/leaderboard?partition=tiny&data_version=forged"

REFUSED = {
    "a Host of another name": ("GET", "/", {"Host": "evil.example"}, 421),
    "a Host by address": ("GET", "/", {"Host": "10.0.0.5:3000"}, 421),
    "no page of another origin posts to graphql": ("POST", "/graphql", {"Origin": FOREIGN}, 403),
    "nor one on another port of this machine": ("POST", "/graphql", {"Origin": "http://localhost:9999"}, 403),
    "nor one over https": ("POST", "/graphql", {"Origin": "https://localhost:3000"}, 403),
    "nor one without an origin": ("POST", "/graphql", {"Origin": "null"}, 403),
    "nor one that only its site tells": ("POST", "/graphql", {"Sec-Fetch-Site": "cross-site"}, 403),
    "nor one on the same site": ("POST", "/graphql", {"Sec-Fetch-Site": "same-site"}, 403),
    "nor a websocket": ("GET", "/graphql", {"Origin": FOREIGN, "Upgrade": "websocket", "Connection": "upgrade"}, 403),
    "a query in the address": ("GET", "/graphql?query=mutation{x}", {}, 403),
    "spelled in percents": ("GET", "/graphql?%71uery=mutation{x}", {}, 403),
    "given twice": ("GET", "/graphql?query=&query=mutation{x}", {}, 403),
    "asked for its head": ("HEAD", "/graphql?query=mutation{x}", {}, 403),
    "with the name of the path in percents": ("GET", "/%67raphql?query=mutation{x}", {}, 403),
    "reports of materialisations": ("POST", REPORT, {"Origin": FOREIGN, "Sec-Fetch-Site": "cross-site"}, 403),
    "reports of checks": ("POST", "/report_asset_check/x?check_name=schema&passed=false", {"Origin": FOREIGN}, 403),
    "reports of observations": ("POST", "/report_asset_observation/x", {"Sec-Fetch-Site": "cross-site"}, 403),
    "files of another page": ("PUT", "/anything", {"Origin": FOREIGN}, 403),
}
PASSED = {
    "a page": ("GET", "/runs", {}),
    "a link from another site": ("GET", "/runs?view=failed", {"Sec-Fetch-Site": "cross-site"}),
    "the page's own queries": ("POST", "/graphql", {"Origin": OURS, "Sec-Fetch-Site": "same-origin"}),
    "by address": ("POST", "/graphql", {"Host": "127.0.0.1:3000", "Origin": "http://127.0.0.1:3000"}),
    "a program without a browser": ("POST", "/graphql", {}),
    "a program that reports": ("POST", REPORT, {}),
}


class _Upstream(http.server.BaseHTTPRequestHandler):
    """Answers everything with the address that it was reached at."""

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        body = str(self.server.server_address[0]).encode()  # pyright: ignore[reportIndexIssue]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_POST = do_HEAD = do_PUT = _answer

    def log_message(self, format: str, *args: object) -> None:
        """Keeps the test's output clean."""


class _Names(socketserver.BaseRequestHandler):
    """A name server with one answer: the address of the webserver, for one second."""

    def handle(self) -> None:
        question, sock = self.request
        address = bytes(map(int, self.server.address.split(".")))  # type: ignore[attr-defined]
        asked = question[12 : question.index(b"\0", 12) + 5]
        header = question[:2] + b"\x81\x80\0\1\0\1\0\0\0\0"
        sock.sendto(header + asked + b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4" + address, self.client_address)


@dataclass
class Edge:
    """A running nginx in front of two upstreams, one of which the name server names."""

    port: int
    names: socketserver.UDPServer

    def ask(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            connection.putrequest(method, path, skip_host=True)
            for name, value in {"Host": "localhost:3000", **headers}.items():
                connection.putheader(name, value)
            connection.putheader("Content-Length", "0")
            connection.endheaders()
            with connection.getresponse() as answer:
                return answer.status, answer.read().decode()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    assert NGINX is not None
    folder = tmp_path_factory.mktemp("edge")
    port, upstream = _free_port(), _free_port()
    with ExitStack() as stack:
        for address in ("127.0.0.2", "127.0.0.3"):
            server = stack.enter_context(http.server.ThreadingHTTPServer((address, upstream), _Upstream))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
        names = stack.enter_context(socketserver.ThreadingUDPServer(("127.0.0.1", 0), _Names))
        names.address = "127.0.0.2"  # type: ignore[attr-defined]
        threading.Thread(target=names.serve_forever, daemon=True).start()
        stack.callback(names.shutdown)
        text = (project_folder() / "docker" / "nginx.conf").read_text(encoding="utf-8")
        for old, new in {
            "listen 3000": f"listen 127.0.0.1:{port}",
            "webserver:3000": f"webserver:{upstream}",
            "resolver 127.0.0.11 valid=5s": f"resolver 127.0.0.1:{names.server_address[1]} valid=1s",
            "/tmp/": f"{folder}/",
        }.items():
            assert old in text, old
            text = text.replace(old, new)
        conf = folder / "nginx.conf"
        conf.write_text(text, encoding="utf-8")
        process = subprocess.Popen(
            [NGINX, "-c", str(conf), "-e", str(folder / "error.log"), "-g", "daemon off;"], cwd=folder
        )
        stack.callback(process.wait, 10)
        stack.callback(process.terminate)
        _wait_for(port, process, folder / "error.log")
        yield Edge(port, names)


def _wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(log.read_text() if log.exists() else "nginx did not start")


@pytest.mark.parametrize("attack", REFUSED)
def test_attacks_are_refused(edge: Edge, attack: str) -> None:
    method, path, headers, status = REFUSED[attack]
    assert edge.ask(method, path, headers)[0] == status


@pytest.mark.parametrize("use", PASSED)
def test_people_and_programs_get_through(edge: Edge, use: str) -> None:
    method, path, headers = PASSED[use]
    assert edge.ask(method, path, headers)[0] == 200


def test_a_webserver_at_a_new_address_is_found(edge: Edge) -> None:
    assert edge.ask("GET", "/", {}) == (200, "127.0.0.2")
    edge.names.address = "127.0.0.3"  # type: ignore[attr-defined]
    deadline = time.monotonic() + 10
    while edge.ask("GET", "/", {}) != (200, "127.0.0.3"):
        assert time.monotonic() < deadline, "the old address is still asked"
        time.sleep(0.2)
