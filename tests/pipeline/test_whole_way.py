"""From the raw log to the registry through the command line, then everything again without computing anything."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import dagster as dg
import duckdb
import polars as pl
import pytest
import yaml

from contracts.config import EXPERIMENT
from orchestration.resources.lake import LakeStorage
from tests.pipeline.shop import borderline_in, client_of, lake_of, start

EXPERIMENTS = "dmpo,dynamic"
METRICS = {"hit_ratio_at_1_of_20", "mrr_of_20", "recall_at_10_full", "ndcg_at_10_full"}


@pytest.fixture(scope="module")
def first(project: Path, home: Path) -> subprocess.CompletedProcess[str]:
    """The one walk of this file that is a process of its own, as a person starts it."""
    process = start(project, home, "run", "--dataset", "shop", "--experiments", EXPERIMENTS)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture(scope="module")
def lake(first: object, home: Path) -> LakeStorage:
    return lake_of(home)


@pytest.fixture(scope="module")
def client(first: object, home: Path) -> Any:
    return client_of(home)


def test_the_leaderboard_has_every_experiment_its_start_and_the_floors(first: subprocess.CompletedProcess[str]) -> None:
    for name in ("sft", "dmpo", "dynamic", "popularity", "random", *METRICS):
        assert name in first.stdout


def test_progress_was_visible(first: subprocess.CompletedProcess[str]) -> None:
    assert "sft: validation at step" in first.stderr
    assert "histories" in first.stderr


def test_the_leaderboard_is_json_with_intervals(project: Path, home: Path, first: object) -> None:
    result = borderline_in(project, home)("leaderboard", "--dataset", "shop", "--format", "json")
    board = json.loads(result.stdout)
    assert (board["dataset"], board["split"]) == ("shop", "test")
    assert {row["experiment"] for row in board["rows"]} == {"sft", "dmpo", "dynamic", "popularity", "random"}
    for row in board["rows"]:
        assert set(row["metrics"]) == METRICS
        assert all(m["low"] <= m["value"] <= m["high"] for m in row["metrics"].values())


def test_predictions_from_elsewhere_are_measured_as_our_own(
    project: Path, home: Path, lake: LakeStorage, tmp_path: Path
) -> None:
    ours = lake.require(
        "predictions", ("shop", "sft")
    ).table()  # a count breaks ties by more than its scores.drop("target_rank")
    before = sorted(path for path in home.rglob("*") if path.is_file() and path.suffix == ".json")
    ours.write_parquet(tmp_path / "theirs.parquet")
    result = borderline_in(project, home)(
        "evaluate", str(tmp_path / "theirs.parquet"), "-d", "shop", "--format", "json"
    )
    assert result.returncode == 0, result.stderr
    rows = {row["experiment"]: row for row in json.loads(result.stdout)["rows"]}
    assert rows["theirs"]["kind"] == "foreign"
    assert not rows["theirs"]["is_floor"]
    assert rows["theirs"]["metrics"] == rows["sft"]["metrics"]
    assert (
        rows["theirs"]["beyond_accuracy"].items()
        >= {
            name: value
            for name, value in rows["sft"]["beyond_accuracy"].items()
            if name.startswith(("coverage", "gini", "entropy", "diversity", "novelty", "popularity_lift", "recall"))
        }.items()
    )
    ours.head(ours.height - 1).write_parquet(tmp_path / "short.parquet")
    refused = borderline_in(project, home)("evaluate", str(tmp_path / "short.parquet"), "-d", "shop")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "every row must be predicted under every protocol, got 1 rows that break this" in refused.stderr
    assert sorted(path for path in home.rglob("*") if path.is_file() and path.suffix == ".json") == before


def test_a_second_run_computes_nothing_and_says_so(project: Path, home: Path, first: object) -> None:
    started = time.process_time()
    again = borderline_in(project, home)("run", "--dataset", "shop", "--experiments", EXPERIMENTS)
    assert time.process_time() - started < 20  # 4 on an idle machine
    assert again.returncode == 0, again.stderr
    steps = [line for line in again.stderr.splitlines() if " of shop" in line]
    assert len(steps) > 15
    assert [line for line in steps if not line.endswith("unchanged, reused")] == []


def test_every_objective_saw_the_same_negatives(lake: LakeStorage) -> None:
    rows = [lake.require("preference_rows", ("shop", name)) for name in ("dmpo", "dynamic")]
    assert rows[0].data_version == rows[1].data_version
    shared = [lake.require("reference_logps", ("shop", name)) for name in ("dmpo", "dynamic")]
    assert shared[0].data_version == shared[1].data_version


def test_the_mining_edge_shows_the_policy_and_round(lake: LakeStorage) -> None:
    mined = lake.require("mined_negatives", ("shop", "sft")).table()
    assert mined["policy"].unique().to_list() == ["sft"]
    assert mined["round"].unique().to_list() == [0]
    read = lake.require("preference_rows", ("shop", "dynamic")).manifest["inputs"]
    assert {"mined_negatives", "sft_policies"} == {e["asset"] for e in read if e["partition"] == ["shop", "sft"]}


def test_the_lake_has_a_sql_face(home: Path, lake: LakeStorage) -> None:
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        experiments = connection.execute("SELECT DISTINCT experiment FROM metrics ORDER BY 1").fetchall()
        n_rows = connection.execute("SELECT count(*) FROM histories WHERE dataset = 'shop'").fetchone()
    assert [name for (name,) in experiments] == ["dmpo", "dynamic", "popularity", "random", "sft"]
    assert n_rows == (lake.require("histories", ("shop",)).table().height,)


def test_mlflow_has_each_run_with_curves_and_the_same_metric_names(client: Any) -> None:
    experiment = client.get_experiment_by_name("borderline/shop")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    page = runs.pop("leaderboard")
    assert {file.path for file in client.list_artifacts(page.info.run_id)} == {"test.html", "validation.html"}
    assert "| experiment | kind |" in page.data.tags["mlflow.note.content"]
    assert set(runs) == {"sft", "dmpo", "dynamic", "popularity", "random"}
    for run in runs.values():
        assert run.info.status == "FINISHED"
        assert set(run.data.metrics) >= METRICS
    curve = client.get_metric_history(runs["dynamic"].info.run_id, "train/loss")
    assert len(curve) > 1
    assert runs["dynamic"].data.params["objective.kind"] == "dynamicpo-dmpo"
    drawn = set(runs["dynamic"].data.metrics)
    for part in ("boundary_fraction", "violation_rate", "drift", "margin"):
        assert any(part in name for name in drawn), part


def test_a_run_says_what_it_read_what_it_was_told_and_where_it_ran(
    project: Path, client: Any, lake: LakeStorage
) -> None:
    experiment = client.get_experiment_by_name("borderline/shop")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    read = {entry.dataset.name: entry.dataset.digest for entry in runs["dmpo"].inputs.dataset_inputs}
    policy = lake.require("preference_policies", ("shop", "dmpo"))
    assert read == {entry["asset"]: entry["data_version"] for entry in policy.manifest["inputs"]}
    assert json.loads(runs["dmpo"].inputs.dataset_inputs[0].dataset.profile)["num_rows"] > 0
    assert "predictions" in {entry.dataset.name for entry in runs["popularity"].inputs.dataset_inputs}
    searched = client.search_runs([experiment.experiment_id], f"dataset.digest = '{read['preference_rows']}'")
    assert {run.info.run_name for run in searched} == {"dmpo", "dynamic"}

    for name in ("dmpo", "popularity"):
        run_id = runs[name].info.run_id
        files = {file.path for file in client.list_artifacts(run_id)}
        assert files >= {"experiment.yaml", "environment.txt", "report.md"}
        logged = yaml.safe_load(mlflow_text(client, run_id, "experiment.yaml"))
        written = yaml.safe_load((project / "experiments" / f"{name}.yaml").read_text())
        assert EXPERIMENT.validate_python(logged) == EXPERIMENT.validate_python(written)
        assert f"mlflow=={version('mlflow')}" in mlflow_text(client, run_id, "environment.txt").splitlines()
    assert "curves.png" in {file.path for file in client.list_artifacts(runs["dmpo"].info.run_id)}
    for measured in ("train_seconds", "total_seconds", "examples_per_s", "train_peak_bytes", "score_ms_per_user"):
        assert runs["dmpo"].data.metrics[measured] > 0, measured
    assert runs["dmpo"].data.metrics["total_seconds"] > runs["dmpo"].data.metrics["train_seconds"]


def mlflow_text(client: Any, run_id: str, name: str) -> str:
    return Path(client.download_artifacts(run_id, name)).read_text(encoding="utf-8")


def test_dagster_and_mlflow_link_to_each_other(client: Any, home: Path, lake: LakeStorage) -> None:
    trained = json.loads(lake.require("preference_policies", ("shop", "dmpo")).path("run.json").read_text())
    run = client.get_run(trained["mlflow_run_id"])
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        dagster_run = instance.get_run_by_id(run.data.tags["dagster.run_id"])
        assert dagster_run is not None
        assert dagster_run.tags["mlflow/run_id"] == run.info.run_id
    page = run.data.tags["dagster.run_url"]
    assert page == f"http://127.0.0.1:3000/runs/{dagster_run.run_id}"
    assert f"]({page})" in run.data.tags["mlflow.note.content"], "a description can be clicked, a tag cannot"
    champion = client.get_model_version_by_alias("borderline-shop", "champion")
    assert f"/runs/{champion.tags['dagster.run_id']})" in champion.description


def test_the_champion_is_the_best_on_validation_and_carries_its_lineage(client: Any, lake: LakeStorage) -> None:
    scores = {}
    for name in ("sft", "dmpo", "dynamic"):
        table = lake.require("metrics", ("shop", name)).table()
        chosen = table.filter((pl.col("split") == "validation") & (pl.col("metric") == "ndcg_at_10_full"))
        scores[name] = chosen["value"].mean()
    champion = client.get_model_version_by_alias("borderline-shop", "champion")
    assert champion.tags["experiment"] == max(sorted(scores), key=lambda name: scores[name])
    for tag in (
        "seed",
        "dagster.run_id",
        "policy",
        "table.histories",
        "table.raw_interactions",
        "metric.ndcg_at_10_full",
    ):
        assert champion.tags[tag]


def test_the_champion_answers_in_a_process_that_never_saw_the_project(
    home: Path, client: Any, lake: LakeStorage
) -> None:
    catalogue = lake.require("items", ("shop",)).table()
    known = catalogue["item"].head(3).to_list()
    code = f"""
import json, mlflow, pandas
mlflow.set_tracking_uri("sqlite:///{home / "mlflow.db"}")
model = mlflow.pyfunc.load_model("models:/borderline-shop@champion")
histories = [{known!r}, [], ["no such item"], None]
frame = pandas.DataFrame({{"history": histories}}, index=[7, 5, 3, 1])
answers = model.predict(frame, params={{"k": 5}})
assert answers.index.tolist() == [7, 5, 3, 1]
numbers = pandas.DataFrame({{"history": [[int(item.lstrip("f")) for item in {known!r}]]}})
assert len(model.predict(numbers, params={{"k": 5}})["items"][0]) == 5
print(json.dumps(answers.to_dict("records")))
"""
    bare = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "DAGSTER_HOME")}
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**bare, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    answers = json.loads(result.stdout.splitlines()[-1])
    titles = dict(catalogue.select("item", "title").iter_rows())
    for answer in answers:
        assert len(set(answer["items"])) == 5
        assert answer["titles"] == [titles[item] for item in answer["items"]]
        assert answer["scores"] == sorted(answer["scores"], reverse=True)
    assert not set(answers[0]["items"]) & set(known)
    assert answers[1] == answers[2] == answers[3]  # nothing is known of either user


def test_a_changed_experiment_computes_only_what_depends_on_it(project: Path, home: Path, first: object) -> None:
    path = project / "experiments" / "dynamic.yaml"
    before = path.read_text(encoding="utf-8")
    try:
        path.write_text(before.replace("beta: 1.0", "beta: 0.5"), encoding="utf-8")
        again = borderline_in(project, home)("run", "--dataset", "shop", "--experiments", EXPERIMENTS)
    finally:
        path.write_text(before, encoding="utf-8")
    assert again.returncode == 0, again.stderr
    made = {
        line.split("  ", 1)[1].split()[0]
        for line in again.stderr.splitlines()
        if " of shop" in line and not line.endswith("reused")
    }
    assert made == {"preference_policies", "predictions", "metrics", "registered_models", "leaderboard", "promotion"}


def test_a_person_overrules_and_goes_back_and_the_history_says_why(
    project: Path, home: Path, client: Any, lake: LakeStorage
) -> None:
    borderline = borderline_in(project, home)

    def champion() -> str:
        return str(client.get_model_version_by_alias("borderline-shop", "champion").version)

    before = champion()
    versions = client.search_model_versions("name = 'borderline-shop'")
    other = str(max(int(v.version) for v in versions if v.tags["experiment"] == "dynamic"))  # of a file that is no more
    assert other != before
    overruled = borderline("promote", "--dataset", "shop", "--version", other, "--reason", "a campaign")
    assert overruled.returncode == 0, overruled.stderr
    assert f"champion of shop: version {other}" in overruled.stdout
    back = borderline("rollback", "--dataset", "shop", "--reason", "it is over")
    assert back.returncode == 0, back.stderr
    assert champion() == before
    borderline("promote", "--dataset", "shop", "--version", other, "--reason", "another campaign")
    again = borderline("run", "--dataset", "shop", "--experiments", EXPERIMENTS)
    assert again.returncode == 0, again.stderr
    assert (
        f"version {other}: " in again.stderr
    )  # a contender came back; the champion is no current policy: scored again
    history = [
        json.loads(line) for line in lake.require("promotion", ("shop",)).path("history.jsonl").read_text().splitlines()
    ]
    assert [entry["outcome"] for entry in history[-4:-1]] == ["overridden", "rolled back", "overridden"]
    assert [entry["champion"] for entry in history[-4:-1]] == [other, before, other]
    assert "a campaign" in history[-4]["reason"]
    last = history[-1]
    assert last["previous"] == other
    assert last["champion"] == champion()
    assert "the champion" in last["gates"]["values"]


def test_the_logged_model_has_a_signature_an_example_and_its_metrics(client: Any, lake: LakeStorage) -> None:
    champion = client.get_model_version_by_alias("borderline-shop", "champion")
    model = client.get_logged_model(champion.source.removeprefix("models:/"))
    measured = lake.require("metrics", ("shop", champion.tags["experiment"])).manifest["metadata"]
    of_model = {metric.key: metric.value for metric in model.metrics}
    for name in METRICS:
        assert of_model[name] == measured[name]["value"]
    assert model.params["optimizer.kind"] == "adamw"
    folder = Path(unquote(urlparse(model.artifact_location).path))
    described = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
    assert json.loads(described["signature"]["inputs"])[0]["name"] == "history"
    assert described["saved_input_example_info"]["artifact_path"] == "input_example.json"


@pytest.mark.slow
def test_the_champion_answers_over_http(home: Path, lake: LakeStorage, tmp_path: Path) -> None:
    """`mlflow models serve` as people use it; unknown items and empty histories get what most users took."""
    known = lake.require("items", ("shop",)).table()["item"].head(3).to_list()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", "models:/borderline-shop@champion"]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    bare = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "DAGSTER_HOME")}
    settings = {
        "MLFLOW_TRACKING_URI": f"sqlite:///{home / 'mlflow.db'}",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    }
    settings |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}  # it calls uvicorn by name
    with (tmp_path / "serve.log").open("wb") as log:
        server = subprocess.Popen(
            command,
            env={**bare, **settings},
            cwd=tmp_path,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 240
        while not is_up(f"http://127.0.0.1:{port}/ping"):
            assert server.poll() is None, (tmp_path / "serve.log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "serve.log").read_text()
            time.sleep(0.5)
        histories = [known, [], ["no such item"], [*known, "no such item"], None]
        answers = asked(
            port, {"dataframe_split": {"columns": ["history"], "data": [[h] for h in histories]}, "params": {"k": 5}}
        )
        assert [len(answer["items"]) for answer in answers] == [5] * 5
        assert answers[1] == answers[2] == answers[4]
        assert answers[0] == answers[3], "what is unknown is passed over"
        assert not set(answers[0]["items"]) & set(known)
        assert len(asked(port, {"dataframe_records": [{"history": known}]})[0]["items"]) == 10
        with pytest.raises(urllib.error.HTTPError) as refused:
            asked(port, {"dataframe_split": {"columns": ["history"], "data": [[known]]}, "params": {"k": -1}})
        assert 400 <= refused.value.code < 500
        assert "k must be 0 or more" in refused.value.read().decode()
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)


def is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status == 200
    except OSError:
        return False


def asked(port: int, body: dict[str, Any]) -> list[dict[str, Any]]:
    url, header = f"http://127.0.0.1:{port}/invocations", {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), header), timeout=60) as response:
        return json.load(response)["predictions"]


def test_a_changed_leaderboard_file_is_refused_in_one_line(project: Path, home: Path, lake: LakeStorage) -> None:
    path = lake.require("leaderboard", ("shop",)).path("test.json")
    before = path.read_bytes()
    try:
        path.write_bytes(before.replace(b"0.", b"1.", 1))
        result = borderline_in(project, home)("leaderboard", "--dataset", "shop")
    finally:
        path.write_bytes(before)
    assert result.returncode == 1
    assert "is not what was published" in result.stderr
    assert "Traceback" not in result.stderr


def test_what_somebody_removed_from_the_home_is_made_again(
    project: Path, home: Path, client: Any, lake: LakeStorage
) -> None:
    (home / "warehouse.duckdb").unlink()
    shutil.rmtree(home / "mlartifacts")
    before = json.loads(lake.require("registered_models", ("shop", "sft")).path("registration.json").read_text())
    again = borderline_in(project, home)("run", "--dataset", "shop", "--experiments", EXPERIMENTS)
    assert again.returncode == 0, again.stderr
    assert (home / "warehouse.duckdb").exists()
    after = json.loads(lake.require("registered_models", ("shop", "sft")).path("registration.json").read_text())
    assert int(after["version"]) > int(before["version"])
    folder = client.get_model_version_download_uri("borderline-shop", after["version"]).removeprefix("file://")
    assert (Path(folder) / "MLmodel").exists()


def test_a_moved_home_is_refused_before_anything_is_computed(project: Path, home: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(home, moved, symlinks=True)
    result = borderline_in(project, moved)("run", "--dataset", "shop", "--experiments", "sft")
    assert result.returncode == 2
    assert str(home) in result.stderr
    assert str(moved) in result.stderr
    assert "remove mlflow.db and mlartifacts/" in result.stderr
    (moved / "mlflow.db").unlink()
    shutil.rmtree(moved / "mlartifacts")
    # A process of its own, as for a person: in this one MLflow holds the file that was removed.
    process = start(project, moved, "run", "--dataset", "shop", "--experiments", "sft")
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert "sft_policies of shop|sft: unchanged, reused" in said
    with duckdb.connect(str(moved / "warehouse.duckdb"), read_only=True) as connection:
        (sql,) = connection.execute("SELECT sql FROM duckdb_views() WHERE view_name = 'histories'").fetchone() or ("",)
    assert str(moved) in sql
    assert str(home) not in sql


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["promote", "--dataset", "shop", "--version", "999", "--reason", "why not"], "version 999 of borderline-shop"),
        (["promote", "--dataset", "shop", "--version", "1", "--reason", " "], "--reason must say why"),
        (["lineage", "--dataset", "shop", "@chief"], "borderline-shop has no version @chief. Accepted: 1"),
        (
            ["lineage", "--dataset", "shop", "histories/sft"],
            "shop has no 'histories/sft' yet. Did you mean 'histories'? Accepted: histories.",
        ),
    ],
)
def test_a_decision_that_cannot_be_carried_out_moves_nothing(
    project: Path, home: Path, client: Any, arguments: list[str], said: str
) -> None:
    before = client.get_model_version_by_alias("borderline-shop", "champion").version
    result = borderline_in(project, home)(*arguments)
    assert result.returncode != 0
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert client.get_model_version_by_alias("borderline-shop", "champion").version == before


def test_lineage_goes_up_to_the_raw_tables_and_down_to_the_versions(
    project: Path, home: Path, first: object, lake: LakeStorage
) -> None:
    borderline = borderline_in(project, home)
    up = borderline("lineage", "--dataset", "shop", "@champion").stdout
    for name in ("histories of shop", "raw_interactions of shop", lake.require("items", ("shop",)).data_version):
        assert name in up
    down = borderline("lineage", "--dataset", "shop", "mined_negatives/sft").stdout
    assert "registered versions made from it:" in down
    assert "dmpo" in down


def test_our_results_stand_beside_published_ones_and_what_is_not_here_is_named(
    project: Path, home: Path, lake: LakeStorage, client: Any
) -> None:
    (project / "studies").mkdir(exist_ok=True)
    (project / "datasets" / "absent.yaml").write_text("source: {kind: movielens, release: 100k}\n")
    (project / "experiments" / "alone.yaml").write_text((project / "experiments" / "sft.yaml").read_text())
    (project / "studies" / "papers.yaml").write_text(
        "kind: published\nquestion: How good?\nsources: {Paper: somewhere}\nbenchmarks:\n"
        "  absent: {experiments: [sft]}\n"
        "  shop: {experiments: [dmpo, alone, popularity], published: "
        "[{model: Theirs, source: Paper, metrics: {ndcg_at_10_full: 0.1}}]}\n"
    )
    result = borderline_in(project, home)("study", "papers")
    assert result.returncode == 0, result.stderr
    assert "data set 1 of 2 (absent) is passed over: " in result.stderr
    assert ("shop", "alone") not in lake.partitions("mined_negatives")  # nothing starts from it, so nothing is mined
    for text in (
        "## shop, test",
        "| dmpo | ours |",
        "| alone | ours |",
        "| Theirs | Paper | 0.1000 |",
        "not here: sft on absent",
    ):
        assert text in result.stdout, text
    report = lake.require("paper_comparison", ("papers",))
    assert "Theirs" in report.path("report.html").read_text()
    plain = json.loads(report.path("report.json").read_text())
    assert [part["split"] for part in plain["benchmarks"]] == ["test", "validation"]
    experiment = client.get_experiment_by_name("borderline/shop")
    (parent,) = client.search_runs([experiment.experiment_id], "tags.kind = 'study' AND tags.study = 'papers'")
    below = client.search_runs([experiment.experiment_id], f"tags.mlflow.parentRunId = '{parent.info.run_id}'")
    assert {run.info.run_name for run in below} == {"dmpo", "alone", "popularity"}
    assert "report.html" in {file.path for file in client.list_artifacts(parent.info.run_id)}
    refused = borderline_in(project, home)("study", "papers", "--dataset", "elsewhere")
    assert refused.returncode == 2
    assert "--dataset must be one of the study papers, got 'elsewhere'. Accepted: absent, shop." in refused.stderr
