"""Versions of models in MLflow's registry: registered, fetched, and pointed at by aliases."""

import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlparse

from assets.lake.ports import ModelCard, RegisteredVersion, VersionGone
from orchestration.resources.mlflow_pages import page
from orchestration.resources.mlflow_store import MlflowStore


class MlflowRegistry(MlflowStore):
    """The half of the Tracker that registers, finds and promotes."""

    def register(self, run_id: str, policy: Path, catalogue: Path, card: ModelCard) -> str:
        """See `assets.lake.ports.Tracker`."""
        client = self.client()
        import mlflow
        from mlflow.entities import Metric
        from mlflow.exceptions import MlflowException

        from orchestration.serving.packaging import log_recommender

        mlflow.set_tracking_uri(self.tracking_uri)
        model = log_recommender(run_id, policy, catalogue, card)
        now = int(time.time() * 1000)
        measured = [Metric(k, value, now, 0, model_id=model.model_id) for k, value in card.metrics.items()]
        client.log_batch(run_id, metrics=measured)  # again, but now they are the model's too
        name = _model_name(card.dataset)
        try:
            client.create_registered_model(name, description=f"Recommenders trained on {card.dataset} by Borderline.")
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        tags = {
            "experiment": card.experiment,
            **card.tags,
            **{f"metric.{key}": f"{value:.6f}" for key, value in card.metrics.items()},
        }
        links = self.links(card.tags)
        version = client.create_model_version(
            name,
            model.model_uri,
            run_id=run_id,
            tags={**tags, **{key: url for key, url in links.items() if key == "dagster.run_url"}},
            description=links.get("mlflow.note.content"),
            model_id=model.model_id,
        )
        return str(version.version)

    def version_exists(self, dataset: str, version: str) -> bool:
        """See `assets.lake.ports.Tracker`."""
        from mlflow.exceptions import MlflowException

        client = self.client()
        try:
            folder = client.get_model_version_download_uri(_model_name(dataset), version)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise
        return not self.artifact_root or (Path(unquote(urlparse(folder).path)) / "MLmodel").exists()

    def versions(self, dataset: str) -> list[RegisteredVersion]:
        """See `assets.lake.ports.Tracker`."""
        client, name = self.client(), _model_name(dataset)
        found = client.search_model_versions(f"name = '{name}'", max_results=10_000)
        aliases: dict[str, list[str]] = {}
        if found:
            for alias, version in client.get_registered_model(name).aliases.items():
                aliases.setdefault(str(version), []).append(alias)
        return [
            RegisteredVersion(
                str(each.version),
                each.run_id,
                tuple(sorted(aliases.get(str(each.version), []))),
                dict(each.tags),
                self.version_url(dataset, str(each.version)),
            )
            for each in sorted(found, key=lambda each: int(each.version))
        ]

    def fetch(self, dataset: str, version: str, folder: Path) -> Path:
        """See `assets.lake.ports.Tracker`."""
        client = self.client()
        import mlflow
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        mlflow.set_tracking_uri(self.tracking_uri)
        folder.mkdir(parents=True)
        try:
            uri = client.get_model_version_download_uri(_model_name(dataset), version)
            files = Path(download_artifacts(uri, dst_path=str(folder))) / "artifacts"
        except (MlflowException, OSError) as error:
            raise _gone(dataset, version, str(error)) from error
        if not (files / "policy").is_dir() or not (files / "catalogue.parquet").is_file():
            raise _gone(dataset, version, "its artifacts hold no policy and catalogue")
        return files

    def champion(self, dataset: str) -> str | None:
        """See `assets.lake.ports.Tracker`."""
        from mlflow.exceptions import MlflowException

        try:
            return str(self.client().get_model_version_by_alias(_model_name(dataset), "champion").version)
        except MlflowException as error:
            # 3.17 answers a missing alias with INVALID_PARAMETER_VALUE, a missing model with RESOURCE_DOES_NOT_EXIST
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise

    def set_alias(self, dataset: str, alias: str, version: str, tags: Mapping[str, str]) -> None:
        """See `assets.lake.ports.Tracker`."""
        client, name = self.client(), _model_name(dataset)
        for key, value in tags.items():
            client.set_model_version_tag(name, version, key, value)
        client.set_registered_model_alias(name, alias, version)

    def version_url(self, dataset: str, version: str) -> str:
        """See `assets.lake.ports.Tracker`."""
        return page(self.ui_url, "models", _model_name(dataset), "versions", version)


def _gone(dataset: str, version: str, reason: str) -> VersionGone:
    return VersionGone(
        f"version {version} of {_model_name(dataset)} must be readable to be compared with, it is not ({reason}). "
        f"Nothing was moved. Bring its files back, or choose another champion: borderline promote --dataset {dataset} "
        "--version N --reason …"
    )


def _model_name(dataset: str) -> str:
    return f"borderline-{dataset}"
