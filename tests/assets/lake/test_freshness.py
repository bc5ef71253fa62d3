"""A measurement stands on the leaderboard while its file and every table above it are what they were."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assets.lake.freshness import measured_experiments
from assets.lake.versions import Partition, Version
from contracts.files.experiments import definition

SFT = "kind: sft\noptimizer: {kind: adamw, lr: 1.0e-3}\n"
DMPO = "kind: preference\nstart_from: sft\nobjective: {kind: dmpo, beta: 1.0}\noptimizer: {kind: adamw, lr: 1.0e-4}\n"


class Tables:
    """A lake of manifests: each table is hashed by a word."""

    def __init__(self) -> None:
        self.versions: dict[tuple[str, Partition], Version] = {}

    def put(
        self, asset: str, partition: Partition, content: str, inputs: list[tuple[str, Partition]], **metadata: str
    ) -> None:
        read = [
            {"asset": name, "partition": list(part), "data_version": self.versions[name, part].data_version}
            for name, part in inputs
        ]
        manifest: dict[str, Any] = {"inputs": read, "metadata": {k: {"value": v} for k, v in metadata.items()}}
        self.versions[asset, partition] = Version(asset, partition, Path("nowhere"), content, "", manifest)

    def current(self, asset: str, partition: Partition) -> Version | None:
        return self.versions.get((asset, partition))

    def require(self, asset: str, partition: Partition) -> Version:
        return self.versions[asset, partition]

    def partitions(self, asset: str) -> list[Partition]:
        return sorted(partition for name, partition in self.versions if name == asset)

    def measure(self, experiment: str, policy: str, above: list[tuple[str, Partition]]) -> None:
        keys = ("shop", experiment)
        self.put(policy, keys, f"{experiment} weights", [("histories", ("shop",)), *above])
        self.put("predictions", keys, f"{experiment} ranks", [(policy, keys), ("candidate_sets", ("shop",))])
        self.put("metrics", keys, "numbers", [("predictions", keys)], definition=definition(experiment))


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    monkeypatch.setenv("BORDERLINE_PROJECT", str(tmp_path))
    (tmp_path / "experiments").mkdir()

    def written(name: str, text: str) -> Path:
        path = tmp_path / "experiments" / f"{name}.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return written


@pytest.fixture
def lake(write: Callable[[str, str], Path]) -> Any:
    write("sft", SFT)
    write("large", SFT.replace("1.0e-3", "2.0e-3"))
    write("dmpo", DMPO)
    write("popularity", "kind: baseline\nbaseline: popularity\n")
    lake = Tables()
    for table in ("histories", "candidate_sets"):
        lake.put(table, ("shop",), "first", [])
    lake.measure("sft", "sft_policies", [])
    lake.measure("large", "sft_policies", [])
    lake.measure("dmpo", "preference_policies", [("sft_policies", ("shop", "sft"))])
    lake.measure("popularity", "baselines", [])
    lake.put("metrics", ("films", "sft"), "of another data set", [])
    return lake


def test_everyone_stands_while_nothing_has_changed(lake: Any) -> None:
    now = measured_experiments(lake, "shop")
    assert now.current == ("dmpo", "large", "popularity", "sft")
    assert now.left_out == {}
    assert now.kinds["dmpo"] == "preference"
    assert now.bases == {"dmpo": "sft", "large": "sft", "popularity": "sft", "sft": "sft"}


def test_the_base_is_what_it_started_from_not_the_first_name(lake: Any, write: Callable[[str, str], Path]) -> None:
    write("dmpo", DMPO.replace("start_from: sft", "start_from: large"))
    lake.measure("dmpo", "preference_policies", [("sft_policies", ("shop", "large"))])
    assert measured_experiments(lake, "shop").bases["dmpo"] == "large"


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (("candidate_sets", ("shop",)), "candidate_sets of shop has changed"),
        (("histories", ("shop",)), "histories of shop has changed"),
        (("sft_policies", ("shop", "sft")), "sft_policies of shop|sft has changed"),
    ],
)
def test_a_table_that_changed_far_above_leaves_out_what_was_made_from_it(
    lake: Any, table: tuple[str, Partition], reason: str
) -> None:
    lake.put(*table, "second", [])
    now = measured_experiments(lake, "shop")
    assert reason in now.left_out["dmpo"]
    assert ("large" in now.current) == (table[0] == "sft_policies")


def test_a_changed_file_leaves_out_its_experiment_and_those_that_start_from_it(
    lake: Any, write: Callable[[str, str], Path]
) -> None:
    write("sft", SFT.replace("1.0e-3", "3.0e-3"))
    now = measured_experiments(lake, "shop")
    assert set(now.left_out) == {"sft", "dmpo"}
    assert "has changed since it was measured" in now.left_out["sft"]
    write("sft", "# another spelling\n" + SFT.replace("1.0e-3", "0.001"))
    assert measured_experiments(lake, "shop").left_out == {}


def test_a_file_that_is_gone_or_wrong_leaves_out_its_experiment_alone(
    lake: Any, write: Callable[[str, str], Path]
) -> None:
    write("large", "kind: sft\n")
    write("popularity", "").unlink()
    now = measured_experiments(lake, "shop")
    assert now.current == ("dmpo", "sft")
    assert now.left_out["popularity"] == "experiments/popularity.yaml is gone"
    assert "is wrong now" in now.left_out["large"]
