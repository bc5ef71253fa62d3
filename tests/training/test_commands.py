"""Every command end to end on a small data set, in this process; and how they end when they must."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from training import mine, preference, reference, score, sft
from training.criteria.next_item import Targets
from training.negatives.mining import Miner

COMMANDS = {"sft": sft, "mine": mine, "reference": reference, "preference": preference, "score": score}
BACKBONE = {"kind": "scratch", "hidden": 16, "layers": 1, "heads": 2, "context": 16, "dropout": 0.1}
SFT = {
    "kind": "sft",
    "backbone": BACKBONE,
    "optimizer": {"kind": "adamw", "lr": 0.01, "weight_decay": 0.01},
    "budget": {"epochs": 6, "batch_size": 64, "validations": 3},
}
PREFERENCE = {
    "kind": "preference",
    "start_from": "sft",
    "objective": {"kind": "dynamicpo-dmpo", "beta": 1.0},
    "optimizer": {"kind": "adamw", "lr": 1e-3},
    "budget": {"epochs": 2, "batch_size": 64, "validations": 2},
}


class Workshop:
    """Runs commands on one data set, each in a folder of its own."""

    def __init__(self, tables: Any, folder: Path) -> None:
        self.tables, self.folder = tables, folder

    def spec(self, stage: str, name: str, **fields: Any) -> Path:
        output = self.folder / name
        output.mkdir()
        fields = {"histories": self.tables.histories, "items": self.tables.items, "output": output, **fields}
        path = output / "spec.json"
        path.write_text(json.dumps(fields, default=str))
        return path

    def run(self, stage: str, name: str | None = None, exit_code: int = 0, **fields: Any) -> Path:
        path = self.spec(stage, name or stage, **fields)
        assert COMMANDS[stage].main([str(path)]) == exit_code
        return path.parent

    def sft(self, name: str = "sft", experiment: dict[str, Any] = SFT, **fields: Any) -> Path:
        return self.run("sft", name, experiment=experiment, **fields) / "policy"

    def mine(self, policy: Path, name: str = "mine", **fields: Any) -> pa.Table:
        fields = {"pool": {"hard": 4, "uniform": 4}, "interactions": self.tables.interactions, "seed": 0, **fields}
        output = self.run("mine", name, policy=policy, policy_name="sft", **fields)
        return pq.read_table(output / "mined_negatives.parquet")

    def preference_rows(self, mined: pa.Table, n: int = 5) -> Path:
        pools: dict[int, list[int]] = {}
        for row, item in zip(mined["row_id"].to_pylist(), mined["item_id"].to_pylist(), strict=True):
            pools.setdefault(row, []).append(item)
        train = self.tables.rows("train")
        table = {
            "row_id": pa.array([row["row_id"] for row in train], pa.int32()),
            "chosen": pa.array([row["target"] for row in train], pa.int32()),
            "rejected": pa.array([pools.get(row["row_id"], [])[-n:] for row in train], pa.list_(pa.int32())),
        }
        path = self.folder / "preference_rows.parquet"
        pq.write_table(pa.table(table), path)
        return path

    def reference(self, policy: Path, preference_rows: Path) -> Path:
        output = self.run("reference", policy=policy, preference_rows=preference_rows)
        return output / "reference_logps.parquet"

    def preference(self, start: Path, rows: Path, reference: Path, name: str = "preference", **fields: Any) -> Path:
        inputs: dict[str, Any] = {"start_policy": start, "preference_rows": rows, "reference_logps": reference}
        return self.run("preference", name, **{"experiment": PREFERENCE, **inputs, **fields})


@pytest.fixture
def workshop(tables: Any, tmp_path: Path) -> Workshop:
    return Workshop(tables, tmp_path)


def weights(policy: Path) -> bytes:
    return (policy / "model.safetensors").read_bytes()


def test_the_commands_make_a_policy_negatives_a_better_policy_and_predictions(
    workshop: Workshop, telemetry_lines: Callable[[Path], list[dict[str, Any]]]
) -> None:
    policy = workshop.sft()
    lines = telemetry_lines(policy.parent)
    losses = [line["metrics"]["loss"] for line in lines if line["kind"] == "validation"]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < np.log(workshop.tables.n_items) - 0.1  # better than knowing nothing
    assert lines[-1]["kind"] == "end"
    assert lines[-1]["metrics"]["success"] == 1

    mined = workshop.mine(policy)
    rows = workshop.preference_rows(mined)
    reference = workshop.reference(policy, rows)
    output = workshop.preference(policy, rows, reference)
    lines = telemetry_lines(output)
    kinds = {line["kind"] for line in lines}
    assert kinds == {"train", "validation", "diagnostic", "progress", "checkpoint", "end"}
    measured = [(line["step"], line["metrics"]["ndcg_at_10_full"]) for line in lines if line["kind"] == "validation"]
    assert measured[0][0] == 0  # the start is measured …
    card = json.loads((output / "policy" / "policy.json").read_text())
    assert card["selection"]["step"] in [step for step, _ in measured[1:]]  # … but never selected
    assert card["selection"]["value"] == max(value for _, value in measured[1:])
    assert card["start"] == json.loads((policy / "policy.json").read_text())["files"]["model.safetensors"]
    names = set().union(*[line["metrics"] for line in lines if line["kind"] == "diagnostic"])
    assert {"margin_q50", "win_rate_all", "boundary_fraction", "violation_rate_policy", "chosen_logp_drift"} <= names

    predicted = workshop.run("score", policy=output / "policy", candidate_sets=workshop.tables.candidate_sets, top_k=7)
    predictions = pq.read_table(predicted / "predictions.parquet").to_pylist()
    histories = {row["row_id"]: row for row in workshop.tables.rows() if row["split"] != "train"}
    assert [(p["row_id"], p["protocol"]) for p in predictions] == [(r, p) for r in histories for p in ("full", "of_5")]
    for prediction in predictions:
        row = histories[prediction["row_id"]]
        assert len(prediction["items"]) == {"full": 7, "of_5": 5}[prediction["protocol"]]
        assert prediction["scores"] == sorted(prediction["scores"], reverse=True)
        if row["target"] in prediction["items"]:
            assert prediction["items"].index(row["target"]) + 1 == prediction["target_rank"]
        if prediction["protocol"] == "full":
            assert not set(prediction["items"]) & (set(row["history"]) - {row["target"]})


def test_the_same_seed_gives_the_same_weights_to_the_bit_and_another_does_not(workshop: Workshop) -> None:
    first, again = workshop.sft("first"), workshop.sft("again")
    assert weights(first) == weights(again)
    assert weights(workshop.sft("other", {**SFT, "seed": 1})) != weights(first)
    mined = workshop.mine(first)
    rows = workshop.preference_rows(mined)
    reference = workshop.reference(first, rows)
    one = workshop.preference(first, rows, reference, "one")
    two = workshop.preference(first, rows, reference, "two")
    assert weights(one / "policy") == weights(two / "policy") != weights(first)


def test_a_sampled_softmax_trains_the_same_however_a_step_is_cut(
    workshop: Workshop, telemetry_lines: Callable[[Path], list[dict[str, Any]]]
) -> None:
    sampled = {**SFT, "loss": {"kind": "sampled_softmax", "n": 8}, "backbone": {**BACKBONE, "dropout": 0.0}}
    curves = []
    for name, tokens in (("whole", 16_384), ("cut", 24)):
        policy = workshop.sft(name, sampled, compute={"micro_batch_tokens": tokens, "log_every": 1})
        lines = telemetry_lines(policy.parent)
        curves.append([line["metrics"]["loss"] for line in lines if line["kind"] in ("train", "validation")])
    assert curves[0] == pytest.approx(curves[1], rel=1e-3)
    measured = [line["metrics"]["loss"] for line in lines if line["kind"] == "validation"]
    assert measured[-1] < np.log(workshop.tables.n_items) - 0.1


def test_rows_that_the_context_cuts_are_counted_in_every_split(
    workshop: Workshop, telemetry_lines: Callable[[Path], list[dict[str, Any]]]
) -> None:
    context = 4
    experiment = {**SFT, "backbone": {**BACKBONE, "context": context}, "budget": {"epochs": 1, "validation_rows": 30}}
    policy = workshop.sft(experiment=experiment)
    reference = workshop.reference(policy, workshop.preference_rows(workshop.mine(policy)))
    budget = {**PREFERENCE["budget"], "validation_rows": 30}
    trained = workshop.preference(
        policy,
        workshop.folder / "preference_rows.parquet",
        reference,
        experiment={**PREFERENCE, "budget": budget},
    )

    def said(output: Path) -> dict[str, float]:
        return {name: value for line in telemetry_lines(output) for name, value in line["metrics"].items()}

    def too_long(split: str) -> int:
        return sum(len(row["history"]) > context - 1 for row in workshop.tables.rows(split))  # after the first token

    for output in (policy.parent, trained):
        numbers = said(output)
        assert numbers["rows_cut_to_context"] == too_long("train") > 0
        assert 0 < numbers["validation_rows_cut_to_context"] <= 30 < too_long("validation")
    assert said(reference.parent)["rows_cut_to_context"] == too_long("train")


def test_validation_can_look_at_a_sample_of_rows_that_is_the_same_each_time(
    workshop: Workshop, telemetry_lines: Callable[[Path], list[dict[str, Any]]]
) -> None:
    def measured(name: str, rows: int | None) -> list[float]:
        budget = {**SFT["budget"], "validation_rows": rows}
        lines = telemetry_lines(workshop.sft(name, {**SFT, "budget": budget}).parent)
        seen = next(line["metrics"]["validation_rows"] for line in lines if "validation_rows" in line["metrics"])
        assert seen == (len(workshop.tables.rows("validation")) if rows is None else rows)
        return [line["metrics"]["loss"] for line in lines if line["kind"] == "validation"]

    assert measured("few", 7) == measured("again", 7)
    assert measured("all", None) != measured("seven", 7)


def test_a_checkpoint_goes_the_whole_way_through_adapters_the_same_twice(workshop: Workshop, tmp_path: Path) -> None:
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    LlamaForCausalLM(LlamaConfig(vocab_size=40, **sizes)).save_pretrained(tmp_path / "checkpoint")
    backbone = {"kind": "checkpoint", "name": str(tmp_path / "checkpoint"), "lora": {"rank": 2}, "context": 16}
    experiment = {**SFT, "backbone": backbone}
    policy = workshop.sft(experiment=experiment)
    assert weights(workshop.sft("sft again", experiment)) == weights(policy)
    rows = workshop.preference_rows(workshop.mine(policy))
    reference = workshop.reference(policy, rows)
    one = workshop.preference(policy, rows, reference, "one")
    assert weights(workshop.preference(policy, rows, reference, "two") / "policy") == weights(one / "policy")
    assert weights(one / "policy") != weights(policy)
    workshop.run("score", policy=one / "policy", candidate_sets=workshop.tables.candidate_sets)


def test_test_rows_change_nothing(workshop: Workshop) -> None:
    policy = workshop.sft()
    mined = workshop.mine(policy)
    n_items = workshop.tables.n_items
    table = pq.read_table(workshop.tables.histories)
    is_test = np.array(table["split"].to_pylist()) == "test"
    spoilt = [[99_999] if bad else row for bad, row in zip(is_test, table["history"].to_pylist(), strict=True)]
    target = np.where(is_test, -1, table["target"].to_numpy()).astype(np.int32)
    table = table.set_column(3, "history", pa.array(spoilt, pa.list_(pa.int32())))
    pq.write_table(table.set_column(4, "target", pa.array(target)), workshop.tables.histories)
    touched = pq.read_table(workshop.tables.interactions)
    is_held_out = np.array(touched["split"].to_pylist()) != "train"
    item = np.where(is_held_out, (touched["item_id"].to_numpy() + 1) % n_items, touched["item_id"].to_numpy())
    pq.write_table(touched.set_column(1, "item_id", pa.array(item.astype(np.int32))), workshop.tables.interactions)
    assert weights(workshop.sft("again")) == weights(policy)
    assert workshop.mine(policy, "mine again").equals(mined)


def test_mined_negatives_agree_with_a_look_at_every_row(workshop: Workshop) -> None:
    mined = workshop.mine(workshop.sft())
    touched: dict[int, set[int]] = {}
    for row in pq.read_table(workshop.tables.interactions).to_pylist():
        if row["split"] == "train":
            touched.setdefault(row["user_id"], set()).add(row["item_id"])
    train = {row["row_id"]: row for row in workshop.tables.rows("train")}
    table = mined.to_pylist()
    assert [row["row_id"] for row in table] == sorted(row["row_id"] for row in table)
    pools: dict[int, list[dict[str, Any]]] = {}
    for row in table:
        pools.setdefault(row["row_id"], []).append(row)
    assert pools.keys() == train.keys()
    for row_id, pool in pools.items():
        items = [row["item_id"] for row in pool]
        assert len(set(items)) == len(items) == 8
        assert not set(items) & touched[train[row_id]["user_id"]]
        assert [row["miner"] for row in pool] == ["hardest"] * 4 + ["uniform"] * 4
        assert [row["rank"] for row in pool[:4]] == [1, 2, 3, 4]
        assert {(row["round"], row["policy"]) for row in pool} == {(0, "sft")}
        by_rank = sorted(pool, key=lambda row: row["rank"])
        assert [row["logp"] for row in by_rank] == sorted((row["logp"] for row in pool), reverse=True)
        sums = {np.float32(row["logp"] + row["margin"]).round(4) for row in pool}
        assert max(sums) - min(sums) < 1e-3  # all are margins to the same chosen item
        violations = [row["on_boundary"] for row in pool if row["margin"] <= 0]
        assert all(violations)
        assert any(row["on_boundary"] for row in pool)
        if violations:
            assert not any(row["on_boundary"] for row in pool if row["margin"] > 0)
    held_out = {row["user_id"]: row["target"] for row in workshop.tables.rows("test")}
    assert any(held_out[train[row["row_id"]]["user_id"]] == row["item_id"] for row in table)  # not kept out either


@pytest.mark.parametrize("scored", [{}, {"scored": 12}])
def test_mining_draws_the_same_whatever_chunk_a_row_is_in(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, scored: dict[str, int]
) -> None:
    policy, pool = workshop.sft(), {"hard": 4, "uniform": 4, "popularity": 3, "in_batch": 3, "batch": 16, **scored}
    whole = workshop.mine(policy, "whole", pool=pool)
    monkeypatch.setattr(mine, "CHUNK_ROWS", 10)
    assert workshop.mine(policy, "chunks", pool=pool).equals(whole)


@pytest.mark.parametrize("scored", [{}, {"scored": 12}])
def test_other_miners_add_to_a_pool_and_change_nothing_in_it(workshop: Workshop, scored: dict[str, int]) -> None:
    policy, small = workshop.sft(), {"hard": 4, "uniform": 4, **scored}
    plain = workshop.mine(policy, "plain", pool=small).drop_columns("on_boundary")
    added = workshop.mine(policy, "more", pool={**small, "popularity": 3, "in_batch": 3, "batch": 16})
    rows = added.to_pylist()
    of_old = [row["miner"] in ("hardest", "uniform") for row in rows]
    assert added.filter(of_old).drop_columns("on_boundary").equals(plain)
    popularity = np.zeros(1000, dtype=int)
    touched: dict[int, set[int]] = {}
    for row in pq.read_table(workshop.tables.interactions).to_pylist():
        if row["split"] == "train":
            popularity[row["item_id"]] += 1
            touched.setdefault(row["user_id"], set()).add(row["item_id"])
    train = {row["row_id"]: row for row in workshop.tables.rows("train")}
    targets = {row["target"] for row in train.values()}
    logp: dict[tuple[int, int], float] = {}
    for row in rows:
        assert row["item_id"] not in touched[train[row["row_id"]]["user_id"]]
        assert popularity[row["item_id"]] > 0 or row["miner"] != "popularity"
        assert row["item_id"] in targets or row["miner"] != "in_batch"
        assert row["on_boundary"] or row["margin"] > 0
        found = logp.setdefault((row["row_id"], row["item_id"]), row["logp"])  # one score, whoever found it
        assert found == pytest.approx(row["logp"], abs=1e-5)
    per_miner = {miner: sum(row["miner"] == miner for row in rows) for miner in ("in_batch", "popularity")}
    assert per_miner["popularity"] == 3 * len(train)
    assert per_miner["in_batch"] > 2 * len(train)


def test_an_interrupted_mining_goes_on_behind_its_last_shard(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, telemetry_lines: Any
) -> None:
    policy = workshop.sft()
    whole = workshop.mine(policy, "whole")
    monkeypatch.setattr(mine, "CHUNK_ROWS", 40)
    finish, counted = Miner.table, iter(range(100))

    def die_in_the_third(*arguments: Any) -> Any:
        if next(counted) == 2:
            raise OSError("the machine went away")
        return finish(*arguments)

    monkeypatch.setattr(Miner, "table", die_in_the_third)
    shards = tmp_path / "shards"
    fields = {"pool": {"hard": 4, "uniform": 4}, "interactions": workshop.tables.interactions, "seed": 0}
    fields |= {"policy": policy, "policy_name": "sft", "shards": shards}
    workshop.run("mine", "first attempt", exit_code=2, **fields)
    assert len(list(shards.rglob("rows-*.parquet"))) == 2
    second = workshop.run("mine", "second attempt", **fields)
    assert pq.read_table(second / "mined_negatives.parquet").equals(whole)
    unsharded = workshop.folder / "whole" / "mined_negatives.parquet"
    assert (second / "mined_negatives.parquet").read_bytes() == unsharded.read_bytes()  # it is published as it is
    found = [line["metrics"] for line in telemetry_lines(second) if line["kind"] == "diagnostic"]
    assert found == [{"shards_of_an_earlier_attempt": 2}]
    speeds = [line["metrics"]["rows_per_s"] for line in telemetry_lines(second) if line["kind"] == "progress"]
    assert speeds[0] == 0  # what an earlier attempt has done is not done fast
    assert list(shards.iterdir()) == []  # nothing is left of it
    assert [path.name for path in second.iterdir() if path.is_dir()] == []


def test_shards_of_another_mining_are_named_and_not_used(
    workshop: Workshop, tmp_path: Path, telemetry_lines: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = workshop.sft()
    (tmp_path / "shards" / "0123456789abcdef").mkdir(parents=True)
    fields = {"pool": {"hard": 4, "uniform": 4}, "interactions": workshop.tables.interactions, "seed": 0}
    fields |= {"policy": policy, "policy_name": "sft", "shards": tmp_path / "shards"}
    mined = workshop.run("mine", "beside another", **fields)
    assert "0123456789abcdef" in capsys.readouterr().err
    assert pq.read_table(mined / "mined_negatives.parquet").equals(workshop.mine(policy, "by itself"))
    assert not [line for line in telemetry_lines(mined) if "shards_of_an_earlier_attempt" in line["metrics"]]


def test_a_sample_is_mined_as_the_catalogue_would_be_if_it_were_all_there_is(workshop: Workshop) -> None:
    policy = workshop.sft()
    pool = {"hard": 2, "uniform": 2, "scored": 6}
    touched: dict[int, set[int]] = {}
    for row in pq.read_table(workshop.tables.interactions).to_pylist():
        if row["split"] == "train":
            touched.setdefault(row["user_id"], set()).add(row["item_id"])
    train = {row["row_id"]: row for row in workshop.tables.rows("train")}
    every = {"hard": 30, "uniform": 0}
    logps = {(r["row_id"], r["item_id"]): r["logp"] for r in workshop.mine(policy, "all", pool=every).to_pylist()}
    pools: dict[int, list[dict[str, Any]]] = {}
    for row in workshop.mine(policy, pool=pool).to_pylist():
        pools.setdefault(row["row_id"], []).append(row)
    assert pools.keys() == train.keys()
    for row_id, found in pools.items():
        assert [row["miner"] for row in found] == ["hardest"] * 2 + ["uniform"] * 2
        assert [row["rank"] for row in found[:2]] == [1, 2]
        assert all(2 < row["rank"] <= 6 for row in found[2:])
        assert len({row["item_id"] for row in found} - touched[train[row_id]["user_id"]]) == 4
        assert found[1]["logp"] >= max(row["logp"] for row in found[2:])
        for row in found:
            assert row["logp"] == pytest.approx(logps[row_id, row["item_id"]], abs=1e-5)
    assert workshop.mine(policy, "again", pool=pool).equals(workshop.mine(policy, "once more", pool=pool))


def test_a_reference_table_with_holes_is_refused_with_the_count(
    workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = workshop.sft()
    rows = workshop.preference_rows(workshop.mine(policy))
    reference = workshop.reference(policy, rows)
    table = pq.read_table(reference)
    pq.write_table(table.slice(3), reference)
    inputs: dict[str, Any] = {"start_policy": policy, "preference_rows": rows, "reference_logps": reference}
    workshop.run("preference", exit_code=2, experiment=PREFERENCE, **inputs)
    assert f"got {len(table) - 3} of {len(table)} pairs: 3 are missing" in capsys.readouterr().err


def test_the_reference_of_another_policy_is_refused(workshop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    policy, other = workshop.sft(), workshop.sft("other", {**SFT, "seed": 5})
    rows = workshop.preference_rows(workshop.mine(policy))
    reference = workshop.reference(other, rows)
    inputs: dict[str, Any] = {"start_policy": policy, "preference_rows": rows, "reference_logps": reference}
    workshop.run("preference", exit_code=2, experiment=PREFERENCE, **inputs)
    assert "reference_logps must be those of the starting policy" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["dmpo", "sdpo", "mcpo", "dynamicpo-sdpo"])
def test_each_objective_trains_from_its_kind_alone(workshop: Workshop, kind: str) -> None:
    policy = workshop.sft()
    rows = workshop.preference_rows(workshop.mine(policy))
    reference = workshop.reference(policy, rows)
    output = workshop.preference(policy, rows, reference, experiment={**PREFERENCE, "objective": {"kind": kind}})
    assert weights(output / "policy") != weights(policy)


def test_a_row_without_negatives_is_no_obstacle(workshop: Workshop) -> None:
    policy = workshop.sft()
    mined = workshop.mine(policy)
    rows = workshop.preference_rows(mined.filter(pc.field("row_id") > 20))
    output = workshop.preference(policy, rows, workshop.reference(policy, rows))
    assert (output / "policy").is_dir()


def test_a_wrong_specification_is_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "spec.json"
    path.write_text(
        json.dumps({"histories": "/h", "items": "/i", "output": str(tmp_path), "experiment": {"kind": "sft"}})
    )
    assert sft.main([str(path)]) == 2
    message = capsys.readouterr().err
    assert "experiment.optimizer: Field required" in message
    assert message.count("\n") == 1


def test_a_second_result_never_replaces_the_first(workshop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    policy = workshop.sft()
    before = weights(policy)
    assert sft.main([str(policy.parent / "spec.json")]) == 2
    assert "must not hold a result yet" in capsys.readouterr().err
    assert weights(policy) == before


def test_a_run_that_diverges_names_the_step_and_keeps_the_last_good_weights_apart(
    workshop: Workshop,
    telemetry_lines: Callable[[Path], list[dict[str, Any]]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    losses, calls = Targets.losses, iter(range(1000))

    def break_in_the_end(self: Any, logps: Any) -> Any:
        return losses(self, logps) * (float("nan") if next(calls) > 20 else 1.0)

    monkeypatch.setattr(Targets, "losses", break_in_the_end)
    output = workshop.run("sft", exit_code=2, experiment=SFT)
    assert "loss must be finite, got nan from rows" in capsys.readouterr().err
    assert not (output / "policy").exists()
    assert telemetry_lines(output)[-1]["metrics"]["success"] == 0
    card = json.loads((output / "last_good_policy" / "policy.json").read_text())
    measured = [line["step"] for line in telemetry_lines(output) if line["kind"] == "validation"]
    assert card["selection"]["step"] in measured
    assert workshop.mine(output / "last_good_policy").num_rows > 0
    before = weights(output / "last_good_policy")
    assert sft.main([str(output / "spec.json")]) == 2
    said = f"output must not hold a result yet, got {output / 'last_good_policy'}. Choose an empty folder."
    assert capsys.readouterr().err == f"{said}\n"  # before it is trained, and diverges, again
    assert weights(output / "last_good_policy") == before


def test_a_disk_too_full_for_the_last_good_weights_does_not_hide_that_a_run_diverged(
    workshop: Workshop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    losses, calls = Targets.losses, iter(range(1000))

    def break_in_the_end(self: Any, logps: Any) -> Any:
        return losses(self, logps) * (float("nan") if next(calls) > 20 else 1.0)

    def full(folder: Path, *_: Any) -> None:
        raise OSError(28, "No space left on device", str(folder))

    monkeypatch.setattr(Targets, "losses", break_in_the_end)
    monkeypatch.setattr("training.loop.train_and_save.save_policy", full)
    workshop.run("sft", exit_code=2, experiment=SFT)
    warning, said = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: the policy could not be written to ")
    assert said.startswith("loss must be finite, got nan from rows")


LONG = {**SFT, "budget": {"epochs": 100_000, "batch_size": 64, "validations": 1}}


def start(path: Path, **environment: str) -> subprocess.Popen[bytes]:
    """The command in a process of its own; returns when it trains."""
    child = subprocess.Popen(
        [sys.executable, "-m", "training.sft", str(path)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stderr=subprocess.PIPE,
    )
    telemetry = path.parent / "telemetry.jsonl"
    deadline = time.monotonic() + 60
    while child.poll() is None and not (telemetry.exists() and '"train"' in telemetry.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return child


@pytest.mark.slow
def test_a_signal_ends_a_command_promptly_with_an_end_line(
    workshop: Workshop, telemetry_lines: Callable[[Path], list[dict[str, Any]]]
) -> None:
    path = workshop.spec("sft", "sft", experiment=LONG)
    child = start(path)
    child.send_signal(signal.SIGTERM)
    _, errors = child.communicate(timeout=10)
    assert child.returncode == 128 + signal.SIGTERM
    assert errors == b"stopped by SIGTERM\n"
    last = telemetry_lines(path.parent)[-1]
    assert (last["kind"], last["metrics"]["success"]) == ("end", 0)
    assert not (path.parent / "policy").exists()


def test_a_command_dies_with_its_parent(workshop: Workshop) -> None:
    path = workshop.spec("sft", "sft", experiment=LONG)
    script = (
        "import os, subprocess, sys, time\n"
        "environment = {**os.environ, 'BORDERLINE_PARENT_PID': str(os.getpid())}\n"
        f"child = subprocess.Popen([sys.executable, '-m', 'training.sft', {str(path)!r}], env=environment)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    telemetry, deadline = path.parent / "telemetry.jsonl", time.monotonic() + 60
    while not (telemetry.exists() and telemetry.stat().st_size):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    parent.kill()
    parent.communicate()
    while is_running(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def test_a_command_whose_parent_is_gone_does_not_start(workshop: Workshop) -> None:
    path = workshop.spec("sft", "sft", experiment=LONG)
    child = start(path, BORDERLINE_PARENT_PID="1")
    _, errors = child.communicate(timeout=10)
    assert child.returncode == 1
    assert errors == b"the parent process 1 is gone\n"
