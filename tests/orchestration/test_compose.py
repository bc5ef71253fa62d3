"""The compose file keeps what it promises: pinned, checked, closed to the network, no secret in it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from contracts.files.load import project_folder

FILE = project_folder() / "docker-compose.yml"
SERVICES: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))["services"]
ONCE = {"migrate"}


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_is_pinned(name: str) -> None:
    _, _, tag = SERVICES[name]["image"].rpartition(":")
    assert tag
    assert tag[0].isdigit()
    assert "latest" not in tag


@pytest.mark.parametrize("name", sorted(set(SERVICES) - ONCE))
def test_every_service_has_a_healthcheck(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"]


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_loopback_only(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


def test_only_the_edge_and_mlflow_publish_ports() -> None:
    assert {name for name, service in SERVICES.items() if service.get("ports")} == {"edge", "mlflow"}


@pytest.mark.parametrize("name", SERVICES)
def test_dependencies_exist_and_are_waited_for(name: str) -> None:
    for other, condition in SERVICES[name].get("depends_on", {}).items():
        assert other in SERVICES
        wanted = "service_completed_successfully" if other in ONCE else "service_healthy"
        assert condition["condition"] == wanted


def test_passwords_come_from_the_environment_and_have_no_default() -> None:
    for service in SERVICES.values():
        for key, value in service.get("environment", {}).items():
            if "PASSWORD" in key:
                assert value.startswith("${")
                assert ":?" in value


@pytest.mark.parametrize("name", SERVICES)
def test_every_mounted_file_is_in_the_project(name: str) -> None:
    for mount in SERVICES[name].get("volumes", []):
        source = mount.split(":")[0]
        if source.startswith("./") and source != "./data/raw":
            assert (FILE.parent / source).exists(), source


def test_the_example_environment_names_every_secret() -> None:
    import re

    wanted = set(re.findall(r"\$\{(\w+):\?", FILE.read_text(encoding="utf-8")))
    given = {line.split("=")[0] for line in Path(FILE.parent / ".env.example").read_text().splitlines() if "=" in line}
    assert wanted == given
