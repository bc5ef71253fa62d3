"""The commands, where an item is several tokens: from tables to predictions."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from contracts.config import Titles
from training import mine, preference, reference, score, sft
from training.io.policy_folder import load_policy
from training.io.readers import read_texts
from training.representations.titles import trained_tokeniser

BACKBONE = {"kind": "scratch", "hidden": 16, "layers": 1, "heads": 2, "context": 64, "dropout": 0.1}
SFT = {
    "kind": "sft",
    "backbone": BACKBONE,
    "optimizer": {"kind": "adamw", "lr": 0.02},
    "budget": {"epochs": 8, "batch_size": 64, "validations": 2},
}
PREFERENCE = {
    "kind": "preference",
    "start_from": "sft",
    "objective": {"kind": "simpo"},
    "optimizer": {"kind": "adamw", "lr": 1e-3},
    "budget": {"epochs": 1, "batch_size": 64, "validations": 1},
}
COMMANDS = {"sft": sft, "mine": mine, "reference": reference, "preference": preference, "score": score}


def run(tables: Any, folder: Path, stage: str, name: str | None = None, exit_code: int = 0, **fields: Any) -> Path:
    output = folder / (name or stage)
    output.mkdir()
    fields = {"histories": tables.histories, "items": tables.items, "output": output, **fields}
    (output / "spec.json").write_text(json.dumps(fields, default=str))
    assert COMMANDS[stage].main([str(output / "spec.json")]) == exit_code
    return output


def with_words(folder: Path, tables: Any) -> dict[str, Any]:
    """A checkpoint with weights, and a tokeniser that knows the titles."""
    tokeniser = trained_tokeniser(Titles(kind="titles", vocabulary=320), read_texts(tables.items, "title"))
    tokeniser.save_pretrained(folder)
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    LlamaForCausalLM(LlamaConfig(vocab_size=330, **sizes)).save_pretrained(folder)
    return {"kind": "checkpoint", "name": str(folder), "lora": {"rank": 2}, "context": 64}


@pytest.mark.parametrize("kind", ["semantic_ids", "titles", "titles of a checkpoint"])
def test_the_commands_go_the_whole_way(
    kind: str, tables: Any, tmp_path: Path, telemetry_lines: Callable[[Path], list[dict[str, Any]]]
) -> None:
    fields: dict[str, Any] = {"experiment": {**SFT, "representation": {"kind": "titles", "vocabulary": 320}}}
    if kind == "semantic_ids":
        codes = {f"id-{item:03}": [item // 6, item % 6] for item in range(tables.n_items)}
        (tmp_path / "codes.json.gz").write_bytes(gzip.compress(json.dumps(codes).encode()))
        representation = {"kind": "semantic_ids", "table": "codes.json.gz"}
        budget = {**SFT["budget"], "epochs": 40}
        fields["experiment"] |= {"representation": representation, "budget": budget}
        fields["codes"] = tmp_path / "codes.json.gz"
    elif kind == "titles of a checkpoint":
        fields["experiment"]["backbone"] = with_words(tmp_path / "checkpoint", tables)
    output = run(tables, tmp_path, "sft", **fields)
    policy = output / "policy"
    losses = {
        kind: [line["metrics"]["loss"] for line in telemetry_lines(output) if line["kind"] == kind]
        for kind in ("train", "validation")
    }
    assert losses["train"][-1] < 0.96 * losses["train"][0]
    if kind == "semantic_ids":
        assert min(losses["validation"]) < np.log(5) + np.log(6)  # better than guessing codes

    mining = {"policy_name": "sft", "interactions": tables.interactions, "seed": 0, "pool": {"hard": 3, "uniform": 3}}
    mined = pq.read_table(run(tables, tmp_path, "mine", policy=policy, **mining) / "mined_negatives.parquet")
    pools: dict[int, list[int]] = {}
    for row, item in zip(mined["row_id"].to_pylist(), mined["item_id"].to_pylist(), strict=True):
        pools.setdefault(row, []).append(item)
    train = tables.rows("train")
    table = {
        "row_id": pa.array([row["row_id"] for row in train], pa.int32()),
        "chosen": pa.array([row["target"] for row in train], pa.int32()),
        "rejected": pa.array([pools[row["row_id"]] for row in train], pa.list_(pa.int32())),
    }
    pq.write_table(pa.table(table), tmp_path / "preference_rows.parquet")
    inputs: dict[str, Any] = {"preference_rows": tmp_path / "preference_rows.parquet"}
    found = run(tables, tmp_path, "reference", policy=policy, **inputs) / "reference_logps.parquet"
    lists = load_policy(policy).vocabulary.completions
    of_pairs = pq.read_table(found)
    assert of_pairs["tokens"].to_pylist() == lists.lengths[of_pairs["item_id"].to_numpy()].tolist()
    columns = (mined[name].to_pylist() for name in ("row_id", "item_id", "logp"))
    of_mined = {(row, item): logp for row, item, logp in zip(*columns, strict=True)}
    of_reference = {(row["row_id"], row["item_id"]): row["logp"] for row in of_pairs.to_pylist()}
    assert of_mined.keys() <= of_reference.keys()
    same = [of_reference[pair] for pair in of_mined]
    np.testing.assert_allclose(same, list(of_mined.values()), rtol=1e-4, atol=1e-4)

    inputs |= {"start_policy": policy, "reference_logps": found, "experiment": PREFERENCE}
    better = run(tables, tmp_path, "preference", **inputs) / "policy"
    if kind != "semantic_ids":
        assert PreTrainedTokenizerFast.from_pretrained(better).eos_token == "<|end|>"  # it needs nothing beside itself
    predicted = run(tables, tmp_path, "score", policy=better, candidate_sets=tables.candidate_sets, top_k=7)
    predictions = pq.read_table(predicted / "predictions.parquet").to_pylist()
    histories = {row["row_id"]: row for row in tables.rows() if row["split"] != "train"}
    assert [(p["row_id"], p["protocol"]) for p in predictions] == [(r, p) for r in histories for p in ("full", "of_5")]
    for prediction in predictions:
        assert len(prediction["items"]) == {"full": 7, "of_5": 5}[prediction["protocol"]]
        assert prediction["scores"] == sorted(prediction["scores"], reverse=True)


def test_semantic_ids_without_a_table_are_refused(
    tables: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = {**SFT, "representation": {"kind": "semantic_ids", "table": "codes.json"}}
    run(tables, tmp_path, "sft", exit_code=2, experiment=experiment)
    assert "codes must be the code table" in capsys.readouterr().err


def test_titles_of_a_checkpoint_without_a_tokeniser_are_refused(
    tables: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backbone = with_words(tmp_path / "checkpoint", tables)
    for path in (tmp_path / "checkpoint").glob("tokenizer*"):
        path.unlink()
    experiment = {**SFT, "representation": {"kind": "titles"}, "backbone": backbone}
    run(tables, tmp_path, "sft", exit_code=2, experiment=experiment)
    assert "must hold a tokeniser beside its weights" in capsys.readouterr().err


def test_four_bit_weights_are_refused_on_a_cpu(tables: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    backbone = {**with_words(tmp_path / "checkpoint", tables), "quantization": "nf4"}
    experiment = {**SFT, "representation": {"kind": "titles"}, "backbone": backbone}
    run(tables, tmp_path, "sft", exit_code=2, experiment=experiment, compute={"device": "cpu"})
    assert "must be absent on a machine without CUDA, got nf4" in capsys.readouterr().err
