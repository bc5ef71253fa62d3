"""`borderline lineage` on what is not there: one sentence that says what is."""

from pathlib import Path
from typing import Any

import pytest

from assets.lake.versions import NotMaterialised
from borderline.lineage import described
from contracts.files.yaml_lines import ConfigurationError
from orchestration.resources.lake import LakeStorage


class Registry:
    """That answers, and holds nothing."""

    def prepare(self, dataset: str) -> None:
        """It is there."""

    def versions(self, dataset: str) -> list[object]:
        """None."""
        return []


REGISTRY: Any = Registry()


@pytest.fixture
def measured(tmp_path: Path) -> LakeStorage:
    lake = LakeStorage(root=str(tmp_path / "lake"), warehouse=str(tmp_path / "warehouse.duckdb"))
    for partition in (("shop", "sft"), ("shop", "dmpo"), ("other", "sdpo")):
        with lake.staging("metrics", partition) as staged:
            (staged / "some.txt").write_text("numbers")
            manifest = {"inputs": [], "metadata": {}, "run_id": "run", "code_version": "1"}
            lake.publish("metrics", partition, staged, fingerprint="made", manifest=manifest)
    return lake


@pytest.mark.parametrize(
    "of", ["", "..", "Metrics", "a b", "/sft", "-1", "metric", "histories.parquet", "dataset_files"]
)
def test_what_nothing_is_called_is_refused_with_all_names(measured: LakeStorage, of: str) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"'{of}' must be a version, an alias, a table or a policy.* metrics,"
    ):
        described(measured, REGISTRY, "shop", of)


@pytest.mark.parametrize("of", ["metrics", "metrics/", "metrics/sft/x", "metrics/../..", "metrics/sdpo"])
def test_a_table_that_needs_an_experiment_is_refused_with_those_it_has(measured: LakeStorage, of: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"shop has no '{of}' yet\..* Accepted: metrics/dmpo, metrics/sft\."):
        described(measured, REGISTRY, "shop", of)


def test_a_table_that_was_not_made_says_how(measured: LakeStorage) -> None:
    with pytest.raises(NotMaterialised, match=r"histories of shop is not materialised\. Run: borderline run"):
        described(measured, REGISTRY, "shop", "histories")
    assert "metrics of shop|sft" in described(measured, REGISTRY, "shop", "metrics/sft")
