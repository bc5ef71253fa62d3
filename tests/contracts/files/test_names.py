"""Which files are data sets, experiments and studies, and what the name of an experiment says of it."""

from pathlib import Path

import pytest

from contracts.files.experiments import previous_round
from contracts.files.names import (
    dataset_keys,
    existing,
    experiment_keys,
    misnamed_files,
    path_of,
    project_folder,
    round_before_last,
    source_of,
    study_keys,
    study_of,
    written_as,
)
from contracts.files.yaml_lines import ConfigurationError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with two experiments and a study, whose content nobody reads."""
    for name in ("experiments/sft.yaml", "experiments/beta0.5.yaml", "studies/grid.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("[")
    monkeypatch.setenv("BORDERLINE_PROJECT", str(tmp_path))
    return tmp_path


def test_the_project_is_the_folder_of_the_variable_or_the_checkout(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert project_folder() == folder
    monkeypatch.setenv("BORDERLINE_PROJECT", "")
    assert (project_folder() / "contracts" / "files" / "names.py").is_file()


def test_keys_are_the_names_of_files_sorted(folder: Path) -> None:
    assert (dataset_keys(), experiment_keys(), study_keys()) == ([], ["beta0.5", "sft"], ["grid"])


@pytest.mark.parametrize("name", ["Popular.yaml", "popular.yml", "popular.YAML", f"{'a' * 65}.yaml", "-a.yaml"])
def test_a_misnamed_file_has_no_key_and_is_found(folder: Path, name: str) -> None:
    (folder / "experiments" / name).write_text("[")
    assert experiment_keys() == ["beta0.5", "sft"]
    assert misnamed_files("experiments") == [name]


@pytest.mark.parametrize("name", ["Popular.yaml", "popular.yml"])
def test_a_file_that_is_passed_over_for_its_name_is_named(folder: Path, name: str) -> None:
    (folder / "experiments" / name).write_text("[")
    with pytest.raises(ConfigurationError, match=rf"{name} is passed over: rename it to popular.yaml"):
        existing("experiments", "experiment", "popular")


def test_an_unknown_name_is_refused_with_those_that_there_are(folder: Path) -> None:
    assert existing("experiments", "experiment", "sft") == folder / "experiments" / "sft.yaml"
    with pytest.raises(ConfigurationError, match=r"unknown experiment 'stf'\. Did you mean 'sft'\? .*: beta0\.5, sft"):
        existing("experiments", "experiment", "stf")
    with pytest.raises(ConfigurationError, match=r"unknown data set '\.\./demo'\. Accepted: none"):
        existing("datasets", "data set", "../demo")


def test_a_round_is_written_as_its_experiment(folder: Path) -> None:
    assert written_as("sft.round-12") == written_as("sft") == "sft"
    assert written_as("sft.round-") == "sft.round-"
    assert round_before_last("mine", 3) == "mine.round-1"
    assert round_before_last("mine.round-1", 2) == "mine.round-0"


@pytest.mark.parametrize(
    ("experiment", "study"),
    [
        ("sft", None),
        ("sft.round-0", None),
        ("beta0.5", None),
        ("beta0.5.round-1", None),
        ("grid.low-s0", "grid"),
        ("grid.low-s0.round-1", "grid"),
        ("gone.low-s0", "gone"),
        ("sft.low-s0", None),
    ],
)
def test_the_study_of_an_experiment_is_what_its_name_begins_with(
    folder: Path, experiment: str, study: str | None
) -> None:
    assert study_of(experiment) == study


def test_the_source_of_an_experiment_is_its_file_or_that_of_its_study(folder: Path) -> None:
    assert source_of("sft.round-0") == source_of("sft") == str(path_of("experiments", "sft"))
    assert source_of("grid.low-s0.round-1") == f"{path_of('studies', 'grid')} (grid.low-s0)"


def test_the_round_of_an_experiment_whose_name_holds_a_dot_is_found(
    folder: Path,
) -> None:
    (folder / "experiments" / "sft.yaml").write_text("kind: sft\noptimizer: {kind: adamw, lr: 3.0e-4}\n")
    (folder / "experiments" / "beta0.5.yaml").write_text(
        "kind: preference\nstart_from: sft\nobjective: {kind: dmpo}\nnegatives: {rounds: 3}\n"
        "optimizer: {kind: adamw, lr: 3.0e-4}\n"
    )
    assert previous_round("beta0.5.round-1") == "beta0.5.round-0"
