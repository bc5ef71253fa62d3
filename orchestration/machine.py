"""The lake and the tracker of this machine, as the environment says."""

from orchestration import settings
from orchestration.resources.lake import LakeStorage
from orchestration.resources.mlflow_runs import MlflowTracker


def lake() -> LakeStorage:
    """The lake of this home."""
    return LakeStorage.of(settings.home())


def tracker() -> MlflowTracker:
    """The tracker of this machine."""
    return MlflowTracker(
        tracking_uri=settings.tracking_uri(),
        artifact_root=settings.artifact_root(),
        ui_url=settings.MLFLOW_URL,
        dagster_url=settings.DAGSTER_URL,
    )
