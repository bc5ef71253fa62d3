"""Everything Dagster knows: assets, jobs, schedules, sensors, resources. Imports neither torch nor mlflow."""

import dagster as dg

from assets import (
    candidates,
    histories,
    interactions,
    leaderboard,
    metrics,
    negatives,
    policies,
    predictions,
    preferences,
    promotion,
    published,
    raw,
    reference,
    registry,
    splits,
    studies,
)
from orchestration import settings
from orchestration.console import console
from orchestration.jobs import LAYERS, retrain, study, train
from orchestration.resources.launcher import SubprocessLauncher
from orchestration.resources.storage import LakeStorage
from orchestration.resources.tracking import MlflowTracker
from orchestration.schedules import retraining_schedules
from orchestration.sensors import yaml_files_become_partitions
from orchestration.waiting import wait_asleep

ASSET_MODULES = [
    raw,
    interactions,
    splits,
    histories,
    candidates,
    policies,
    negatives,
    preferences,
    reference,
    predictions,
    metrics,
    leaderboard,
    registry,
    promotion,
    studies,
    published,
]


def build_definitions(**overrides: object) -> dg.Definitions:
    """The definitions, with the resources of this machine unless a test passes its own."""
    settings.prepare_home()
    wait_asleep()
    resources = {
        "lake": lake(),
        "launcher": SubprocessLauncher.from_environment(),
        "tracker": tracker(),
    }
    return dg.Definitions(
        assets=dg.load_assets_from_modules(ASSET_MODULES),
        jobs=[*LAYERS, train, retrain, study],
        schedules=retraining_schedules(),
        sensors=[yaml_files_become_partitions],
        resources={**resources, **overrides},
        loggers={"console": console},
        executor=dg.multiprocess_executor.configured({"max_concurrent": 2}),
    )


def lake() -> LakeStorage:
    """The lake of this home."""
    return LakeStorage(root=str(settings.home() / "lake"), warehouse=str(settings.home() / "warehouse.duckdb"))


def tracker() -> MlflowTracker:
    """The tracker of this machine."""
    return MlflowTracker(
        tracking_uri=settings.tracking_uri(),
        artifact_root=settings.artifact_root(),
        ui_url=settings.MLFLOW_URL,
        dagster_url=settings.DAGSTER_URL,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster loads."""
    return build_definitions()
