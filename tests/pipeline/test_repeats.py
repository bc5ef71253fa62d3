"""A log in which users take the same few items again: no number may be better than what is possible."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from assets.registry.promotion import caution_of
from tests.pipeline.shop import Borderline, borderline_in, lake_of, write_project

FAVOURITES = """\
source: {kind: tabular, path: log.csv, user: user, item: item, time: {column: at, format: seconds}}
cleaning: {k_core: 1, repeats: all}
"""
EVENTS = """\
source: {kind: tabular, path: log.csv, user: user, item: item, event: event, time: {column: at, format: seconds}}
cleaning: {k_core: 1, repeats: all}
"""
RUN = ("popularity", "item-knn", "item-cooccurrence", "repeat-last", "repeat-frequent")
USERS, MINE, ITEMS, EACH = 200, 8, 150, 30
BEST_HIT_RATIO, BEST_NDCG = 1 / MINE, float(np.mean(1.0 / np.log2(np.arange(MINE) + 2.0)))


@pytest.fixture(scope="module")
def borderline(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Borderline:
    """`favourites`: users pick at random among 8 items each. `events`: each item is viewed, carted and bought."""
    folder = tmp_path_factory.mktemp("repeats")
    write_project(folder)
    (folder / "datasets" / "favourites.yaml").write_text(FAVOURITES)
    (folder / "datasets" / "events.yaml").write_text(EVENTS)
    for name in RUN:
        shutil.copy(Path(__file__).parents[2] / "experiments" / f"{name}.yaml", folder / "experiments")
    generator = np.random.default_rng(0)
    lines, events = ["user,item,at"], ["user,item,event,at"]
    for user in range(USERS):
        mine = generator.choice(ITEMS, size=MINE, replace=False)
        start = 1_700_000_000 + 977 * user
        lines += [f"u{user},i{generator.choice(mine)},{start + 86_400 * step}" for step in range(EACH)]
        for place, item in enumerate(mine):
            events += [f"u{user},i{item},{kind},{start + 86_400 * place}" for kind in ("view", "cart", "buy")]
    for name, text in (("favourites", lines), ("events", events)):
        (folder / "raw" / name).mkdir(parents=True)
        (folder / "raw" / name / "log.csv").write_text("\n".join([*text, ""]))
    return borderline_in(folder, home)


def test_no_baseline_is_better_than_chance_among_the_favourites(borderline: Borderline, home: Path) -> None:
    result = borderline("run", "--dataset", "favourites", "--experiments", ",".join(RUN))
    assert result.returncode == 0, result.stderr
    board = json.loads(borderline("leaderboard", "--dataset", "favourites", "--format", "json").stdout)
    assert board["keeps_repeats"] is True
    assert board["repeated_targets"] > 0.9
    assert {"repeat_last", "repeat_frequent"} <= {rule["rule"] for rule in board["shortcuts"]}
    metrics = {row["experiment"]: row["metrics"] for row in board["rows"]}
    # 200 rows: three standard errors are 0.07 of a hit ratio and 0.07 of NDCG.
    for name, found in metrics.items():
        assert found["hit_ratio_at_1_of_20"]["value"] < BEST_HIT_RATIO + 0.07, name
        assert found["ndcg_at_10_full"]["value"] < BEST_NDCG + 0.07, name
    assert metrics["repeat-frequent"]["ndcg_at_10_full"]["value"] > BEST_NDCG - 0.07, "the history is in the ranking"
    for header in ("with the history", "of targets are in their own history", "repeat_last", "repeat_frequent"):
        assert header in result.stdout


def test_a_candidate_of_the_history_is_never_what_the_user_takes_later(borderline: Borderline, home: Path) -> None:
    lake = lake_of(home)
    rows = lake.require("histories", ("favourites",)).table().filter(pl.col("split") != "train")
    sets = lake.require("candidate_sets", ("favourites",)).table().join(rows, on="row_id")
    tests = dict(rows.filter(pl.col("split") == "test").select("user_id", "target").rows())
    seen = 0
    for row in sets.iter_rows(named=True):
        others = set(row["candidates"]) - {row["target"]}
        assert len(others) == 19
        seen += len(others & set(row["history"]))
        if row["split"] == "validation":
            assert tests[row["user_id"]] not in others
    assert seen > 5 * sets.height, "most of a user's other favourites are candidates"


def test_a_log_whose_target_is_its_last_item_is_published_with_a_warning(borderline: Borderline, home: Path) -> None:
    result = borderline("ingest", "--dataset", "events")
    assert result.returncode == 0, result.stderr
    checks = lake_of(home).require("histories", ("events",)).manifest["checks"]
    found = next(check for check in checks if check["name"] == "targets_are_not_in_their_history")
    assert not found["passed"]
    assert "100.0% of 200 test targets are the last item of their history" in found["detail"]["message"]
    assert caution_of(lake_of(home).require("histories", ("events",))) == found["detail"]["message"]
