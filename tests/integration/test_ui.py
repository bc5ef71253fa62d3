"""`borderline ui`: both pages answer on loopback, a job launched from the UI runs, and Ctrl-C leaves nothing behind."""

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestration.resources.lake import LakeStorage
from tests.pipeline.shop import borderline_in, environment, write_project

LOCATION = """
{ repositoriesOrError { ... on RepositoryConnection { nodes {
    name location { name } jobs { name } assetNodes { assetKey { path } }
    schedules { name scheduleState { status } } } } } }
"""
LAUNCH = """
mutation($params: ExecutionParams!) { launchRun(executionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }
"""
RUNS = """
query($selector: PipelineSelector!) { pipelineOrError(params: $selector) { ... on Pipeline { runs { runId } } } }
"""
REPEAT = """
mutation($parent: String!) { launchRunReexecution(reexecutionParams: {parentRunId: $parent, strategy: ALL_STEPS}) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }
"""
CHILDREN = """
query($filter: RunsFilter!) { runsOrError(filter: $filter) { ... on Runs { results {
    runId jobName repositoryOrigin { repositoryLocationName } } } } }
"""
LOG = """
query($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events { ... on MessageEvent { message } } } } }
"""
TINY = """\
kind: grid
question: Which objective?
experiment:
  kind: preference
  start_from: sft
  optimizer: {kind: adamw, lr: 1.0e-4}
  negatives: {n: 2, miner: uniform}
  budget: {epochs: 1, batch_size: 256, validations: 1}
axes:
  objective:
    dmpo: {objective: {kind: dmpo}}
"""
STATUS = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"


class Ui:
    """The two servers, as a browser sees them."""

    def __init__(self, dagster_port: int, mlflow_port: int) -> None:
        self.dagster, self.mlflow = f"http://127.0.0.1:{dagster_port}", f"http://127.0.0.1:{mlflow_port}"

    def query(self, text: str, **variables: Any) -> Any:
        body = json.dumps({"query": text, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.dagster}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer
        return answer["data"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = tmp_path_factory.mktemp("project")
    write_project(project)
    (project / "studies").mkdir()
    (project / "studies" / "tiny.yaml").write_text(TINY, encoding="utf-8")
    return project


@pytest.fixture(scope="module")
def ui(project: Path, home: Path) -> Iterator[Ui]:
    dagster_port, mlflow_port = free_port(), free_port()
    arguments = ["ui", "--dagster-port", str(dagster_port), "--mlflow-port", str(mlflow_port)]
    log = (home / "ui.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "borderline", *arguments],
        env=environment(project, home),
        cwd=project,
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    pages = Ui(dagster_port, mlflow_port)
    try:
        for url in (f"{pages.dagster}/server_info", f"{pages.mlflow}/health"):
            wait_for(lambda url=url: answers(url), home / "ui.log")
        wait_for(lambda: bool(repositories(pages)), home / "ui.log")
        yield pages
    finally:
        process.send_signal(signal.SIGTERM)  # as Ctrl-C, but also heard by what runs in the background
        assert process.wait(timeout=60) == 0
        log.close()
    assert not answers(f"{pages.dagster}/server_info")
    assert not answers(f"{pages.mlflow}/health")


def test_the_graph_the_jobs_and_the_schedules_are_on_the_page(ui: Ui) -> None:
    (repository,) = repositories(ui)
    assert {"ingest", "train", "evaluate", "retrain"} <= {job["name"] for job in repository["jobs"]}
    assert ["mined_negatives"] in [node["assetKey"]["path"] for node in repository["assetNodes"]]
    assert repository["schedules"] == [{"name": "retrain_shop_weekly", "scheduleState": {"status": "STOPPED"}}]


def test_the_address_of_mlflow_that_is_printed_opens_on_model_training(ui: Ui, home: Path) -> None:
    assert f"{ui.mlflow}/#/experiments?workflowType=machine_learning" in (home / "ui.log").read_text().split()


def test_a_job_launched_from_the_page_runs(ui: Ui, home: Path) -> None:
    launch_and_wait(ui, home, "ingest", {}, tags=[{"key": "dagster/partition", "value": "shop"}])
    assert lake_of(home).require("candidate_sets", ("shop",)).table().height > 0


def test_a_run_of_the_command_line_is_on_the_page_of_its_job_and_can_be_repeated(
    ui: Ui, project: Path, home: Path
) -> None:
    (repository,) = repositories(ui)
    selector = {
        "repositoryLocationName": repository["location"]["name"],
        "repositoryName": repository["name"],
        "pipelineName": "ingest",
    }

    def runs() -> set[str]:
        return {run["runId"] for run in ui.query(RUNS, selector=selector)["pipelineOrError"]["runs"]}

    before = runs()
    done = borderline_in(project, home)("ingest", "--dataset", "shop")
    assert done.returncode == 0, done.stderr
    [ours] = runs() - before
    repeated = ui.query(REPEAT, parent=ours)["launchRunReexecution"]
    assert repeated["__typename"] == "LaunchRunSuccess", repeated
    wait_until_it_succeeds(ui, home, repeated["run"]["runId"])


@pytest.mark.slow
def test_a_study_launched_from_the_page_runs_to_its_report(ui: Ui, home: Path) -> None:
    config = {"ops": {"walk_study": {"config": {"study": "tiny", "dataset": "shop"}}}}
    run_id = launch_and_wait(ui, home, "study", config, tags=[])
    report = lake_of(home).require("study_reports", ("shop", "tiny"))
    assert "Which objective?" in report.path("report.html").read_text(encoding="utf-8")
    said = [event.get("message", "") for event in ui.query(LOG, id=run_id)["logsForRun"]["events"]]
    assert any("tiny: experiment 1 of 1 (tiny.dmpo-s0)" in message for message in said)
    asked = {"tags": [{"key": "borderline/parent_run_id", "value": run_id}]}
    children = ui.query(CHILDREN, filter=asked)["runsOrError"]["results"]
    for child in children:
        assert any(child["runId"] in message for message in said)
        assert child["repositoryOrigin"]["repositoryLocationName"] == "borderline"
    assert {child["jobName"] for child in children} >= {"ingest", "train_preference", "report"}


def launch_and_wait(ui: Ui, home: Path, job: str, config: dict[str, Any], tags: list[dict[str, str]]) -> str:
    (repository,) = repositories(ui)
    selector = {
        "repositoryLocationName": repository["location"]["name"],
        "repositoryName": repository["name"],
        "pipelineName": job,
    }
    params = {
        "selector": selector,
        "mode": "default",
        "executionMetadata": {"tags": tags},
        "runConfigData": json.dumps(config),
    }
    launched = ui.query(LAUNCH, params=params)["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    wait_until_it_succeeds(ui, home, launched["run"]["runId"])
    return launched["run"]["runId"]


def wait_until_it_succeeds(ui: Ui, home: Path, run_id: str) -> None:
    def has_ended() -> bool:
        status = ui.query(STATUS, id=run_id)["runOrError"]["status"]
        assert status not in ("FAILURE", "CANCELED"), status
        return status == "SUCCESS"

    wait_for(has_ended, home / "ui.log", seconds=600)


def lake_of(home: Path) -> LakeStorage:
    return LakeStorage(root=str(home / "lake"), warehouse=str(home / "warehouse.duckdb"))


def repositories(ui: Ui) -> list[Any]:
    return ui.query(LOCATION)["repositoriesOrError"].get("nodes", [])


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status == 200
    except OSError:
        return False


def wait_for(is_true: Any, log: Path, *, seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, log.read_text(errors="replace")[-3000:]
        time.sleep(0.5)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
