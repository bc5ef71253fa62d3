"""The compose file keeps what it promises: pinned, checked, closed to the network, no secret in it."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from contracts.files.names import project_folder
from orchestration.compute import VARIABLES

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


def test_addresses_hold_no_password() -> None:
    # An @, a / or a % of a password would be read as a part of the address.
    text = FILE.read_text(encoding="utf-8")
    assert not re.search(r"://[^\s@]*\$\{", text)


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_can_change_its_own_files_or_gain_rights(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert set(service.get("cap_add", [])) <= {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"}
    assert "no-new-privileges:true" in service["security_opt"]


@pytest.mark.parametrize("name", sorted(set(SERVICES) - ONCE))
def test_no_service_can_take_all_memory_unless_told_to(name: str) -> None:
    assert SERVICES[name]["mem_limit"]


def test_a_container_made_anew_is_the_same_machine() -> None:
    # A run that died with a container is ended by the next one, which knows it by the name of its host.
    assert SERVICES["code"]["hostname"] == "code"


def test_logs_of_steps_are_where_the_webserver_shows_them() -> None:
    for name in ("code", "webserver"):
        assert "step-logs:/opt/dagster/storage" in SERVICES[name]["volumes"]


@pytest.mark.parametrize("variable", [*VARIABLES.values(), "BORDERLINE_MEMORY"])
def test_what_the_environment_may_choose_reaches_the_code(variable: str) -> None:
    assert variable in SERVICES["code"]["environment"]


@pytest.mark.parametrize(("name", "service"), [("webserver", "dagster"), ("mlflow", "mlflow")])
def test_health_is_asked_of_the_database(name: str, service: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][2:4] == ["/opt/borderline/docker/healthy.py", service]


@pytest.mark.parametrize("name", SERVICES)
def test_every_mounted_file_is_in_the_project(name: str) -> None:
    for mount in SERVICES[name].get("volumes", []):
        source = mount.split(":")[0]
        if source.startswith("./") and source != "./data/raw":
            assert (FILE.parent / source).exists(), source


def test_the_example_environment_names_every_secret() -> None:
    wanted = set(re.findall(r"\$\{(\w+):\?", FILE.read_text(encoding="utf-8")))
    given = {line.split("=")[0] for line in Path(FILE.parent / ".env.example").read_text().splitlines() if "=" in line}
    assert wanted == given
