"""`borderline ingest` on files in a published layout: tables, and nothing that is trained."""

import zipfile
from pathlib import Path

import polars as pl
import pytest

from tests.pipeline.shop import borderline_in, write_project

KEY = "films"
FILE = """\
source: {kind: movielens, release: latest-small}
folder: shared
cleaning: {k_core: 2}
candidates: {n: 5}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    write_project(folder)
    (folder / "datasets" / f"{KEY}.yaml").write_text(FILE)
    raw = folder / "raw" / "shared"
    raw.mkdir(parents=True)
    ratings = [
        f"{user},{1 + (user * 7 + n * n) % 40},{1 + n % 5}.0,{1_000_000_000 + 60 * n + user}"
        for user in range(1, 41)
        for n in range(12)
    ]
    with zipfile.ZipFile(raw / "ml-latest-small.zip", "w") as archive:
        archive.writestr(
            "ml-latest-small/ratings.csv", "\n".join(["userId,movieId,rating,timestamp", *ratings, "x,1,5"])
        )
        films = [f'{film},"Film {film}, The (1999)",Drama' for film in range(1, 41)]
        archive.writestr("ml-latest-small/movies.csv", "\n".join(["movieId,title,genres", *films]))
    return folder


def test_ingest_makes_every_table_and_shows_the_publishers_counts(project: Path, tmp_path: Path) -> None:
    borderline = borderline_in(project, tmp_path / "home")
    done = borderline("ingest", "--dataset", KEY)
    assert done.returncode == 0, done.stderr
    assert "| interactions | 100836 | 480 |" in done.stdout
    lake = tmp_path / "home" / "lake"
    quarantine = pl.read_parquet(lake / "quarantine" / KEY / "current" / "quarantine.parquet", glob=False)
    assert quarantine.select("line", "reason").rows() == [(482, "must have 4 fields, got 3")]
    for table in ("raw_interactions", "raw_items", "interactions", "items", "histories", "candidate_sets"):
        assert (lake / table / KEY / "current" / f"{table}.parquet").is_file()
        assert table in done.stdout
    assert not list(lake.glob("*policies"))

    again = borderline("ingest", "--dataset", KEY)
    assert "raw_items of films: unchanged, reused" in again.stderr


def test_missing_files_are_said_before_anything_is_computed(project: Path, tmp_path: Path) -> None:
    (project / "datasets" / "missing.yaml").write_text("source: {kind: movielens, release: 1m}\n")
    done = borderline_in(project, tmp_path / "home")("ingest", "--dataset", "missing")
    assert done.returncode == 2
    assert done.stderr.startswith("borderline: MovieLens 1M must have ml-1m.zip or ratings.dat and movies.dat")
    assert not (tmp_path / "home" / "lake").exists()
