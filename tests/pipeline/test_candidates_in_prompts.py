"""Prompts that list candidates, from the raw log to the leaderboard, with a checkpoint made on the spot."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from orchestration.resources.lake import LakeStorage
from tests.pipeline.shop import borderline_in, lake_of

SHOP = """\
source: {kind: demo, users: 120, items: 80, seed: 3}
histories: {max_length: 6}
candidates: {n: 6}
"""
LISTED = """\
kind: sft
representation:
  kind: titles
  prompt: "Taken:\\n{{history}}One of:\\n{{candidates}}\\nNext:\\n"
  candidates: {{n: 6}}
  repeated: number
backbone: {{kind: checkpoint, name: {folder}, context: 256, lora: {{rank: 2}}}}
optimizer: {{kind: adamw, lr: 5.0e-3}}
budget: {{epochs: 1, batch_size: 128, validations: 1, select_by: hit_ratio_at_1_of_6}}
pool: {{hard: 0, uniform: 5, scored: 5}}
"""
SDPO = """\
kind: preference
start_from: listed
objective: {kind: sdpo, beta: 1.0}
negatives: {n: 4, miner: uniform}
optimizer: {kind: adamw, lr: 1.0e-3}
budget: {epochs: 1, batch_size: 128, validations: 1, select_by: hit_ratio_at_1_of_6}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import LlamaConfig, LlamaForCausalLM

    from contracts.config import Titles
    from training.representations.titles import trained_tokeniser

    folder = tmp_path_factory.mktemp("project")
    trained_tokeniser(Titles(kind="titles", vocabulary=300), ["The Quiet River (1999)"]).save_pretrained(
        folder / "tiny"
    )
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    LlamaForCausalLM(LlamaConfig(vocab_size=320, **sizes)).save_pretrained(folder / "tiny")
    for name, text in {
        "datasets/shop": SHOP,
        "experiments/listed": LISTED.format(folder=folder / "tiny"),
        "experiments/sdpo": SDPO,
        "experiments/popularity": "kind: baseline\nbaseline: popularity\n",
        "experiments/random": "kind: baseline\nbaseline: random\n",
    }.items():
        path = folder / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def first(project: Path, home: Path) -> subprocess.CompletedProcess[str]:
    result = borderline_in(project, home)("run", "--dataset", "shop", "--experiments", "sdpo")
    assert result.returncode == 0, result.stderr
    return result


@pytest.fixture(scope="module")
def lake(first: object, home: Path) -> LakeStorage:
    return lake_of(home)


def test_candidate_sets_are_ranked_and_the_catalogue_is_not(
    first: object, project: Path, home: Path, lake: LakeStorage
) -> None:
    board = borderline_in(project, home)("leaderboard", "--dataset", "shop", "--format", "json")
    rows = {row["experiment"]: row for row in json.loads(board.stdout)["rows"]}
    of_candidates = {"hit_ratio_at_1_of_6", "mrr_of_6"}
    for name in ("listed", "sdpo"):
        assert set(rows[name]["metrics"]) == of_candidates
        assert not [metric for metric in rows[name]["beyond_accuracy"] if metric.endswith("_full")]
        predicted, sets = lake.require("predictions", ("shop", name)), lake.require("candidate_sets", ("shop",))
        joined = predicted.table().join(sets.table(), on="row_id", how="left")
        assert joined["protocol"].unique().to_list() == ["of_6"]
        assert all(sorted(items) == sorted(listed) for items, listed in joined.select("items", "candidates").rows())
    assert set(rows["popularity"]["metrics"]) > of_candidates


def test_what_prompts_are_made_of_stands_in_the_manifests(lake: LakeStorage) -> None:
    def read(asset: str, name: str) -> set[str]:
        return {entry["asset"] for entry in lake.require(asset, ("shop", name)).manifest["inputs"]}

    for asset, name in (("sft_policies", "listed"), ("preference_policies", "sdpo")):
        assert {"candidate_sets", "interactions", "histories"} <= read(asset, name)
    assert "interactions" in read("reference_logps", "sdpo")
    assert "candidate_sets" not in read("mined_negatives", "listed")


def test_nothing_is_registered_and_nobody_promoted(first: subprocess.CompletedProcess[str], lake: LakeStorage) -> None:
    assert lake.partitions("registered_models") == []
    assert lake.partitions("promotion") == []


def test_candidate_sets_of_another_length_are_refused_before_anything_is_trained(
    first: object, project: Path, home: Path, lake: LakeStorage
) -> None:
    before = lake.require("sft_policies", ("shop", "listed")).data_version
    path = project / "datasets" / "shop.yaml"
    path.write_text(SHOP.replace("n: 6", "n: 7"), encoding="utf-8")
    try:
        result = borderline_in(project, home)("run", "--dataset", "shop", "--experiments", "sdpo")
    finally:
        path.write_text(SHOP, encoding="utf-8")
    assert result.returncode != 0
    assert "has prompts that list 6 candidates, but the candidate sets of shop hold 7" in result.stderr
    assert "listed: validation at step" not in result.stderr
    assert lake.require("sft_policies", ("shop", "listed")).data_version == before
