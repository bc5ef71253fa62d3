"""Two data sets that nobody wrote code for: a user's own log, and a benchmark whose test part is not here."""

import json
import random
from pathlib import Path

import polars as pl
import pytest

from tests.pipeline.shop import Borderline, borderline_in, lake_of, write_project

OWN = """\
source:
  kind: tabular
  path: "*.csv"
  user: member
  item: film
  time: {column: when, format: milliseconds}
  weight: {column: stars, minimum: 1, maximum: 5}
  items: {path: films.jsonl, item: id, title: name}
cleaning: {k_core: 2}
candidates: {n: 5}
"""
BENCHMARK = """\
source:
  kind: presplit
  rows: {kind: prompts, train: train.json, validation: val.json, test: test.json, items: names.txt}
  title: A benchmark
  page: https://example.org
  terms: none
split: {kind: published, train: rows}
cleaning: {k_core: 1, repeats: all}
candidates: {draw: published, n: 10}
"""


@pytest.fixture(scope="module")
def borderline(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Borderline:
    folder = tmp_path_factory.mktemp("own")
    write_project(folder)
    (folder / "datasets" / "own.yaml").write_text(OWN)
    (folder / "datasets" / "benchmark.yaml").write_text(BENCHMARK)
    write_log(folder / "raw" / "own")
    write_benchmark(folder / "raw" / "benchmark")
    return borderline_in(folder, home)


def write_log(folder: Path) -> None:
    chance = random.Random(1)
    folder.mkdir(parents=True)
    for part in ("a", "b"):
        rows = [
            f"{part}{user},{film},4,{1_700_000_000_000 + 60_000 * place}"
            for user in range(80)
            for place, film in enumerate(chance.sample(range(40), 8))
        ]
        (folder / f"{part}.csv").write_text("\n".join(["member,film,stars,when", *rows, f"{part}0,7,six,0", ""]))
    (folder / "films.jsonl").write_text(
        "\n".join(json.dumps({"id": film, "name": f"Film {film}"}) for film in range(40))
    )


def write_benchmark(folder: Path) -> None:
    chance = random.Random(2)
    folder.mkdir(parents=True)
    titles = [f"Title {item}" for item in range(60)]
    (folder / "names.txt").write_text("".join(f"{item}::{title}\n" for item, title in enumerate(titles)))
    for name, users in (("train", 150), ("val", 60)):
        prompts = []
        for _ in range(users):
            taken = chance.sample(titles, 8)
            untouched = [title for title in titles if title not in taken]
            for place in range(3, 8):
                listed = [taken[place], *chance.sample(untouched, 9)]
                chance.shuffle(listed)
                row = {"historyList": "::".join(taken[:place]), "itemList": listed, "trueSelection": taken[place]}
                prompts.append(row)
        (folder / f"{name}.json").write_text(json.dumps(prompts, indent=1))


def rows_of(home: Path, asset: str, dataset: str) -> pl.DataFrame:
    return lake_of(home).require(asset, (dataset,)).table()


def test_an_own_log_goes_from_its_files_to_candidate_sets(borderline: Borderline, home: Path) -> None:
    result = borderline("ingest", "--dataset", "own")
    assert result.returncode == 0, result.stderr
    quarantine = rows_of(home, "quarantine", "own")
    assert quarantine.select("file", "line").rows() == [("a.csv", 642), ("b.csv", 642)]
    assert rows_of(home, "interactions", "own").height == 2 * 80 * 8
    assert rows_of(home, "items", "own")["title"].to_list() == [f"Film {film}" for film in range(40)]
    histories = rows_of(home, "histories", "own")
    assert histories.filter(pl.col("split") == "test").height == 160
    assert rows_of(home, "candidate_sets", "own").height == 320


def test_a_benchmark_without_its_test_part_is_compared_on_validation(borderline: Borderline, home: Path) -> None:
    result = borderline("run", "--dataset", "benchmark", "--experiments", "popularity")
    assert result.returncode == 0, result.stderr
    assert (
        "benchmark, test: no rows; the publisher's test part is not in the raw folder. On validation:" in result.stdout
    )
    test = json.loads(borderline("leaderboard", "--dataset", "benchmark", "--format", "json").stdout)
    assert test == {"dataset": "benchmark", "split": "test", "rows": []}
    validation = borderline("leaderboard", "--dataset", "benchmark", "--format", "json", "--split", "validation").stdout
    metrics = {row["experiment"]: row["metrics"] for row in json.loads(validation)["rows"]}
    assert 0.03 < metrics["random"]["hit_ratio_at_1_of_10"]["value"] < 0.2
    counts = rows_of(home, "histories", "benchmark").group_by("split").len().sort("split")
    assert counts.rows() == [("train", 750), ("validation", 300)]
    assert rows_of(home, "candidate_sets", "benchmark")["candidates"].list.len().unique().to_list() == [10]
