"""A leaderboard that is stored is read back whole, or refused in one line that says how to rebuild it."""

import json
from pathlib import Path

import polars as pl
import pytest

from assets.lake.versions import NotMaterialised, Version
from assets.results.stored_leaderboard import is_readable, stored, write_down
from evaluation.metrics.ranking import METRICS_SCHEMA
from evaluation.reports.costs import Cost
from evaluation.reports.leaderboard import Entry, leaderboard
from evaluation.statistics.significance import Resampling


@pytest.fixture
def version(tmp_path: Path) -> Version:
    table = pl.DataFrame(
        {
            "row_id": range(4),
            "user_id": range(4),
            "split": ["test"] * 4,
            "protocol": ["full"] * 4,
            "metric": ["ndcg_at_10_full"] * 4,
            "value": [0.1, 0.2, 0.3, 0.4],
        },
        schema=METRICS_SCHEMA,
    )
    entries = {"sft": Entry(metrics=table, kind="sft", cost=Cost(train_seconds=2.0, total_seconds=3.0))}
    write_down(leaderboard(entries, dataset="shop", split="test", how=Resampling(50)), tmp_path)
    return Version("leaderboard", ("shop",), tmp_path, "", "", {})


def test_it_reads_back_with_its_costs_and_a_split_without_rows_is_none(version: Version) -> None:
    board = stored(version, "test")
    assert board is not None
    assert (board.dataset, [row.experiment for row in board.rows]) == ("shop", ["sft"])
    assert board.costs["sft"] == Cost(train_seconds=2.0, total_seconds=3.0)
    assert "costs" not in json.loads((version.folder / "test.json").read_text()), "they differ from run to run"
    assert stored(version, "validation") is None
    assert is_readable(version)


@pytest.mark.parametrize("change", [{"rows": [{"experiment": "sft"}]}, {"resamples": "many"}])
def test_one_that_cannot_be_read_is_refused_in_one_line_and_rebuilt(
    version: Version, change: dict[str, object]
) -> None:
    path = version.folder / "test.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(NotMaterialised) as refusal:
        stored(version, "test")
    assert "\n" not in str(refusal.value)
    assert "borderline run --dataset shop" in str(refusal.value)
    assert not is_readable(version), "so the asset is made again though its inputs are the same"
