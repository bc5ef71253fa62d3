"""Twenty steps of SFT, then twenty of DynamicPO, on a small policy: the numbers of a run that was looked at.

A change that moves them changes every experiment. Then put what `trajectory` returns into `training_trajectory.json`,
in a commit of its own that says why. The numbers are of torch 2.13 on a CPU.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training import mine, preference, reference, sft

GOLDEN = Path(__file__).with_name("training_trajectory.json")
SFT = {
    "kind": "sft",
    "backbone": {"kind": "scratch", "hidden": 16, "layers": 2, "heads": 2, "context": 16, "dropout": 0.0},
    "optimizer": {"kind": "adamw", "lr": 0.01, "weight_decay": 0.01},
    "budget": {"epochs": 4, "batch_size": 60, "validations": 2},
}
PREFERENCE = {
    "kind": "preference",
    "start_from": "sft",
    "objective": {"kind": "dynamicpo-dmpo", "beta": 1.0, "margin": 6.0},
    "optimizer": {"kind": "adamw", "lr": 1e-3, "schedule": "linear"},
    "budget": {"epochs": 4, "batch_size": 60, "validations": 2},
}


def trajectory(tables: Any, folder: Path) -> dict[str, list[float]]:
    """Losses and gradient norms by step, and the validation metrics, of both stages."""

    def run(command: Any, name: str, **fields: Any) -> Path:
        output = folder / name
        output.mkdir()
        fields = {"histories": tables.histories, "items": tables.items, "output": output, **fields}
        (output / "spec.json").write_text(json.dumps({**fields, "compute": {"log_every": 1}}, default=str))
        assert command.main([str(output / "spec.json")]) == 0
        return output

    policy = run(sft, "sft", experiment=SFT) / "policy"
    mining = {"pool": {"hard": 3, "uniform": 3}, "interactions": tables.interactions, "seed": 0}
    mined = pq.read_table(run(mine, "mine", policy=policy, policy_name="sft", **mining) / "mined_negatives.parquet")
    rejected = np.split(mined["item_id"].to_numpy(), np.flatnonzero(np.diff(mined["row_id"].to_numpy())) + 1)
    train = tables.rows("train")
    columns = {
        "row_id": pa.array([row["row_id"] for row in train], pa.int32()),
        "chosen": pa.array([row["target"] for row in train], pa.int32()),
        "rejected": pa.array([items.tolist() for items in rejected], pa.list_(pa.int32())),
    }
    rows = folder / "preference_rows.parquet"
    pq.write_table(pa.table(columns), rows)
    logps = run(reference, "reference", policy=policy, preference_rows=rows) / "reference_logps.parquet"
    inputs = {"start_policy": policy, "preference_rows": rows, "reference_logps": logps}
    run(preference, "preference", experiment=PREFERENCE, **inputs)
    result: dict[str, list[float]] = {}
    for stage in ("sft", "preference"):
        lines = [json.loads(line) for line in (folder / stage / "telemetry.jsonl").read_text().splitlines()]
        for kind, name in (
            ("train", "loss"),
            ("train", "gradient_norm"),
            ("validation", "loss"),
            ("validation", "mrr_full"),
        ):
            values = [line["metrics"][name] for line in lines if line["kind"] == kind]
            result[f"{stage} {kind} {name}"] = [round(value, 7) for value in values]
    return result


def test_training_takes_the_way_it_took_before(tables: Any, tmp_path: Path) -> None:
    golden = json.loads(GOLDEN.read_text())
    found = trajectory(tables, tmp_path)
    assert found.keys() == golden.keys()
    for name, values in golden.items():
        assert len(values) == len(found[name]) > 1
        assert found[name] == pytest.approx(values, rel=2e-3, abs=1e-5), name  # other processors round differently


def test_the_way_leads_down(tables: Any) -> None:
    golden = json.loads(GOLDEN.read_text())
    assert golden["sft train loss"][-1] < 0.9 * golden["sft train loss"][0]
    assert golden["preference train loss"][-1] < golden["preference train loss"][0]
    assert len(golden["sft train loss"]) >= 20
    assert len(golden["preference train loss"]) >= 20
