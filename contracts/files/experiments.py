"""What follows from experiment files read together: rounds, starts, what `all` means, what the numbers depend on."""

from contracts.config import (
    BaselineExperiment,
    CandidateList,
    Experiment,
    PreferenceExperiment,
    candidates_in_prompt,
    identity,
    policy_identity,
)
from contracts.files.load import load_experiment, load_start
from contracts.files.names import experiment_keys, round_before_last
from contracts.files.yaml_lines import ConfigurationError


def experiment_partitions() -> list[str]:
    """The keys of all experiments in `experiments/` and of their rounds, sorted."""
    found: set[str] = set()
    for key in experiment_keys():
        found.add(key)
        try:
            found.update(rounds_to(key))
        except ConfigurationError:
            continue  # asking for that experiment says what is wrong with it
    return sorted(found)


def previous_round(key: str) -> str | None:
    """The round whose policy `key` starts from; none, when it starts from the policy that its file names.

    Raises:
        ConfigurationError: as `load_experiment`.
    """
    experiment = load_experiment(key)
    if not isinstance(experiment, PreferenceExperiment) or experiment.negatives.rounds == 1:
        return None
    return round_before_last(key, experiment.negatives.rounds)


def rounds_to(key: str) -> list[str]:
    """All rounds that an experiment needs, in order, itself the last.

    Raises:
        ConfigurationError: as `load_experiment`.
    """
    before = previous_round(key)
    return [*([] if before is None else rounds_to(before)), key]


def default_experiments() -> list[str]:
    """What `all` means: the baselines, the policy `sft`, and every experiment of one round that starts from it, sorted.

    Other supervised policies, and what starts from them, take many times as long, or a table that belongs to one data
    set; each further round takes as long as an experiment. They run when they are named.

    Raises:
        ConfigurationError: one of the files is wrong.
    """
    return [key for key in experiment_keys() if _goes_with_sft(key, load_experiment(key))]


def _goes_with_sft(key: str, experiment: Experiment) -> bool:
    if isinstance(experiment, PreferenceExperiment):
        return experiment.start_from == "sft" and experiment.negatives.rounds == 1
    return isinstance(experiment, BaselineExperiment) or key == "sft"


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
    """The identities of all files that the numbers of an experiment depend on: its own, and that of its start.

    Raises:
        ConfigurationError: as `load_experiment`.
    """
    experiment = load_experiment(key)
    own = policy_identity(experiment)
    if not isinstance(experiment, PreferenceExperiment):
        return own
    return f"{own}-{identity(load_start(experiment))}"  # with its pool, from which the negatives come
