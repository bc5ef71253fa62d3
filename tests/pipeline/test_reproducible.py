"""The same log, its rows in another order: the same leaderboard to the last digit."""

import json
import random
import zipfile
from pathlib import Path

from tests.pipeline.shop import borderline_in, lake_of, write_project

GENRES = 19


def write_movielens(path: Path, seed: int) -> None:
    """A log of 120 users in the layout of MovieLens-100K; `seed` decides the order of its rows and nothing else."""
    source = random.Random(0)
    ratings = []
    for user in range(1, 121):
        start = source.randrange(60)
        for step in range(15):
            item = 1 + (start + step * source.choice([1, 1, 2])) % 60
            second = 880_000_000 + user * 10_000 + step // 3  # three at a time share their second
            ratings.append(f"{user}\t{item}\t{source.randint(1, 5)}\t{second}")
    random.Random(seed).shuffle(ratings)
    items = [
        f"{i}|Film {i} (19{i:02d})|01-Jan-1995||http://x/|{'|'.join(['0'] * (GENRES - 1) + ['1'])}"
        for i in range(1, 61)
    ]
    random.Random(seed).shuffle(items)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ml-100k/u.data", "\n".join(ratings) + "\n")
        archive.writestr("ml-100k/u.item", ("\n".join(items) + "\n").encode("iso-8859-1"))


def test_the_order_of_the_raw_rows_changes_no_digit(tmp_path: Path) -> None:
    boards, versions = [], []
    for seed in (1, 2):
        project, home = tmp_path / f"project{seed}", tmp_path / f"home{seed}"
        write_project(project)
        (project / "datasets" / "ml-100k.yaml").write_text(
            "source: {kind: movielens, release: 100k}\ncleaning: {ties: hash}\n"
            "histories: {max_length: 12}\ncandidates: {n: 20}\n"
        )
        folder = project / "raw" / "ml-100k"
        folder.mkdir(parents=True)
        write_movielens(folder / "ml-100k.zip", seed)
        borderline = borderline_in(project, home)
        result = borderline("run", "--dataset", "ml-100k", "--experiments", "dynamic")
        assert result.returncode == 0, result.stderr
        board = json.loads(borderline("leaderboard", "--dataset", "ml-100k", "--format", "json").stdout)
        costs = board.pop("costs")  # measured on a clock
        board.pop("pareto_front")
        assert costs["dynamic"]["total_seconds"] > costs["dynamic"]["train_seconds"] > 0
        boards.append(board)
        versions.append(lake_of(home).require("leaderboard", ("ml-100k",)).data_version)
    assert boards[0] == boards[1]
    assert versions[0] == versions[1], "what a run cost is no part of what it found"
    assert {row["experiment"] for row in boards[0]["rows"]} == {"sft", "dynamic", "popularity", "random"}
