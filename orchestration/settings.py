"""Folders and addresses, as the environment says, with the defaults of a laptop."""

import os
from pathlib import Path

MLFLOW_URL = os.environ.get("BORDERLINE_MLFLOW_URL", "http://127.0.0.1:5000")
"""Where people open MLflow; links point there."""

DAGSTER_URL = os.environ.get("BORDERLINE_DAGSTER_URL", "http://127.0.0.1:3000")
"""Where people open Dagster; MLflow's runs and versions link there."""

CODE_LOCATION = "borderline"
"""What Dagster calls the code of this project; a run belongs to a job of it."""


def home() -> Path:
    """The folder that holds everything a run writes."""
    return Path(os.environ.get("BORDERLINE_HOME") or ".borderline").resolve()


def tracking_uri() -> str:
    """The MLflow server, or the SQLite file in `home()` when none is named."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home() / 'mlflow.db'}"


def artifact_root() -> str:
    """Where artifacts go without a server."""
    return "" if os.environ.get("MLFLOW_TRACKING_URI") else (home() / "mlartifacts").as_uri()


DAGSTER_YAML = """\
# Written on first use; yours to change.
telemetry: {enabled: false}
nux: {enabled: false}
run_monitoring: {enabled: true, max_runtime_seconds: 172800}
retention:
  sensor: {purge_after_days: {skipped: 7, success: 90, failure: 90, started: -1}}
code_servers: {local_startup_timeout: 180}
"""


def prepare_home() -> Path:
    """Create `home()` and its Dagster instance, and point Dagster at it unless `DAGSTER_HOME` says otherwise."""
    folder = home()
    dagster_home = Path(os.environ.get("DAGSTER_HOME") or folder / "dagster")
    dagster_home.mkdir(parents=True, exist_ok=True)
    config = dagster_home / "dagster.yaml"
    if not config.exists():
        config.write_text(DAGSTER_YAML, encoding="utf-8")
    os.environ["DAGSTER_HOME"] = str(dagster_home)
    os.environ["BORDERLINE_HOME"] = str(folder)
    return folder
