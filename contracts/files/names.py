"""The files of a project and the keys that name them: data sets, experiments, their rounds, studies.

Reads folders, never the files in them; `load` does.
"""

import os
import re
from pathlib import Path

from contracts.files.yaml_lines import ConfigurationError, did_you_mean

KEY = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
ROUND = re.compile(r"(.+)\.round-(\d+)")
"""The key of a round of an experiment, but for its last, which is the experiment itself."""


def project_folder() -> Path:
    """The folder of `datasets/`, `experiments/`, `studies/`: `BORDERLINE_PROJECT`, or the checkout this file is in."""
    return Path(os.environ.get("BORDERLINE_PROJECT") or Path(__file__).parents[2]).resolve()


def dataset_keys() -> list[str]:
    """The keys of all data sets, sorted."""
    return _keys("datasets")


def experiment_keys() -> list[str]:
    """The keys of all experiments, sorted."""
    return _keys("experiments")


def study_keys() -> list[str]:
    """The keys of all studies, sorted."""
    return _keys("studies")


def misnamed_files(folder: str) -> list[str]:
    """Files of `datasets/`, `experiments/` or `studies/` that look like one and are none: `Pop.yaml`, `dmpo.yml`."""
    files = [path for path in (project_folder() / folder).glob("*") if path.suffix.lower() in (".yaml", ".yml")]
    return sorted(path.name for path in files if path.suffix != ".yaml" or not KEY.fullmatch(path.stem))


def written_as(key: str) -> str:
    """The experiment that a file or a study names: for a round of one, that one."""
    match = ROUND.fullmatch(key)
    return match[1] if match else key


def study_of(experiment: str) -> str | None:
    """The study that an experiment belongs to, the part before the first dot of its name; or none.

    It belongs to one too when the file of that study is gone.
    """
    experiment = written_as(experiment)
    study, dot, _ = experiment.partition(".")
    files = experiment_keys()
    return study if dot and experiment not in files and study not in files else None


def source_of(key: str) -> str:
    """The file in which an experiment is written, for messages."""
    study, key = study_of(key), written_as(key)
    return f"{path_of('experiments', key)}" if study is None else f"{path_of('studies', study)} ({key})"


def path_of(folder: str, key: str) -> Path:
    """The file of this key in `datasets`, `experiments` or `studies`, whether it exists or not."""
    return project_folder() / folder / f"{key}.yaml"


def existing(folder: str, what: str, key: str) -> Path:
    """The file of this key.

    Raises:
        ConfigurationError: there is none; the message names those that there are.
    """
    known = _keys(folder)
    if key not in known:
        misnamed = [name for name in misnamed_files(folder) if Path(name).stem.lower() == key.lower()]
        passed_over = f" {misnamed[0]} is passed over: rename it to {key.lower()}.yaml." if misnamed else ""
        raise ConfigurationError(
            f"unknown {what} '{key}'.{passed_over}{did_you_mean(key, known)} Accepted: {', '.join(known) or 'none'}; "
            f"each is a file in {project_folder() / folder}."
        )
    return path_of(folder, key)


def round_before_last(key: str, rounds: int) -> str:
    """The key of the round before the last, which an experiment of so many rounds starts from."""
    return f"{written_as(key)}.round-{rounds - 2}"


def _keys(folder: str) -> list[str]:
    return sorted(path.stem for path in (project_folder() / folder).glob("*.yaml") if KEY.fullmatch(path.stem))
