"""A base model that was replaced under the same path is another base model: for a checkpoint, and for the lake."""

import hashlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import polars as pl
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from assets.lake.asset import Step
from assets.lake.checks import Check
from assets.lake.publish import Content
from assets.learning import sft_policies
from contracts.config import CheckpointBackbone, ComputeConfig, ScratchBackbone
from orchestration.resources.lake import LakeStorage
from training import sft
from training.criteria.next_item import Targets
from training.io.base_model import base_sha256, weights_sha256

REVISION = "0123456789abcdef0123456789abcdef01234567"
SIZES: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def write_base(folder: Path, seed: int = 0, **settings: Any) -> Path:
    """A base model whose weights have the same size for every seed."""
    torch.manual_seed(seed)
    LlamaForCausalLM(LlamaConfig(vocab_size=50, **SIZES)).save_pretrained(folder, **settings)
    (folder / "tokenizer.json").write_text("{}")
    return folder


def backbone_in(folder: Path) -> CheckpointBackbone:
    return CheckpointBackbone(kind="checkpoint", name=str(folder), context=16)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_every_file_that_is_read_counts_and_no_other(tmp_path: Path, name: str) -> None:
    base = backbone_in(write_base(tmp_path / "base"))
    before = base_sha256(base)
    (tmp_path / "base" / "README.md").write_text("Changed.")
    assert base_sha256(base) == before
    content = bytearray((tmp_path / "base" / name).read_bytes())
    content[-2] ^= 1
    (tmp_path / "base" / name).write_bytes(content)
    assert base_sha256(base) != before


def test_the_same_files_in_another_folder_are_the_same_base_model(tmp_path: Path) -> None:
    base = backbone_in(write_base(tmp_path / "base"))
    shutil.copytree(tmp_path / "base", tmp_path / "copy")
    assert base_sha256(backbone_in(tmp_path / "copy")) == base_sha256(base)


def test_what_is_pinned_by_its_revision_or_drawn_from_a_seed_has_no_files_to_look_at() -> None:
    assert base_sha256(ScratchBackbone()) is None
    assert base_sha256(CheckpointBackbone(kind="checkpoint", name="someone/model", revision=REVISION)) is None


def test_weights_in_parts_are_known_by_all_of_them(tmp_path: Path) -> None:
    base = backbone_in(write_base(tmp_path / "base", max_shard_size="5KB"))
    parts = sorted((tmp_path / "base").glob("*.safetensors"))
    assert len(parts) > 1
    listed = "".join(f"{hashlib.sha256(part.read_bytes()).hexdigest()}  {part.name}\n" for part in parts)
    assert weights_sha256(base) == hashlib.sha256(listed.encode()).hexdigest()


def test_weights_of_the_hub_are_those_of_the_pinned_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for seed, revision in enumerate(["f" * 40, REVISION]):
        write_base(tmp_path / "models--someone--model" / "snapshots" / revision, seed)
    base = CheckpointBackbone(kind="checkpoint", name="someone/model", revision=REVISION)
    snapshot = tmp_path / "models--someone--model" / "snapshots" / REVISION
    assert weights_sha256(base) == hashlib.sha256((snapshot / "model.safetensors").read_bytes()).hexdigest()


def test_weights_in_another_format_are_refused(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ValueError, match="got neither in"):
        weights_sha256(backbone_in(tmp_path))


class Killed(BaseException):
    """Stands for SIGKILL."""


def test_a_training_does_not_go_on_from_another_base_model(
    tables: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    base = write_base(tmp_path / "base")
    backbone = {"kind": "checkpoint", "name": str(base), "lora": {"rank": 2}, "context": 16}
    experiment = {
        "kind": "sft",
        "backbone": backbone,
        "optimizer": {"kind": "adamw", "lr": 0.01},
        "budget": {"epochs": 1, "batch_size": 64, "validations": 1},
    }

    def train(name: str, checkpoints: Path | None) -> int:
        output = tmp_path / name
        output.mkdir()
        fields = {
            "histories": tables.histories,
            "items": tables.items,
            "output": output,
            "checkpoints": checkpoints,
            "compute": {"checkpoint_every_s": 0, "threads": 1},
            "experiment": experiment,
        }
        (output / "spec.json").write_text(json.dumps(fields, default=str))
        return sft.main([str(output / "spec.json")])

    losses, steps = Targets.losses, iter(range(100))

    def die(self: Any, logps: Any) -> Any:
        if next(steps) == 2:
            raise Killed
        return losses(self, logps)

    with monkeypatch.context() as patch:
        patch.setattr(Targets, "losses", die)
        with pytest.raises(Killed):
            train("interrupted", tmp_path / "checkpoints")
    write_base(base, seed=1)
    capsys.readouterr()
    assert train("resumed", tmp_path / "checkpoints") == 2
    assert "step-00000002, made from another base model" in capsys.readouterr().err
    assert not (tmp_path / "resumed" / "policy").exists()

    assert train("new", None) == 0
    card = json.loads((tmp_path / "new" / "policy" / "policy.json").read_text())
    assert card["start"] == hashlib.sha256((base / "model.safetensors").read_bytes()).hexdigest()


PROJECT = {
    "datasets/shop": "source: {{kind: demo, users: 50, items: 50, seed: 3}}\n",
    "experiments/sft": """\
kind: sft
backbone: {{kind: checkpoint, name: {base}, context: 16}}
optimizer: {{kind: adamw, lr: 0.01}}
""",
}


class Lab:
    """The asset `sft_policies` in a lake of its own, with a training that takes no time and counts."""

    def __init__(self, folder: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, text in PROJECT.items():
            path = folder / f"{name}.yaml"
            path.parent.mkdir(parents=True)
            path.write_text(text.format(base=base), encoding="utf-8")
        monkeypatch.setenv("BORDERLINE_PROJECT", str(folder))
        monkeypatch.setattr(sft_policies, "run_tracked", self.train)
        self.lake = LakeStorage(root=str(folder / "lake"), warehouse=str(folder / "warehouse.duckdb"))
        self.launcher = SimpleNamespace(compute=ComputeConfig(), resume_points_root=folder / "checkpoints")
        for asset in ("histories", "items"):
            with self.lake.staging(asset, ("shop",)) as staged:
                pl.DataFrame({"row_id": [0]}).write_parquet(staged / f"{asset}.parquet")
                self.lake.publish(asset, ("shop",), staged, fingerprint="1", manifest={"inputs": [], "metadata": {}})
        self.trained: list[tuple[str, str]] = []

    def train(self, step: Step, *arguments: Any) -> Content:
        assert step.unfinished is not None
        self.trained.append((arguments[-1].experiment.model_dump_json(), step.unfinished.name))
        return Content(checks=[Check("loss_is_finite", True)])

    def materialise(self) -> str:
        """What went wrong, if anything did."""
        with dg.DagsterInstance.ephemeral() as instance:
            for dimension, key in (("dataset", "shop"), ("experiment", "sft")):
                instance.add_dynamic_partitions(dimension, [key])
            result = dg.materialize(
                [sft_policies.sft_policies],
                partition_key=dg.MultiPartitionKey({"dataset": "shop", "experiment": "sft"}),
                resources={"lake": self.lake, "launcher": self.launcher, "tracker": SimpleNamespace()},
                instance=instance,
                raise_on_error=False,
            )
        failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
        return "".join(failure.error_display_string for failure in failures)


def test_a_replaced_base_model_is_trained_from_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = write_base(tmp_path / "base")
    lab = Lab(tmp_path / "project", base, monkeypatch)
    assert lab.materialise() == lab.materialise() == ""
    assert len(lab.trained) == 1  # the second time it was reused
    write_base(base, seed=1)
    assert lab.materialise() == ""
    first, second = lab.trained
    assert first[0] == second[0], "the experiment is the same"
    assert first[1] != second[1], "neither are its checkpoints those of the other base model"


def test_a_missing_base_model_is_refused_before_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Lab(tmp_path / "project", tmp_path / "nowhere", monkeypatch)
    assert f"starts from the base model in {tmp_path / 'nowhere'}, but there is no such folder." in lab.materialise()
    assert lab.trained == []
