"""`borderline ui`: the Dagster UI with its daemon, and MLflow, both on loopback only."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from borderline.home import opened
from contracts.files.yaml_lines import ConfigurationError
from orchestration import settings
from orchestration.resources.mlflow_pages import page

WORKSPACE = f"""\
# Written by borderline ui at each start.
load_from:
  - python_module: {{module_name: orchestration.definitions, location_name: {settings.CODE_LOCATION}}}
"""


def ui(
    dagster_port: Annotated[int, typer.Option(min=1, max=65535)] = 3000,
    mlflow_port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
) -> None:
    """Start the Dagster UI with its daemon, and MLflow, both on loopback only. Ctrl-C stops both."""
    home = settings.prepare_home()
    dagster_url, mlflow_url = f"http://127.0.0.1:{dagster_port}", f"http://127.0.0.1:{mlflow_port}"
    environment = {
        **os.environ,
        "BORDERLINE_MLFLOW_URL": mlflow_url,
        "BORDERLINE_DAGSTER_URL": dagster_url,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # a job runner nobody uses, a gigabyte, and a past hole
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    with opened() as instance:
        from orchestration.partitions import update_partitions
        from orchestration.resources.mlflow_store import create_store

        update_partitions(instance)
        create_store(settings.tracking_uri())
    workspace = home / "workspace.yaml"
    workspace.write_text(WORKSPACE, encoding="utf-8")
    commands = {
        "MLflow": [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(mlflow_port),
            "--workers", "1",
            "--backend-store-uri", settings.tracking_uri(), "--artifacts-destination", str(home / "mlartifacts"),
        ],
        "Dagster": [
            sys.executable, "-m", "dagster", "dev", "-h", "127.0.0.1", "-p", str(dagster_port),
            "-w", str(workspace),
        ],
    }  # fmt: skip
    typer.echo(f"Dagster {dagster_url}   MLflow {page(mlflow_url, 'experiments')}   (Ctrl-C stops both)")
    _supervise(commands, environment)


def _supervise(commands: Mapping[str, Sequence[str]], environment: Mapping[str, str]) -> None:
    """Run commands until a person interrupts, or one of them ends; then end them all.

    Raises:
        ConfigurationError: one of them ended by itself.
    """
    children = {
        name: subprocess.Popen(command, env=environment, start_new_session=True) for name, command in commands.items()
    }
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    try:
        while all(child.poll() is None for child in children.values()):
            time.sleep(0.5)
        ended = next(name for name, child in children.items() if child.poll() is not None)
        raise ConfigurationError(f"{ended} ended with exit code {children[ended].returncode}; its message is above.")
    except KeyboardInterrupt:
        pass
    finally:
        for number, grace in ((signal.SIGINT, 10), (signal.SIGKILL, 5)):
            for child in children.values():
                if child.poll() is None:
                    os.killpg(child.pid, number)
            for child in children.values():
                try:
                    child.wait(timeout=grace)
                except subprocess.TimeoutExpired:
                    continue
