"""Models from scratch and from checkpoints in Hugging Face format, made on the spot; policies on disk."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from contracts.config import CheckpointBackbone, ComputeConfig, LoraConfig, ScratchBackbone, SftExperiment, identity
from training.backbones import pretrained
from training.backbones.adapters import attach_lora
from training.backbones.pretrained import pretrained_model
from training.backbones.scratch import scratch_model
from training.criteria.next_item import NextItem
from training.engine.device import Device
from training.engine.logps import catalogue_logps
from training.engine.policy import Policy
from training.engine.tree import lay_out_pass
from training.engine.windows import Windows, find_windows, lay_out
from training.io.policy_folder import KeptWeights, PolicyCard, load_policy, save_policy
from training.io.ragged import Ragged
from training.io.rows import Rows
from training.loop.accumulation import accumulate
from training.representations.items import ItemVocabulary

N_ITEMS = 12
SCRATCH = ScratchBackbone(hidden=16, layers=1, heads=2, context=16)
LORA = LoraConfig(rank=2, alpha=8, dropout=0.0)


@pytest.fixture
def windows() -> Windows:
    rows = Rows(
        np.arange(4),
        np.array([0, 0, 1, 2]),
        Ragged.of([[1], [1, 2], [4, 11, 0], [7]]),
        np.array([2, 3, 9, 8]),
    )
    return find_windows(rows)


def small_checkpoint(folder: Path, architecture: str) -> CheckpointBackbone:
    sizes: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "vocab_size": 50}
    heads: dict[str, Any] = {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }  # fewer keys than queries, as modern models have
    torch.manual_seed(0)
    if architecture == "qwen2":
        model = Qwen2ForCausalLM(Qwen2Config(**sizes, **heads, tie_word_embeddings=True))
    else:
        model = LlamaForCausalLM(LlamaConfig(**sizes, **heads))
    model.save_pretrained(folder)
    return CheckpointBackbone(kind="checkpoint", name=str(folder), lora=LORA, context=16)


def card(backbone: ScratchBackbone | CheckpointBackbone) -> PolicyCard:
    experiment = SftExperiment.model_validate(
        {"kind": "sft", "backbone": backbone, "optimizer": {"kind": "adamw", "lr": 0.01}}
    )
    return PolicyCard(
        representation=experiment.representation,
        backbone=backbone,
        n_items=N_ITEMS,
        context=16,
        experiment=experiment,
        identity=identity(experiment),
        start=None,
        selection=KeptWeights(metric="ndcg_at_10_full", value=0.5, step=3),
    )


def scores(policy: Policy, windows: Windows) -> torch.Tensor:
    policy.model.eval()
    with torch.no_grad():
        states = policy.states(lay_out(windows, np.arange(len(windows)), policy.vocabulary))
        return catalogue_logps(states, policy.head)


def train_a_little(policy: Policy, windows: Windows, steps: int = 30) -> list[float]:
    stepper = torch.optim.AdamW(policy.trained_parameters().values(), lr=0.02)
    losses = []
    for _ in range(steps):
        loss, _ = accumulate(policy, windows, NextItem(windows.rows), ComputeConfig())
        stepper.step()
        stepper.zero_grad()
        losses.append(float(loss))
    return losses


def test_initial_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(123)
    first = scratch_model(SCRATCH, 14, seed=0).state_dict()
    torch.randn(3)
    again, other = scratch_model(SCRATCH, 14, seed=0).state_dict(), scratch_model(SCRATCH, 14, seed=1).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_a_lora_adapter_on_a_checkpoint_trains_and_switched_off_it_is_the_start(
    architecture: str, windows: Windows, tmp_path: Path
) -> None:
    backbone = small_checkpoint(tmp_path / "checkpoint", architecture)
    vocabulary = ItemVocabulary(N_ITEMS)
    start = Policy(pretrained_model(backbone, vocabulary.n_tokens, seed=0), vocabulary, 16)
    model = pretrained_model(backbone, vocabulary.n_tokens, seed=0)
    policy = Policy(model, vocabulary, 16, adapter=attach_lora(model, LORA, 0, trains_ends=True))
    before = scores(start, windows)
    assert torch.equal(scores(policy, windows), before)  # an untrained adapter changes nothing
    frozen = {name: weight.clone() for name, weight in policy.model.named_parameters() if not weight.requires_grad}
    assert any("lora_A" in name for name in policy.trained_parameters())
    assert not any("mlp" in name and "lora" not in name for name in policy.trained_parameters())
    losses = train_a_little(policy, windows)
    assert losses[-1] < losses[0] / 2
    after = scores(policy, windows)
    assert not torch.allclose(after, before, atol=0.1)
    assert policy.adapter is not None
    with policy.adapter.disable_adapter():
        assert torch.equal(scores(policy, windows), before)
    assert torch.equal(scores(policy, windows), after)
    parameters = dict(policy.model.named_parameters())
    assert all(torch.equal(parameters[name], weight) for name, weight in frozen.items())

    save_policy(tmp_path / "policy", policy, card(backbone))
    loaded = load_policy(tmp_path / "policy")
    torch.testing.assert_close(scores(loaded, windows), after, rtol=1e-4, atol=1e-4)  # merged: rounded differently
    next_one = load_policy(tmp_path / "policy", adapter_seed=0)
    assert torch.equal(scores(next_one, windows), scores(loaded, windows))
    train_a_little(next_one, windows, steps=3)
    assert next_one.adapter is not None
    with next_one.adapter.disable_adapter():
        assert torch.equal(scores(next_one, windows), scores(loaded, windows))


def test_a_saved_policy_scores_the_same_to_the_bit(windows: Windows, tmp_path: Path) -> None:
    vocabulary = ItemVocabulary(N_ITEMS)
    policy = Policy(scratch_model(SCRATCH, vocabulary.n_tokens, seed=0), vocabulary, 16)
    train_a_little(policy, windows, steps=3)
    save_policy(tmp_path / "policy", policy, card(SCRATCH))
    assert torch.equal(scores(load_policy(tmp_path / "policy"), windows), scores(policy, windows))
    assert [path.name for path in tmp_path.iterdir()] == ["policy"]  # nothing is left of the way there


def test_hidden_dropout_acts_in_training_alone_and_stays_with_a_saved_policy(windows: Windows, tmp_path: Path) -> None:
    vocabulary, backbone = ItemVocabulary(N_ITEMS), SCRATCH.model_copy(update={"dropout": 0.0, "hidden_dropout": 0.5})
    plain = scratch_model(SCRATCH, vocabulary.n_tokens, seed=0)
    policy = Policy(scratch_model(backbone, vocabulary.n_tokens, seed=0), vocabulary, 16)
    assert policy.model.state_dict().keys() == plain.state_dict().keys()
    assert torch.equal(scores(policy, windows), scores(Policy(plain, vocabulary, 16), windows))
    save_policy(tmp_path / "policy", policy, card(backbone))
    for dropped in (policy, load_policy(tmp_path / "policy")):  # preference optimisation goes on with it
        dropped.model.train()
        trunks = lay_out(windows, np.arange(len(windows)), vocabulary)
        first, second = dropped.states(trunks), dropped.states(trunks)
        assert not torch.allclose(first, second, atol=0.1)
        torch.manual_seed(7)
        first = dropped.states(trunks)
        torch.manual_seed(7)
        assert torch.equal(dropped.states(trunks), first)


def test_hidden_dropout_reaches_embeddings_attention_and_feed_forward() -> None:
    backbone = SCRATCH.model_copy(update={"layers": 2, "dropout": 0.0, "hidden_dropout": 0.5})
    model = scratch_model(backbone, 14, seed=0).train()
    kept: dict[str, torch.Tensor] = {}
    names = ["model.embed_tokens"]
    names += [f"model.layers.{layer}.{part}" for layer in (0, 1) for part in ("self_attn", "mlp")]
    for name in names:

        def keep(_: Any, __: Any, output: Any, name: str = name) -> None:
            kept[name] = output[0] if isinstance(output, tuple) else output

        model.get_submodule(name).register_forward_hook(keep)
    positions, layout = lay_out_pass(np.array([0, 200]), None, torch.device("cpu"))
    tokens = torch.arange(200)[None] % 12
    model.model(input_ids=tokens, position_ids=torch.from_numpy(positions)[None] % 16, layout=layout)
    for name in names:
        share = float((kept[name] == 0).float().mean())
        assert share == pytest.approx(0.5, abs=0.06), name


def test_transformers_reads_a_saved_policy_without_this_project(windows: Windows, tmp_path: Path) -> None:
    vocabulary = ItemVocabulary(N_ITEMS)
    policy = Policy(scratch_model(SCRATCH, vocabulary.n_tokens, seed=0), vocabulary, 16)
    save_policy(tmp_path / "policy", policy, card(SCRATCH))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "policy")
    prompt = torch.tensor([[vocabulary.begin, 4, 11, 0]])
    with torch.no_grad():
        logps = torch.log_softmax(model(input_ids=prompt).logits[0, -1, :N_ITEMS], dim=-1)
    torch.testing.assert_close(logps, scores(policy, windows)[2])


def saved(folder: Path) -> Path:
    vocabulary = ItemVocabulary(N_ITEMS)
    policy = Policy(scratch_model(SCRATCH, vocabulary.n_tokens, seed=0), vocabulary, 16)
    save_policy(folder / "policy", policy, card(SCRATCH))
    return folder / "policy"


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_torn_policy_is_refused_by_name(name: str, tmp_path: Path) -> None:
    folder = saved(tmp_path)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match=rf"{name} must be the file that policy.json names"):
        load_policy(folder)
    (folder / name).unlink()
    with pytest.raises(ValueError, match=f"must hold {name}, it is missing"):
        load_policy(folder)


def test_a_foreign_folder_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must be the folder of a policy, it has no policy\.json"):
        load_policy(tmp_path)
    folder = saved(tmp_path)
    described = json.loads((folder / "policy.json").read_text())
    (folder / "policy.json").write_text(json.dumps({**described, "format": "borderline-policy-9"}))
    with pytest.raises(ValueError, match="must describe a policy of this version"):
        load_policy(folder)


def test_a_policy_is_never_overwritten(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    before = (folder / "model.safetensors").read_bytes()
    with pytest.raises(FileExistsError, match="never overwritten"):
        saved(tmp_path)
    assert (folder / "model.safetensors").read_bytes() == before


def test_a_save_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def disk_full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("contracts.durable.flush", disk_full)
    with pytest.raises(OSError, match="No space left"):
        saved(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/nowhere/at/all", "must be a folder that exists"),
        ("someone/something", "must be the 40-digit commit"),
        ("EMPTY", r"must be a folder with \*.safetensors"),
    ],
)
def test_a_checkpoint_that_cannot_be_trusted_is_refused(name: str, message: str, tmp_path: Path) -> None:
    name = str(tmp_path) if name == "EMPTY" else name
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(ValueError, match=message):
        pretrained_model(CheckpointBackbone(kind="checkpoint", name=name), 14, seed=0)


def test_a_checkpoint_with_a_weight_missing_is_refused_by_its_name(tmp_path: Path) -> None:
    backbone = small_checkpoint(tmp_path, "llama")
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"all weights .*1 are missing .*model\.layers\.1\.mlp\.up_proj\.weight"):
        pretrained_model(backbone, None, seed=0)


def test_a_checkpoint_without_one_of_its_files_is_refused_by_the_file(tmp_path: Path) -> None:
    backbone = small_checkpoint(tmp_path, "llama")
    weights = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    shards = {name: f"model-0000{1 + name.startswith('model.layers.1')}-of-00002.safetensors" for name in weights}
    for shard in set(shards.values()):
        of_shard = {name: weights[name] for name in weights if shards[name] == shard}
        save_file(of_shard, tmp_path / shard, metadata={"format": "pt"})
    index = {"metadata": {"total_size": 1}, "weight_map": shards}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert pretrained_model(backbone, None, seed=0) is not None
    cut = (tmp_path / "model-00002-of-00002.safetensors").read_bytes()[:-100]
    (tmp_path / "model-00002-of-00002.safetensors").write_bytes(cut)
    with pytest.raises(ValueError, match=r"backbone.name must be a checkpoint with all its files"):
        pretrained_model(backbone, None, seed=0)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ValueError, match=r"all its files, got .*model-00002-of-00002"):
        pretrained_model(backbone, None, seed=0)


def test_a_checkpoint_with_code_of_its_own_is_refused_and_its_code_not_run(tmp_path: Path) -> None:
    backbone = small_checkpoint(tmp_path, "llama")
    described = json.loads((tmp_path / "config.json").read_text())
    described |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.C", "AutoModelForCausalLM": "mine.M"}}
    (tmp_path / "config.json").write_text(json.dumps(described))
    (tmp_path / "mine.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(ValueError, match="brings code of its own: that is never run") as refused:
        pretrained_model(backbone, None, seed=0)
    assert "Pass" not in str(refused.value)


def test_an_architecture_whose_attention_cannot_be_replaced_is_refused(tmp_path: Path) -> None:
    GPTNeoForCausalLM(
        GPTNeoConfig(hidden_size=16, num_layers=2, num_heads=4, attention_types=[[["global"], 2]], vocab_size=50)
    ).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="must be a decoder-only language model that this version"):
        pretrained_model(CheckpointBackbone(kind="checkpoint", name=str(tmp_path)), None, seed=0)


def test_adapters_on_layers_that_are_not_there_are_refused_with_those_that_are(tmp_path: Path) -> None:
    model = pretrained_model(small_checkpoint(tmp_path, "llama"), None, seed=0)
    lora = LORA.model_copy(update={"targets": ["q_proj", "c_attn"]})
    with pytest.raises(ValueError, match=r"of llama, got c_attn\. Choose among down_proj, .*v_proj"):
        attach_lora(model, lora, 0, trains_ends=False)


@pytest.mark.filterwarnings("ignore")
def test_adapters_on_weights_in_4_bits_are_saved_as_they_were_trained(
    windows: Windows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU, where bitsandbytes computes too, though slowly: what CUDA adds is speed."""
    in_4_bits = pretrained._four_bit(Device(torch.device("cuda")))  # pyright: ignore[reportPrivateUsage]
    on_cpu = {**in_4_bits, "device_map": {"": "cpu"}}
    monkeypatch.setattr(pretrained, "_four_bit", lambda _: on_cpu)
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    LlamaForCausalLM(LlamaConfig(**sizes, vocab_size=50)).save_pretrained(tmp_path / "checkpoint")
    backbone = CheckpointBackbone(
        kind="checkpoint", name=str(tmp_path / "checkpoint"), lora=LORA, context=16, quantization="nf4"
    )
    vocabulary = ItemVocabulary(N_ITEMS)
    model = pretrained_model(backbone, vocabulary.n_tokens, seed=0)
    policy = Policy(model, vocabulary, 16, adapter=attach_lora(model, LORA, 0, trains_ends=True))
    before = scores(policy, windows)
    losses = train_a_little(policy, windows, steps=10)
    assert losses[-1] < losses[0]
    after = scores(policy, windows)
    assert not torch.allclose(after, before, atol=0.1)
    assert policy.adapter is not None
    with policy.adapter.disable_adapter():
        assert torch.equal(scores(policy, windows), before)
    save_policy(tmp_path / "policy", policy, card(backbone))
    assert "quantization_config" not in json.loads((tmp_path / "policy" / "config.json").read_text())
    # trained in bfloat16, saved in float32
    torch.testing.assert_close(scores(load_policy(tmp_path / "policy"), windows), after, rtol=0.0, atol=0.1)
