"""What a person gets wrong at the command line: one line, exit code 2, nothing computed."""

from pathlib import Path

import pytest

from tests.pipeline.shop import borderline_in, start, write_project

CASES = [
    (["run", "-d", "shopp", "-e", "sft"], "unknown data set 'shopp'. Did you mean 'shop'?"),
    (["run", "-d", "shop", "-e", "dmpoo"], "unknown experiment 'dmpoo'. Did you mean 'dmpo'?"),
    (["run", "-d", "shop", "-e", " , "], "--experiments must name at least one experiment"),
    (["run", "-d", "shop", "-e", "sft", "--device", "tpu"], "--device must be auto, cpu or cuda, got 'tpu'"),
    (["run", "-d", "films", "-e", "sft"], "ml-100k.zip"),
    (["run", "-d", "typo", "-e", "sft"], "typo.yaml:2: unknown key 'cleaning.k_cor'. Did you mean 'k_core'?"),
    (["leaderboard", "-d", "shop"], "leaderboard of shop is not materialised. Run: borderline run --dataset shop"),
]


@pytest.mark.parametrize(("arguments", "said"), CASES, ids=[" ".join(arguments) for arguments, _ in CASES])
def test_a_mistake_is_one_line_and_nothing_is_computed(
    project: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    (project / "datasets" / "films.yaml").write_text("source: {kind: movielens, release: 100k}\n")
    (project / "datasets" / "typo.yaml").write_text("source: {kind: demo}\ncleaning: {k_cor: 5}\n")
    result = borderline_in(project, tmp_path / "home")(*arguments)
    assert result.returncode == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "home" / "lake").exists()


def test_a_mistake_in_a_terminal_is_one_line_too(project: Path, tmp_path: Path) -> None:
    """In a process of its own: no library adds a warning, and the exit code is the process's."""
    process = start(project, tmp_path / "home", "run", "-d", "shop", "-e", "dmpoo")
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (2, "")
    assert err.startswith("borderline: unknown experiment 'dmpoo'")
    assert err.count("\n") == 1


def test_the_refusal_of_a_missing_file_says_where_to_get_it_and_where_to_put_it(project: Path, tmp_path: Path) -> None:
    (project / "datasets" / "films.yaml").write_text("source: {kind: movielens, release: 100k}\n")
    result = borderline_in(project, tmp_path / "home")("run", "-d", "films", "-e", "sft")
    assert "https://grouplens.org/datasets/movielens/100k/" in result.stderr
    assert str(project / "raw" / "films") in result.stderr


def test_datasets_are_listed_with_what_is_missing(project: Path, tmp_path: Path) -> None:
    (project / "datasets" / "films.yaml").write_text("source: {kind: movielens, release: 100k}\n")
    (project / "datasets" / "typo.yaml").unlink(missing_ok=True)
    borderline = borderline_in(project, tmp_path / "home")
    listed = borderline("datasets").stdout
    assert "ready" in listed
    assert "borderline datasets show films" in listed
    shown = borderline("datasets", "show", "films").stdout
    assert "https://grouplens.org/datasets/movielens/100k/" in shown
    assert "100,000 interactions" in shown


def test_a_project_without_its_floors_is_told_what_to_write(tmp_path: Path) -> None:
    write_project(tmp_path)
    (tmp_path / "experiments" / "popularity.yaml").unlink()
    result = borderline_in(tmp_path, tmp_path / "home")("run", "-d", "shop", "-e", "sft")
    assert result.returncode == 2
    assert "experiments/popularity.yaml is missing. Write it: two lines, `kind: baseline`" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_home_that_cannot_be_written_is_one_line(project: Path, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file where the folder should be")
    result = borderline_in(project, tmp_path / "home")("run", "-d", "shop", "-e", "sft")
    assert result.returncode == 1
    assert "home" in result.stderr
    assert result.stderr.count("\n") == 1
