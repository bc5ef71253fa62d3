"""Links to MLflow show runs and models to a browser that is new to it, and an experiment opens as a leaderboard."""

import json
import re
from pathlib import Path
from typing import get_args

import pytest

from assets.learning.experiments import flatten
from contracts.files.load import load_experiment
from contracts.words import StudyMetric
from orchestration.resources.mlflow_pages import VIEW_TAG, leaderboard_view, page
from orchestration.resources.mlflow_runs import MlflowTracker

ROOT = Path(__file__).parents[3]
ROOMS = ("borderline", "orchestration", "assets")


@pytest.fixture
def tracker(tmp_path: Path) -> MlflowTracker:
    return MlflowTracker(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}", artifact_root=tmp_path.as_uri())


def test_the_pages_of_runs_studies_and_versions_open_on_model_training(tracker: MlflowTracker) -> None:
    with tracker.tracked("demo", "sft", params={}, tags={}) as run:
        pass
    with tracker.study("demo", "margins", "Which margin?") as study:
        pass
    attached = tracker.attach("demo", "leaderboard", note="", tags={}, files=[])
    urls = [run.tracked.url, study.url, attached.url, tracker.version_url("demo", "3")]
    for url in urls:
        path, _, query = url.partition("/#/")[2].partition("?")
        assert re.fullmatch(r"experiments/1/runs/\w{32}|models/borderline-demo/versions/3", path), url
        assert query == "workflowType=machine_learning"
    assert page("http://mlflow/", "experiments", "1", "runs", view="leaderboard") == (
        "http://mlflow/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=leaderboard"
    )


def test_nothing_else_writes_an_address_within_mlflow() -> None:
    files = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    assert {path.name for path in files if "/#/" in path.read_text(encoding="utf-8")} == {"mlflow_pages.py"}
    documents = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    links = [
        (path.name, link)
        for path in documents
        for line in path.read_text(encoding="utf-8").splitlines()
        for link in re.findall(r"http://127\.0\.0\.1:5000[^\s)`]*", line)
        if "tracking_uri" not in line
    ]
    assert len(links) >= 4
    assert [each for each in links if "/#/experiments" not in each[1] or "workflowType=" not in each[1]] == []


def test_an_experiment_has_the_view_from_the_start_and_one_of_before_is_given_it(tracker: MlflowTracker) -> None:
    client = tracker.client()
    before = client.create_experiment("borderline/old", artifact_location=f"{tracker.artifact_root}/old")
    for dataset in ("demo", "old"):
        tracker.prepare(dataset)
    assert tracker.experiment_id("old") == before
    for dataset in ("demo", "old"):
        assert client.get_experiment_by_name(f"borderline/{dataset}").tags[VIEW_TAG] == leaderboard_view()


def test_the_view_sorts_by_the_main_metric_and_names_what_runs_have() -> None:
    view = json.loads(leaderboard_view())
    assert (view["orderByKey"], view["orderByAsc"]) == ("metrics.`ndcg_at_10_full`", False)
    columns = [re.fullmatch(r"(params|metrics)\.`(.+)`", each) for each in view["selectedColumns"]]
    named = [each.groups() for each in columns if each is not None]
    assert len(named) == len(columns)
    assert view["columnOrder"][-len(columns) :] == view["selectedColumns"], "MLflow sorts by name what is left out"
    recorded = flatten(load_experiment("dmpo-k15").model_dump(mode="json"))
    assert {name for kind, name in named if kind == "params"} == {"kind", "objective.kind", "negatives.n"}
    assert {name for kind, name in named if kind == "params"} <= set(recorded)
    assert {name for kind, name in named if kind == "metrics"} == set(get_args(StudyMetric))
