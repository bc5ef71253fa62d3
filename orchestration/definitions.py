"""Everything Dagster knows: assets, jobs, schedules, sensors, resources. Imports neither torch nor mlflow."""

import dagster as dg

from assets.data import candidate_sets as candidates
from assets.data import histories, interactions, raw, splits
from assets.learning import mined_negatives as negatives
from assets.learning import policies
from assets.learning import preference_rows as preferences
from assets.learning import reference_logps as reference
from assets.registry import promotion
from assets.registry import registered_models as registry
from assets.results import leaderboard, metrics, predictions
from assets.results import paper_comparison as published
from assets.results import study_reports as studies
from orchestration import settings
from orchestration.automation.schedules import retraining_schedules
from orchestration.automation.sensors import yaml_files_become_partitions
from orchestration.console import console
from orchestration.layers import LAYERS, retrain, study, train
from orchestration.resources.lake import LakeStorage
from orchestration.resources.launcher import SubprocessLauncher
from orchestration.resources.mlflow_runs import MlflowTracker
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
