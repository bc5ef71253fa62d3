"""A training driven to collapse: a warning on its policy, an early end where it is asked for, and no promotion."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.shop import borderline_in, write_project

RUINOUS = """\
kind: preference
start_from: sft
objective: {{kind: dmpo, beta: 1.0}}
negatives: {{n: 5, miner: mixed}}
optimizer: {{kind: adamw, lr: 5.0e-2, schedule: constant, warmup: 0.0}}
budget: {{epochs: 2, batch_size: 256, validations: 4, keep: last{more}}}
"""
"""A learning rate fifty times too large, and no early choice that would hide what it does."""
EXPERIMENTS = ("ruined", "stopped")


@pytest.fixture(scope="module")
def ruined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a project whose two preference experiments collapse."""
    project, home = tmp_path_factory.mktemp("ruined project"), tmp_path_factory.mktemp("home")
    write_project(project)
    (project / "experiments" / "ruined.yaml").write_text(RUINOUS.format(more=""))
    (project / "experiments" / "stopped.yaml").write_text(RUINOUS.format(more=", stop_on_collapse: true"))
    done = borderline_in(project, home)(
        "run", "--dataset", "shop", "--experiments", ",".join(["sft", "popularity", *EXPERIMENTS])
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return home


def policy_of(home: Path, experiment: str) -> Path:
    return home / "lake" / "preference_policies" / "shop" / experiment / "current"


def telemetry(home: Path, experiment: str, kind: str) -> list[dict[str, Any]]:
    lines = (policy_of(home, experiment) / "telemetry.jsonl").read_text().splitlines()
    return [event for line in lines if (event := json.loads(line))["kind"] == kind]


def verdict_on(home: Path, experiment: str) -> dict[str, Any]:
    manifest = json.loads((policy_of(home, experiment) / "manifest.json").read_text())
    return next(check for check in manifest["checks"] if check["name"] == "does_not_collapse")


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_collapsed_policy_is_published_with_a_warning_and_its_numbers(ruined: Path, experiment: str) -> None:
    check = verdict_on(ruined, experiment)
    assert (check["passed"], check["blocks"]) == (False, False)
    detail = check["detail"]
    assert detail["verdict"] == "collapsed"
    assert detail["drop"] > 2 * detail["drop_standard_error"]
    assert detail["loss_at_end"] < detail["loss_at_best"]
    assert "ndcg_at_10_full fell from" in detail["message"]


def test_the_one_that_stops_on_collapse_ends_at_the_first_validation_that_shows_it(ruined: Path) -> None:
    whole = telemetry(ruined, "ruined", "validation")
    stopped = telemetry(ruined, "stopped", "validation")
    assert 2 <= len(stopped) < len(whole)
    clocks = [[{**event, "at": ""} for event in events] for events in (whole, stopped)]
    assert clocks[1] == clocks[0][: len(stopped)]  # the same training, up to there
    (end,) = telemetry(ruined, "stopped", "end")
    assert end["metrics"]["selected_step"] == stopped[-1]["step"]  # keep: last
    (said,) = [e for e in telemetry(ruined, "stopped", "checkpoint") if "stopped_on_collapse" in e["metrics"]]
    assert said["step"] == stopped[-1]["step"]
    assert not (policy_of(ruined, "stopped") / "verdicts").exists()
    manifest = json.loads((policy_of(ruined, "stopped") / "manifest.json").read_text())
    assert manifest["metadata"]["stopped_on_collapse_at_step"]["value"] == said["step"]


def test_a_collapsed_policy_is_no_challenger_and_its_verdict_is_in_the_promotion(ruined: Path) -> None:
    (promotion,) = (ruined / "lake" / "promotion" / "shop").glob("current/verdict.json")
    verdict = json.loads(promotion.read_text())
    assert verdict["gates"]["challenger"] == "sft"
    for experiment in EXPERIMENTS:
        assert verdict["gates"]["collapse"][experiment]["verdict"] == "collapsed"
        assert verdict["gates"]["collapse"][experiment]["drop"] > 0
