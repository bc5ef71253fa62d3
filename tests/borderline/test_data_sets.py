"""What `borderline datasets` and `borderline datasets show` say, and that they read nothing but names and sizes."""

from pathlib import Path

import pytest

from assets.sources import files, source_card
from borderline.data_sets import listed, shown
from contracts.files.load import load_dataset, raw_folder
from contracts.files.names import dataset_keys, project_folder
from contracts.files.yaml_lines import ConfigurationError


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BORDERLINE_RAW", str(tmp_path / "raw"))
    return tmp_path / "raw"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "project" / "datasets").mkdir(parents=True)
    monkeypatch.setenv("BORDERLINE_PROJECT", str(tmp_path / "project"))
    return tmp_path / "project"


def put(path: Path, n_bytes: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * n_bytes)


def line_of(key: str) -> str:
    return next(line for line in listed() if line.split()[0] == key)


def test_every_data_set_has_a_line_and_missing_files_say_what_to_ask(raw: Path) -> None:
    assert [line.split()[0] for line in listed()] == dataset_keys()
    assert line_of("demo").endswith("ready")
    assert line_of("ml-1m").endswith("files missing: borderline datasets show ml-1m")


def test_files_that_are_here_are_named_with_their_size_and_never_read(
    raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(raw / "ml-1m" / "ratings.dat", 24_594_131)
    put(raw / "ml-1m" / "movies.dat", 171)

    def refuse(path: Path) -> str:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr(files, "sha256_of", refuse)
    assert line_of("ml-1m").endswith("ready: movies.dat (171 bytes), ratings.dat (24.6 MB)")
    assert "ready: movies.dat (171 bytes), ratings.dat (24.6 MB)" in shown("ml-1m")


def test_a_broken_archive_is_a_line_and_not_an_end(raw: Path) -> None:
    put(raw / "ml-100k" / "ml-100k.zip", 100)
    assert "must be a zip archive" in line_of("ml-100k")
    assert line_of("ml-1m")


def test_a_broken_file_of_a_data_set_is_a_line_and_not_an_end(project: Path, raw: Path) -> None:
    (project / "datasets" / "good.yaml").write_text("source: {kind: demo}\n")
    (project / "datasets" / "bad.yaml").write_text("source: {kind: movielens, release: 2m}\n")
    assert "release must be" in line_of("bad")
    assert line_of("good").endswith("ready")


def test_show_says_what_to_download_from_where_to_where_and_what_was_chosen(raw: Path) -> None:
    text = shown("ml-1m")
    for fact in (
        "ml-1m.zip or ratings.dat and movies.dat (unpacked)",
        "https://grouplens.org/datasets/movielens/1m/",
        str(raw / "ml-1m"),
        "files missing",
        "no redistribution",
        "1,000,209 interactions, 6,040 users",
        "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
        "k_core: 5           # every user has 20 ratings",
    ):
        assert fact in text, fact


def test_show_of_a_part_says_that_it_is_one_and_where_its_folder_is(raw: Path) -> None:
    text = shown("ml-1m-ge4")
    assert "Not the release" in text
    assert str(raw / "ml-1m") in text
    assert "1,000,209" not in text


def test_show_of_an_unknown_data_set_suggests_one() -> None:
    with pytest.raises(ConfigurationError, match="unknown data set 'ml-1n'"):
        shown("ml-1n")


@pytest.mark.parametrize("folder", ["..", "../..", "/etc", "a/b", ""])
def test_a_folder_cannot_leave_the_raw_folder(project: Path, folder: str) -> None:
    (project / "datasets" / "mine.yaml").write_text(f"folder: '{folder}'\nsource: {{kind: demo}}\n")
    with pytest.raises(ConfigurationError, match=r"mine\.yaml:1: folder: must be one plain name"):
        load_dataset("mine")


def test_the_folder_of_a_data_set_is_its_key_unless_it_names_another(project: Path, raw: Path) -> None:
    (project / "datasets" / "mine.yaml").write_text("folder: shared\nsource: {kind: demo}\n")
    (project / "datasets" / "plain.yaml").write_text("source: {kind: demo}\n")
    assert raw_folder("mine") == raw / "shared"
    assert raw_folder("plain") == raw / "plain"


@pytest.mark.parametrize("key", dataset_keys())
def test_every_data_set_that_ships_says_what_it_is_its_terms_and_how_to_run_it(key: str) -> None:
    config = load_dataset(key)
    card = source_card(config.source)
    assert card.terms
    assert card.files or key == "demo"
    header = (project_folder() / "datasets" / f"{key}.yaml").read_text(encoding="utf-8").split("\nsource:")[0]
    assert f" --dataset {key}" in header
