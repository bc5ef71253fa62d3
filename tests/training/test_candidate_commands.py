"""The commands, where prompts list candidates: from tables to predictions, and what is refused before any work."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.training.test_token_commands import run, with_words
from training.io.policy_folder import load_policy
from training.io.readers import read_rows
from training.representations.candidate_prompts import with_drawn

PROMPT = "Films:\n{history}One of: {candidates}.\nNext: "
SFT = {
    "kind": "sft",
    "representation": {"kind": "titles", "prompt": PROMPT, "candidates": {"n": 5, "separator": ", "}},
    "optimizer": {"kind": "adamw", "lr": 0.02},
    "budget": {"epochs": 2, "batch_size": 64, "validations": 2, "select_by": "hit_ratio_at_1_of_5"},
    "pool": {"hard": 1, "uniform": 3, "scored": 4},
}
PREFERENCE = {
    "kind": "preference",
    "start_from": "sft",
    "objective": {"kind": "sdpo"},
    "optimizer": {"kind": "adamw", "lr": 1e-3},
    "budget": {"epochs": 1, "batch_size": 64, "validations": 1, "select_by": "mrr_of_5"},
}


def of_prompts(tables: Any) -> dict[str, Any]:
    return {"interactions": tables.interactions, "candidate_sets": tables.candidate_sets}


def experiment(folder: Path, tables: Any) -> dict[str, Any]:
    return {**SFT, "backbone": {**with_words(folder, tables), "context": 128}}


@pytest.fixture
def policy(tables: Any, tmp_path: Path) -> Path:
    config = experiment(tmp_path / "checkpoint", tables)
    return run(tables, tmp_path, "sft", experiment=config, **of_prompts(tables)) / "policy"


def write_rows(tables: Any, path: Path, rejected: dict[int, list[int]]) -> Path:
    train = tables.rows("train")
    table = {
        "row_id": pa.array([row["row_id"] for row in train], pa.int32()),
        "chosen": pa.array([row["target"] for row in train], pa.int32()),
        "rejected": pa.array([rejected[row["row_id"]] for row in train], pa.list_(pa.int32())),
    }
    pq.write_table(pa.table(table), path)
    return path


def test_the_commands_go_the_whole_way_with_a_checkpoint(
    policy: Path, tables: Any, tmp_path: Path, telemetry_lines: Callable[[Path], list[dict[str, Any]]]
) -> None:
    validations = [line["metrics"] for line in telemetry_lines(policy.parent) if line["kind"] == "validation"]
    assert {"hit_ratio_at_1_of_5", "mrr_of_5", "loss"} <= set(validations[-1])
    assert not [name for name in validations[-1] if name.endswith("_full")]
    mining = {"policy_name": "sft", "interactions": tables.interactions, "seed": 7, "pool": SFT["pool"]}
    output = run(tables, tmp_path, "mine", policy=policy, **mining)
    mined = pq.read_table(output / "mined_negatives.parquet").to_pylist()
    rejected: dict[int, list[int]] = {}
    for entry in mined:
        rejected.setdefault(entry["row_id"], []).append(entry["item_id"])
    rows = read_rows(tables.histories, "train", tables.n_items)
    listed = with_drawn(rows, load_policy(policy).vocabulary, tables.interactions).candidates
    assert listed is not None
    for at, row_id in enumerate(rows.row_id.tolist()):  # the negatives of a row are what else its prompt lists
        assert sorted([*rejected[row_id], int(rows.target[at])]) == sorted(listed[at].tolist())

    inputs: dict[str, Any] = {"preference_rows": write_rows(tables, tmp_path / "preference_rows.parquet", rejected)}
    found = run(tables, tmp_path, "reference", policy=policy, interactions=tables.interactions, **inputs)
    of_pairs = pq.read_table(found / "reference_logps.parquet").to_pylist()
    of_reference = {(pair["row_id"], pair["item_id"]): pair["logp"] for pair in of_pairs}
    same = [of_reference[entry["row_id"], entry["item_id"]] for entry in mined]
    np.testing.assert_allclose(same, [entry["logp"] for entry in mined], rtol=1e-4, atol=1e-4)

    inputs |= {"start_policy": policy, "reference_logps": found / "reference_logps.parquet"}
    better = run(tables, tmp_path, "preference", experiment=PREFERENCE, **inputs, **of_prompts(tables)) / "policy"
    predicted = run(tables, tmp_path, "score", policy=better, candidate_sets=tables.candidate_sets, top_k=7)
    predictions = pq.read_table(predicted / "predictions.parquet").to_pylist()
    assert {row["protocol"] for row in predictions} == {"of_5"}
    assert [row["row_id"] for row in predictions] == [r["row_id"] for r in tables.rows() if r["split"] != "train"]
    for row in predictions:
        assert row["scores"] == sorted(row["scores"], reverse=True)
    kept = pq.read_table(predicted / "predictions.parquet")

    shuffled = pq.read_table(tables.histories)
    shuffled = shuffled.take(np.random.default_rng(0).permutation(len(shuffled)))
    pq.write_table(shuffled, tmp_path / "shuffled.parquet")
    again = run(
        tables,
        tmp_path,
        "score",
        "again",
        policy=better,
        candidate_sets=tables.candidate_sets,
        histories=tmp_path / "shuffled.parquet",
    )
    found_again = pq.read_table(again / "predictions.parquet")
    for name in ("row_id", "items", "target_rank"):
        assert found_again[name].to_pylist() == kept[name].to_pylist()


def test_what_a_prompt_does_not_list_is_refused_as_negative_as_pool_and_as_selection(
    policy: Path, tables: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = read_rows(tables.histories, "train", tables.n_items)
    listed = with_drawn(rows, load_policy(policy).vocabulary, tables.interactions).candidates
    assert listed is not None
    others = {
        int(row_id): [item for item in range(tables.n_items) if item not in listed[at].tolist()][:2]
        for at, row_id in enumerate(rows.row_id)
    }
    inputs: dict[str, Any] = {"preference_rows": write_rows(tables, tmp_path / "preference_rows.parquet", others)}
    inputs |= {"start_policy": policy, "reference_logps": tmp_path / "never read.parquet"}
    run(tables, tmp_path, "preference", exit_code=2, experiment=PREFERENCE, **inputs, **of_prompts(tables))
    wanted = f"{2 * len(rows)} break this, the first is item {others[int(rows.row_id[0])][0]} of row {rows.row_id[0]}"
    assert wanted in capsys.readouterr().err
    mining = {"policy_name": "sft", "interactions": tables.interactions, "seed": 0, "pool": {"hard": 3, "uniform": 3}}
    run(tables, tmp_path, "mine", exit_code=2, policy=policy, **mining)
    assert "the 4 candidates that a row's prompt lists beside its target, got scored: None" in capsys.readouterr().err
    catalogue = {**PREFERENCE, "budget": {**PREFERENCE["budget"], "select_by": "ndcg_at_10_full"}}
    run(tables, tmp_path, "preference", "other", exit_code=2, experiment=catalogue, **inputs, **of_prompts(tables))
    assert "budget.select_by must be hit_ratio_at_1_of_5 or mrr_of_5" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("missing", "change", "message"),
    [
        ("interactions", {}, "interactions must be a table where prompts list candidates, got none"),
        ("candidate_sets", {}, "candidate_sets must be a table where prompts list candidates, got none"),
        (None, {"context": 60}, "backbone.context must hold a prompt with its 5 candidates"),
    ],
)
def test_sft_is_refused_before_it_begins(
    missing: str | None,
    change: dict[str, Any],
    message: str,
    tables: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    telemetry_lines: Callable[[Path], list[dict[str, Any]]],
) -> None:
    config = experiment(tmp_path / "checkpoint", tables)
    config["backbone"] |= change
    inputs: dict[str, Any] = {name: path for name, path in of_prompts(tables).items() if name != missing}
    output = run(tables, tmp_path, "sft", exit_code=2, experiment=config, **inputs)
    assert message in capsys.readouterr().err
    assert [line["kind"] for line in telemetry_lines(output)][-1] == "end"
    assert not [line for line in telemetry_lines(output) if line["kind"] in ("train", "validation")]
