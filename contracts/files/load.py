"""Reads `datasets/*.yaml`, `experiments/*.yaml` and `studies/*.yaml`, and refuses what cannot be meant.

A mistake is one line: file, line, key and what is accepted.
"""

import functools
import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from contracts.config import EXPERIMENT, BaselineExperiment, Experiment, PreferenceExperiment, SftExperiment, identity
from contracts.config.dataset import DatasetConfig
from contracts.config.paper_study import PublishedStudy
from contracts.config.study import Grid, GridStudy, Point, grid, name_mistakes
from contracts.files.cross_checks import refuse_contradictions, refuse_unpinned
from contracts.files.names import (
    ROUND,
    existing,
    experiment_keys,
    path_of,
    source_of,
    study_keys,
    study_of,
    written_as,
)
from contracts.files.yaml_lines import ConfigurationError, Lines, Place, did_you_mean, line_of, read_yaml, validated

Study = Annotated[GridStudy | PublishedStudy, Field(discriminator="kind")]
_MODELS: dict[str, tuple[Any, TypeAdapter[Any]]] = {
    "datasets": (DatasetConfig, TypeAdapter(DatasetConfig)),
    "experiments": (Experiment, EXPERIMENT),
    "studies": (Study, TypeAdapter(Study)),
}


def raw_folder(dataset: str) -> Path:
    """Where the raw files of a data set are looked for: `BORDERLINE_RAW/<key>`, by default `data/raw/<key>`.

    A data set may name another folder than its key: two can be made from the same files.
    """
    return Path(os.environ.get("BORDERLINE_RAW") or "data/raw").resolve() / (load_dataset(dataset).folder or dataset)


def load_dataset(key: str) -> DatasetConfig:
    """The data set whose file is `datasets/<key>.yaml`.

    Raises:
        ConfigurationError: no such file, or something wrong in it.
    """
    return _load("datasets", "data set", key)


def load_study(key: str) -> Grid:
    """The study whose file is `studies/<key>.yaml`, every experiment of which has been read.

    Raises:
        ConfigurationError: no such file, or something wrong in it or in one of its experiments.
    """
    found, lines = _load_grid(key)
    same: dict[str, str] = {}
    for name, point in found.points.items():
        experiment = _checked(name, _experiment_of(found, lines, key, name))
        if isinstance(experiment, BaselineExperiment):
            raise ConfigurationError(
                f"{source_of(name)}: an experiment of a study must be of kind sft or preference, got baseline. "
                "Baselines are compared on the leaderboard."
            )
        first = same.setdefault(identity(experiment), name)
        if first != name:
            raise ConfigurationError(
                f"{path_of('studies', key)}:{lines.get(point.layers[-2], 1)}: experiments must differ in more than "
                f"their names, got {first} and {name}, which set the same. Look for a label that sets nothing, or what "
                "another axis sets again."
            )
    return found


def load_published(key: str) -> PublishedStudy:
    """The study of published benchmarks whose file is `studies/<key>.yaml`; all that it names exists.

    Raises:
        ConfigurationError: no such file, something wrong in it, or a study of another kind.
    """
    study = _load_study_file(key)
    path = path_of("studies", key)
    if not isinstance(study, PublishedStudy):
        raise ConfigurationError(f"{path}: kind must be published here, got {study.kind}.")
    for dataset, benchmark in study.benchmarks.items():
        load_dataset(dataset)
        for experiment in benchmark.experiments:
            load_experiment(experiment)
    return study


def is_published(key: str) -> bool:
    """Whether the study whose file is `studies/<key>.yaml` is one of published benchmarks.

    Raises:
        ConfigurationError: no such file, or something wrong in it.
    """
    return isinstance(_load_study_file(key), PublishedStudy)


def load_experiment(key: str) -> Experiment:
    """The experiment whose file is `experiments/<key>.yaml`, or that one of a study; or a round of such a one.

    What it starts from exists and is an `sft` experiment. `<key>.round-<r>` is what the file says, with r + 1 rounds.

    Raises:
        ConfigurationError: no such file, or something wrong in it.
    """
    if ROUND.fullmatch(key):
        return _round_of(key)
    study = study_of(key)
    if study is None or study not in study_keys():
        return _checked(key, _load("experiments", "experiment", key))
    return _checked(key, _experiment_of(*_load_grid(study), study, key))


def load_start(experiment: PreferenceExperiment) -> SftExperiment:
    """The experiment that `experiment` starts from."""
    start = load_experiment(experiment.start_from)
    assert isinstance(start, SftExperiment)  # load_experiment refuses any other
    return start


def _load_study_file(key: str) -> Study:
    return _load("studies", "study", key)


def _load_grid(key: str) -> tuple[Grid, Lines]:
    if "." in key or key in experiment_keys():
        raise ConfigurationError(
            f"{path_of('studies', key)}: the name of a study must have no dot and be no experiment's. Rename the file."
        )
    study = _load_study_file(key)
    if not isinstance(study, GridStudy):
        raise ConfigurationError(f"{path_of('studies', key)}: kind must be grid here, got {study.kind}.")
    _, lines = read_yaml(path_of("studies", key))
    made, wrong = _expanded(key, study.model_dump_json())
    if wrong:
        found = [f"{path_of('studies', key)}:{lines.get(place, 1)}: {said}" for place, said in wrong]
        raise ConfigurationError("; ".join(found))
    return made, lines


@functools.lru_cache(maxsize=16)
def _expanded(key: str, written: str) -> tuple[Grid, list[tuple[Place, str]]]:
    """The experiments of a study, and what is wrong with their names; kept, for they are asked for one by one."""
    study = GridStudy.model_validate_json(written)
    return grid(key, study), list(name_mistakes(key, study))


def _place_of(key: str, *place: str) -> str:
    """The file in which an experiment is written, with the line of one of its keys or of what holds that."""
    study, of = study_of(key), written_as(key)
    if study is None:
        _, lines = read_yaml(path_of("experiments", of))
    else:
        found, in_study = _load_grid(study)
        lines = _lines_of(found.points[of], in_study)
    line = line_of(lines, place)
    return f"{path_of('experiments', of)}:{line}" if study is None else f"{path_of('studies', study)}:{line}: {key}"


def _round_of(key: str) -> Experiment:
    of, number = written_as(key), int(key.rpartition("-")[2])
    if key in experiment_keys():
        raise ConfigurationError(
            f"{path_of('experiments', key)}: no file may be named <name>.round-<number>, which names a round of "
            "another experiment. Rename it."
        )
    experiment = load_experiment(of)
    last = experiment.negatives.rounds - 1 if isinstance(experiment, PreferenceExperiment) else 0
    if number >= last or key != f"{of}.round-{number}":
        accepted = ", ".join([*(f"{of}.round-{n}" for n in range(last)), of])
        raise ConfigurationError(
            f"{source_of(of)}: '{key}' must be a round of it before its last, which is '{of}' itself. "
            f"Accepted: {accepted}."
        )
    assert isinstance(experiment, PreferenceExperiment)  # no other has a round before its last
    negatives = experiment.negatives.model_copy(update={"rounds": number + 1})
    return experiment.model_copy(update={"negatives": negatives})


def _checked(key: str, experiment: Experiment) -> Experiment:
    if isinstance(experiment, PreferenceExperiment):
        if experiment.start_from not in experiment_keys() or _kind(experiment.start_from) != "sft":
            starts = [name for name in experiment_keys() if _kind(name) == "sft"]
            raise ConfigurationError(
                f"{_place_of(key, 'start_from')}: start_from must be an experiment of kind sft, got "
                f"'{experiment.start_from}'. Accepted: {', '.join(starts) or 'none yet; add one to experiments/'}."
            )
        refuse_contradictions(key, experiment, load_start(experiment), functools.partial(_place_of, key))
    if isinstance(experiment, SftExperiment):
        refuse_unpinned(experiment, functools.partial(_place_of, key))
    return experiment


def _kind(key: str) -> str | None:
    try:
        value, _ = read_yaml(path_of("experiments", key))
    except ConfigurationError:
        return None  # asking for that experiment says what is wrong with it
    return value.get("kind") if isinstance(value, dict) else None


def _experiment_of(found: Grid, lines: Lines, study: str, key: str) -> Experiment:
    path = path_of("studies", study)
    if key not in found.points:
        meant = did_you_mean(key, list(found.points))
        raise ConfigurationError(f"{path} makes no experiment '{key}'.{meant} It makes {len(found.points)}.")
    point = found.points[key]
    at = _lines_of(point, lines)
    return validated(point.settings, EXPERIMENT, Experiment, at, lambda line: f"{path}:{line}: {key}")


def _lines_of(point: Point, lines: Lines) -> Lines:
    """The line of every key of an experiment: the place in the study's file of the last layer that sets it."""
    found: Lines = {}
    for layer in point.layers:
        for place, line in lines.items():
            if place[: len(layer)] == layer and (len(place) > len(layer) or not found):
                found[place[len(layer) :]] = line
    return found


def _load(folder: str, what: str, key: str) -> Any:
    path = existing(folder, what, key)
    value, lines = read_yaml(path)
    root, model = _MODELS[folder]
    return validated(value, model, root, lines, lambda line: f"{path}:{line}")
