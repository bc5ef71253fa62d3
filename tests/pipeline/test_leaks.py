"""A log whose time order is a sort by item: refused, run all the same when a person says so, and marked for good."""

import csv
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from assets.lake.leaks import accepted_leaks
from tests.pipeline.shop import Borderline, borderline_in, client_of, lake_of, write_project

SORTED = """\
source:
  kind: tabular
  path: log.csv
  user: user
  item: item
  time: {column: at, format: seconds}
histories: {max_length: 20}
"""


def write_sorted_log(folder: Path) -> None:
    """Each user's items in the order of their ids, at times that only count the rows."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    with (folder / "log.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["user", "item", "at"])
        for user in range(150):
            for nth, item in enumerate(np.sort(random.choice(90, 12, replace=False))):
                writer.writerow([user, item, 1_500_000_000 + 60 * nth])


@pytest.fixture(scope="module")
def borderline(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Borderline:
    project = tmp_path_factory.mktemp("project")
    write_project(project)
    (project / "datasets" / "sorted.yaml").write_text(SORTED, encoding="utf-8")
    write_sorted_log(project / "raw" / "sorted")
    for key, draw in (("benchmark", "published"), ("redrawn", "uniform")):
        (project / "datasets" / f"{key}.yaml").write_text(BENCHMARK % draw, encoding="utf-8")
        write_benchmark(project / "raw" / key)
    return borderline_in(project, home)


BENCHMARK = """\
source:
  kind: presplit
  rows: {kind: prompts, train: train.json, validation: val.json, test: test.json, items: names.txt}
  title: A benchmark
  page: https://example.org
  terms: none
split: {kind: published, train: rows}
cleaning: {k_core: 1, repeats: all}
histories: {max_length: 12}
candidates: {draw: %s, n: 8}
"""


def write_benchmark(folder: Path) -> None:
    """Prompts as some papers publish them: sorted by a name, with lists of a generator that is seeded by the target."""
    random = np.random.default_rng(1)
    names = [f"Artist {number:02}" for number in range(60)]
    train, validation = [], []
    for _ in range(200):
        items = [names[item] for item in np.sort(random.choice(60, 8, replace=False))]
        for position in range(3, 8):
            own = np.random.default_rng(names.index(items[position]))
            others = [name for name in names if name != items[position]]
            lists = own.permutation([items[position], *own.choice(others, 7, replace=False)]).tolist()
            row = {"historyList": "::".join(items[:position]), "itemList": lists, "trueSelection": items[position]}
            (validation if position == 7 else train).append(row)
    folder.mkdir(parents=True)
    (folder / "train.json").write_text(json.dumps(train), encoding="utf-8")
    (folder / "val.json").write_text(json.dumps(validation), encoding="utf-8")
    lines = [f"{number}::{name}" for number, name in zip(random.permutation(60), names, strict=True)]
    (folder / "names.txt").write_text("\n".join(lines), encoding="utf-8")


@pytest.fixture(scope="module")
def refused(borderline: Borderline) -> subprocess.CompletedProcess[str]:
    return borderline("run", "--dataset", "sorted", "--experiments", "sft")


@pytest.fixture(scope="module")
def accepted(borderline: Borderline, refused: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    return borderline("run", "--dataset", "sorted", "--experiments", "sft", "--accept-leaks")


def test_a_sorted_log_is_refused_in_plain_words(refused: subprocess.CompletedProcess[str], home: Path) -> None:
    assert refused.returncode != 0
    assert "a user's order is a sort by item id, not one in time" in refused.stderr
    assert "--accept-leaks" in refused.stderr


@pytest.mark.parametrize(("key", "names_lists"), [("benchmark", True), ("redrawn", False)])
def test_a_benchmark_with_both_faults_is_refused_for_both_and_redrawn_lists_for_one(
    borderline: Borderline, key: str, names_lists: bool
) -> None:
    said = borderline("run", "--dataset", key, "--experiments", "popularity").stderr
    assert "sorted by one order over all items, such as an id or a name, not by time" in said
    assert ("the negatives are drawn from the target" in said) == names_lists
    assert ("the position is drawn from the target" in said) == names_lists


def test_with_leaks_accepted_every_number_is_marked(accepted: subprocess.CompletedProcess[str]) -> None:
    assert accepted.returncode == 0, accepted.stderr
    head, _, table = accepted.stdout.partition("hit_ratio_at_1_of_20  ")
    assert "LEAKS ACCEPTED" in head
    assert "interactions.order_is_one_in_time" in head
    assert "candidate_sets.no_order_leads_to_the_target" in head
    numbers = [line for line in table.splitlines() if "[" in line]
    assert len(numbers) >= 3
    assert all(line.count("†") == line.count("[") for line in numbers)


def test_json_says_of_every_number_that_it_leaks(
    accepted: subprocess.CompletedProcess[str], borderline: Borderline
) -> None:
    board = json.loads(borderline("leaderboard", "--dataset", "sorted", "--format", "json").stdout)
    assert set(board["leaks"]) >= {"interactions.order_is_one_in_time"}
    assert all(number["leaky"] for row in board["rows"] for number in row["metrics"].values())
    rules = {rule["rule"]: rule["hit_ratio_at_1_of_20"] for rule in board["shortcuts"]}
    assert rules["next_id"] > 0.3


def test_manifests_runs_and_versions_say_which_leak_was_accepted_by_whom(
    accepted: subprocess.CompletedProcess[str], home: Path
) -> None:
    lake = lake_of(home)
    (leak,) = accepted_leaks(lake.require("interactions", ("sorted",)))
    assert leak.name == "interactions.order_is_one_in_time"
    for asset, partition in (("histories", ("sorted",)), ("metrics", ("sorted", "sft")), ("promotion", ("sorted",))):
        found = {one.name: one.run_id for one in accepted_leaks(lake.require(asset, partition))}
        assert found[leak.name] == leak.run_id, asset
    client = client_of(home)
    (experiment,) = [e for e in client.search_experiments() if e.name == "borderline/sorted"]
    runs = client.search_runs([experiment.experiment_id])
    assert {run.data.tags["leaks_accepted"] for run in runs} == {"true"}
    (version,) = client.search_model_versions("name = 'borderline-sorted'")
    assert leak.name in version.tags["leaks"]


def test_without_the_option_nothing_accepted_is_reused(
    accepted: subprocess.CompletedProcess[str], borderline: Borderline
) -> None:
    again = borderline("run", "--dataset", "sorted", "--experiments", "sft")
    assert again.returncode != 0
    assert "accepted and this run does not" in again.stderr
