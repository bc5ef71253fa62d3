"""Reads `datasets/*.yaml`, `experiments/*.yaml` and `studies/*.yaml`.

A mistake is one line: file, line, key and what is accepted.
"""

import difflib
import functools
import math
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from contracts.config import (
    EXPERIMENT,
    BaselineExperiment,
    CandidateList,
    Experiment,
    Negatives,
    Pool,
    PreferenceExperiment,
    SftExperiment,
    candidates_in_prompt,
    identity,
)
from contracts.config.dataset import DatasetConfig
from contracts.config.paper_study import PublishedStudy
from contracts.config.paper_study import mistakes as published_mistakes
from contracts.config.study import Grid, GridStudy, Place, Point, grid, mistakes

Study = Annotated[GridStudy | PublishedStudy, Field(discriminator="kind")]
_TAGGED_BY = ("kind", "baseline")
"""Fields by which the members of a union are told apart."""
KEY = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
ROUND = re.compile(r"(.+)\.round-(\d+)")
"""The key of a round of an experiment, but for its last, which is the experiment itself."""


class ConfigurationError(ValueError):
    """A file or a name that a person wrote is wrong; the message is one line: what, where, and what is accepted."""


def project_folder() -> Path:
    """The folder of `datasets/`, `experiments/`, `studies/`: `BORDERLINE_PROJECT`, or the checkout this file is in."""
    return Path(os.environ.get("BORDERLINE_PROJECT") or Path(__file__).parents[2]).resolve()


def raw_folder(dataset: str) -> Path:
    """Where the raw files of a data set are looked for: `BORDERLINE_RAW/<key>`, by default `data/raw/<key>`.

    A data set may name another folder than its key: two can be made from the same files.
    """
    return Path(os.environ.get("BORDERLINE_RAW") or "data/raw").resolve() / (load_dataset(dataset).folder or dataset)


def dataset_keys() -> list[str]:
    """The keys of all data sets, sorted."""
    return _keys("datasets")


def experiment_keys() -> list[str]:
    """The keys of all experiments, sorted."""
    return _keys("experiments")


def study_keys() -> list[str]:
    """The keys of all studies, sorted."""
    return _keys("studies")


def experiment_partitions() -> list[str]:
    """The keys of all experiments in `experiments/` and of their rounds, sorted."""
    found: set[str] = set()
    for key in experiment_keys():
        found.add(key)
        try:
            found.update(rounds_to(key))
        except ConfigurationError:
            continue  # whoever asks for that experiment is told what is wrong with it
    return sorted(found)


def written_as(key: str) -> str:
    """The experiment that a file or a study names: for a round of one, that one."""
    match = ROUND.fullmatch(key)
    return match[1] if match else key


def previous_round(key: str) -> str | None:
    """The round whose policy `key` starts from; none, when it starts from the policy that its file names.

    Raises:
        ConfigurationError: as `load_experiment`.
    """
    experiment = load_experiment(key)
    if not isinstance(experiment, PreferenceExperiment) or experiment.negatives.rounds == 1:
        return None
    return f"{written_as(key)}.round-{experiment.negatives.rounds - 2}"


def rounds_to(key: str) -> list[str]:
    """All rounds that an experiment needs, in order, itself the last.

    Raises:
        ConfigurationError: as `load_experiment`.
    """
    before = previous_round(key)
    return [*([] if before is None else rounds_to(before)), key]


def study_of(experiment: str) -> str | None:
    """The study that an experiment belongs to, which is what stands before the first dot of its name; or none.

    It belongs to one too when the file of that study is gone.
    """
    experiment = written_as(experiment)
    study, dot, _ = experiment.partition(".")
    files = experiment_keys()
    return study if dot and experiment not in files and study not in files else None


def default_experiments() -> list[str]:
    """What `all` means: the baselines, the policy `sft`, and every experiment of one round that starts from it, sorted.

    Other supervised policies, and what starts from them, take many times as long, or a table that belongs to one data
    set; each further round takes as long as an experiment. Whoever wants one names it.

    Raises:
        ConfigurationError: one of the files is wrong.
    """
    return [key for key in experiment_keys() if _goes_with_sft(key, load_experiment(key))]


def _goes_with_sft(key: str, experiment: Experiment) -> bool:
    if isinstance(experiment, PreferenceExperiment):
        return experiment.start_from == "sft" and experiment.negatives.rounds == 1
    return isinstance(experiment, BaselineExperiment) or key == "sft"


def load_dataset(key: str) -> DatasetConfig:
    """The data set whose file is `datasets/<key>.yaml`.

    Raises:
        ConfigurationError: no such file, or something wrong in it.
    """
    return _load("datasets", "data set", key, TypeAdapter(DatasetConfig))


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
                f"{_path('studies', key)}:{lines.get(point.layers[-2], 1)}: experiments must differ in more than their "
                f"names, got {first} and {name}, which set the same. Look for a label that sets nothing, or what "
                "another axis sets again."
            )
    return found


def load_published(key: str) -> PublishedStudy:
    """The study of published benchmarks whose file is `studies/<key>.yaml`; all that it names exists.

    Raises:
        ConfigurationError: no such file, something wrong in it, or a study of another kind.
    """
    study = _load_study_file(key)
    path = _path("studies", key)
    if not isinstance(study, PublishedStudy):
        raise ConfigurationError(f"{path}: kind must be published here, got {study.kind}.")
    wrong = published_mistakes(study)
    if wrong:
        raise ConfigurationError("; ".join(f"{path}: {said}" for said in wrong))
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


def _load_study_file(key: str) -> Study:
    return _load("studies", "study", key, TypeAdapter(Study))


def _load_grid(key: str) -> tuple[Grid, dict[Place, int]]:
    if "." in key or key in experiment_keys():
        raise ConfigurationError(
            f"{_path('studies', key)}: the name of a study must have no dot and be no experiment's. Rename the file."
        )
    study = _load_study_file(key)
    if not isinstance(study, GridStudy):
        raise ConfigurationError(f"{_path('studies', key)}: kind must be grid here, got {study.kind}.")
    _, lines = read_yaml(_path("studies", key))
    made, wrong = _expanded(key, study.model_dump_json())
    if wrong:
        found = [f"{_path('studies', key)}:{lines.get(place, 1)}: {said}" for place, said in wrong]
        raise ConfigurationError("; ".join(found))
    return made, lines


@functools.lru_cache(maxsize=16)
def _expanded(key: str, written: str) -> tuple[Grid, list[tuple[Place, str]]]:
    """The experiments of a study, and what is wrong with it; kept, for they are asked for one by one."""
    study = GridStudy.model_validate_json(written)
    return grid(key, study), list(mistakes(key, study))


def source_of(key: str) -> str:
    """The file in which an experiment is written, for messages."""
    study, key = study_of(key), written_as(key)
    return f"{_path('experiments', key)}" if study is None else f"{_path('studies', study)} ({key})"


def _place_of(key: str, *place: str) -> str:
    """The file in which an experiment is written, with the line of one of its keys or of what holds that."""
    study, of = study_of(key), written_as(key)
    if study is None:
        _, lines = read_yaml(_path("experiments", of))
    else:
        found, in_study = _load_grid(study)
        lines = _lines_of(found.points[of], in_study)
    line = next((lines[at] for n in range(len(place), -1, -1) if (at := place[:n]) in lines), 1)
    return f"{_path('experiments', of)}:{line}" if study is None else f"{_path('studies', study)}:{line}: {key}"


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
        return _checked(key, _load("experiments", "experiment", key, EXPERIMENT))
    return _checked(key, _experiment_of(*_load_grid(study), study, key))


def _round_of(key: str) -> Experiment:
    of, number = written_as(key), int(key.rpartition("-")[2])
    if key in experiment_keys():
        raise ConfigurationError(
            f"{_path('experiments', key)}: no file may be named <name>.round-<number>, which names a round of another "
            "experiment. Rename it."
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
        start = load_start(experiment)
        try:
            experiment.budget.require_protocol(start.representation)
        except ValueError as error:
            raise ConfigurationError(f"{_place_of(key, 'budget', 'select_by')}: {error}") from error
        _refuse_short_pool(key, experiment, start)
        _refuse_long_rounds(key, experiment)
    if isinstance(experiment, SftExperiment) and experiment.backbone.kind == "checkpoint":
        try:
            experiment.backbone.require_pinned()
        except ValueError as error:
            raise ConfigurationError(f"{_place_of(key, 'backbone')}: {error}") from error
    return experiment


def _experiment_of(found: Grid, lines: dict[Place, int], study: str, key: str) -> Experiment:
    path = _path("studies", study)
    if key not in found.points:
        meant = did_you_mean(key, list(found.points))
        raise ConfigurationError(f"{path} makes no experiment '{key}'.{meant} It makes {len(found.points)}.")
    point = found.points[key]
    try:
        return EXPERIMENT.validate_python(point.settings)
    except ValidationError as error:
        at = _lines_of(point, lines)
        problems = [_problem(problem, Experiment, at) for problem in error.errors(include_url=False)]
        raise ConfigurationError("; ".join(f"{path}:{line}: {key}: {text}" for line, text in problems)) from error


def _lines_of(point: Point, lines: dict[Place, int]) -> dict[Place, int]:
    """The line of every key of an experiment: where the last layer that sets it stands in the study's file."""
    found: dict[Place, int] = {}
    for layer in point.layers:
        for place, line in lines.items():
            if place[: len(layer)] == layer and (len(place) > len(layer) or not found):
                found[place[len(layer) :]] = line
    return found


def _refuse_short_pool(key: str, experiment: PreferenceExperiment, start: SftExperiment) -> None:
    """Refuses an experiment whose negatives a full pool could leave short, whatever `min_rank` passes over."""
    pool, start_from = start.pool, experiment.start_from
    if pool is None:
        raise ConfigurationError(
            f"{_place_of(key, 'start_from')}: start_from must be an experiment that mines negatives, got {start_from}, "
            f"whose pool is null. Give experiments/{start_from}.yaml a pool."
        )
    for kind, (used, passed_over) in _asked_of(experiment.negatives, pool).items():
        held = pool.size if kind == "boundary" else getattr(pool, kind)
        if used == 0 or used + passed_over <= held:
            continue
        guard = f", {passed_over} of them to be passed over by min_rank" if passed_over else ""
        fields = "one of its parts" if kind == "boundary" else f"pool.{kind}"
        raise ConfigurationError(
            f"{_place_of(key, 'negatives', 'n')}: negatives must ask for at most the {held} {kind} negatives the pool "
            f"of {start_from} holds, got {used + passed_over}{guard}. Lower n, or raise {fields} in "
            f"experiments/{start_from}.yaml."
        )


def _refuse_long_rounds(key: str, experiment: PreferenceExperiment) -> None:
    """Refuses an experiment whose rounds have names that no folder may have."""
    rounds = experiment.negatives.rounds
    if rounds > 1 and not KEY.fullmatch(first := f"{written_as(key)}.round-{rounds - 2}"):
        raise ConfigurationError(
            f"{_place_of(key, 'negatives', 'rounds')}: the names of its rounds must be at most 64 characters, got "
            f"'{first}'. Shorten the name of the experiment by {len(first) - 64}."
        )


def _asked_of(negatives: Negatives, pool: Pool) -> dict[str, tuple[int, int]]:
    """By kind, how many negatives of a full pool are used, and how many at most `min_rank` passes over."""
    n, share, passed_over = negatives.n, negatives.hard_share, negatives.min_rank - 1
    in_uniform = max(0, passed_over - pool.hard)  # which rank behind the hard ones
    match negatives.miner:
        case "mixed":
            hard, uniform = math.ceil(n * share), math.ceil(n * (1 - share))
            return {"hard": (hard, passed_over), "uniform": (uniform, in_uniform)}
        case "hardest":
            return {"hard": (n, passed_over)}
        case "uniform":
            return {"uniform": (n, in_uniform)}
        case "popularity" | "in_batch" | "boundary":
            return {negatives.miner: (n, passed_over)}


def load_start(experiment: PreferenceExperiment) -> SftExperiment:
    """The experiment that `experiment` starts from."""
    start = load_experiment(experiment.start_from)
    assert isinstance(start, SftExperiment)  # load_experiment refuses any other
    return start


def listed_candidates(experiment: Experiment) -> CandidateList | None:
    """The candidates that the prompts of an experiment's policy list; none for a baseline, which has no prompts."""
    if isinstance(experiment, BaselineExperiment):
        return None
    start = load_start(experiment) if isinstance(experiment, PreferenceExperiment) else experiment
    return candidates_in_prompt(start.representation)


def is_servable(experiment: Experiment) -> bool:
    """Whether its policy recommends from the catalogue: no baseline, and none that must be given candidates."""
    return not isinstance(experiment, BaselineExperiment) and listed_candidates(experiment) is None


def definition(key: str) -> str:
    """Hash of all that the numbers of an experiment depend on: its file, and that of what it starts from.

    Raises:
        ConfigurationError: as `load_experiment`.
    """
    experiment = load_experiment(key)
    if isinstance(experiment, PreferenceExperiment):
        return f"{identity(experiment)}-{identity(load_start(experiment))}"
    return identity(experiment, exclude={"pool"})  # which says nothing of an sft policy, only of what it mines


def read_yaml(path: Path) -> tuple[Any, dict[Place, int]]:
    """The value in a YAML file, and the line of every key in it.

    A key written twice is refused: YAML itself would keep the last one and say nothing.
    """
    try:
        return _parsed(path, path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: must be UTF-8 text, byte {error.start} is not. Save it as UTF-8.") from error
    except OSError as error:
        raise ConfigurationError(f"{path}: must be a file that can be read: {error.strerror}.") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigurationError(f"{path}:{line}: not valid YAML: {error.problem}.") from error
    except yaml.YAMLError as error:  # a control character, say
        raise ConfigurationError(f"{path}: not valid YAML: {' '.join(str(error).split())}.") from error
    except RecursionError as error:
        raise ConfigurationError(
            f"{path}: must not be nested without end. Look for an anchor inside itself."
        ) from error


@functools.lru_cache(maxsize=256)
def _parsed(path: Path, text: str) -> tuple[Any, dict[Place, int]]:
    """Kept for the next time: a study reads the same few files for each of its experiments."""
    lines: dict[Place, int] = {}
    return _construct(yaml.compose(text, Loader=yaml.SafeLoader), (), lines, path), lines


def _construct(node: Any, at: Place, lines: dict[Place, int], path: Path) -> Any:
    if node is None:
        return None
    lines.setdefault(at, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        value: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            line = key_node.start_mark.line + 1
            if key in value:
                raise ConfigurationError(f"{path}:{line}: '{key}' stands twice. Keep one of them.")
            lines[(*at, key)] = line
            value[key] = _construct(value_node, (*at, key), lines, path)
        return value
    if isinstance(node, yaml.SequenceNode):
        return [_construct(item, (*at, index), lines, path) for index, item in enumerate(node.value)]
    try:
        return yaml.SafeLoader("").construct_object(node)
    except (ValueError, OverflowError) as error:  # a date such as 2024-99-99, !!int abc
        line = node.start_mark.line + 1
        raise ConfigurationError(f"{path}:{line}: {node.value!r} cannot be read: {error}. Put it in quotes.") from error


def misnamed_files(folder: str) -> list[str]:
    """Files of `datasets/`, `experiments/` or `studies/` that look like one and are none: `Pop.yaml`, `dmpo.yml`."""
    files = [path for path in (project_folder() / folder).glob("*") if path.suffix.lower() in (".yaml", ".yml")]
    return sorted(path.name for path in files if path.suffix != ".yaml" or not KEY.fullmatch(path.stem))


def _keys(folder: str) -> list[str]:
    return sorted(path.stem for path in (project_folder() / folder).glob("*.yaml") if KEY.fullmatch(path.stem))


def _kind(key: str) -> str | None:
    try:
        value, _ = read_yaml(_path("experiments", key))
    except ConfigurationError:
        return None  # whoever asks for that experiment is told what is wrong with it
    return value.get("kind") if isinstance(value, dict) else None


def _path(folder: str, key: str) -> Path:
    return project_folder() / folder / f"{key}.yaml"


def _load(folder: str, what: str, key: str, model: TypeAdapter[Any]) -> Any:
    known = _keys(folder)
    if key not in known:
        misnamed = [name for name in misnamed_files(folder) if Path(name).stem.lower() == key.lower()]
        passed_over = f" {misnamed[0]} is passed over: rename it to {key.lower()}.yaml." if misnamed else ""
        raise ConfigurationError(
            f"unknown {what} '{key}'.{passed_over}{did_you_mean(key, known)} Accepted: {', '.join(known) or 'none'}; "
            f"each is a file in {project_folder() / folder}."
        )
    path = _path(folder, key)
    value, lines = read_yaml(path)
    try:
        return model.validate_python(value)
    except ValidationError as error:
        root = {"datasets": DatasetConfig, "experiments": Experiment, "studies": Study}[folder]
        problems = [_problem(problem, root, lines) for problem in error.errors(include_url=False)]
        raise ConfigurationError("; ".join(f"{path}:{line}: {text}" for line, text in problems)) from error


def _problem(problem: Any, root: Any, lines: dict[Place, int]) -> tuple[int, str]:
    """Line and sentence of one pydantic error, whose location also holds the tags of unions, no keys of the file."""
    keys: list[str | int] = []
    members = _members(root)
    for part in problem["loc"]:
        tagged = [member for member in members if part in _tags(member)]
        if tagged and len(members) > 1:
            members = tagged  # a tag of the union, no key of the file
            continue
        keys.append(part)
        fields = members[0].model_fields if len(members) == 1 else {}
        members = _members(fields[part].annotation) if part in fields else members
    line = next((lines[at] for n in range(len(keys), -1, -1) if (at := tuple(keys[:n])) in lines), 1)
    name = ".".join(map(str, keys)) or "the file"
    kind, given = problem["type"], problem.get("input")
    if kind == "extra_forbidden":
        accepted = list(members[0].model_fields) if members else []
        return line, f"unknown key '{name}'.{did_you_mean(str(keys[-1]), accepted)} Accepted: {', '.join(accepted)}."
    if kind == "missing":
        return line, f"'{name}' is missing."
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return line, f"{name} must be keys with values, got {given!r}. Write it as key: value."
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        tagged_by = problem["ctx"]["discriminator"].strip("'")
        accepted = list(dict.fromkeys(str(tag) for member in members for tag in _tags(member, tagged_by)))
        if kind == "union_tag_not_found":
            return line, f"'{name}' must say its {tagged_by}. Accepted: {', '.join(accepted)}."
        tag = str(problem["ctx"]["tag"])
        line = lines.get((*keys, tagged_by), line)
        meant = f"{did_you_mean(tag, accepted)} Accepted: {', '.join(accepted)}."
        return line, f"unknown {tagged_by} '{tag}' of {name}.{meant}"
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return line, f"{name} must be {message}, got {given!r}." if "should be" in problem["msg"] else f"{name}: {message}"


def _members(annotation: Any) -> list[Any]:
    """The models an annotation admits: itself, or the members of its union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (list, dict, Literal):
        return []
    return [m for arg in get_args(annotation) for m in _members(arg)]


def _tags(model: Any, *fields: str) -> list[Any]:
    """What the model's fields that tell the members of a union apart may say."""
    told = [model.model_fields[name].annotation for name in fields or _TAGGED_BY if name in model.model_fields]
    return list(dict.fromkeys(tag for annotation in told for tag in get_args(annotation)))


def did_you_mean(given: str, accepted: list[str]) -> str:
    """The name among the accepted ones that was probably meant, as a sentence with a space before it; or nothing."""
    close = difflib.get_close_matches(given, accepted, n=1)
    return f" Did you mean '{close[0]}'?" if close else ""
