"""Walk from the raw files of a data set to its leaderboard and registry, for experiments and all that they need."""

from collections.abc import Sequence

from contracts.config import BaselineExperiment, PreferenceExperiment
from contracts.files.experiments import is_servable, previous_round, rounds_to
from contracts.files.load import load_dataset, load_experiment
from contracts.files.names import experiment_keys
from contracts.files.yaml_lines import ConfigurationError
from contracts.words import FLOORS
from orchestration.walks.home_lock import only_walk
from orchestration.walks.runner import LayerRunner


def walk_experiments(runner: LayerRunner, dataset: str, experiments: Sequence[str], *, mines: bool = False) -> None:
    """Walk every layer for `experiments` on a data set; what is unchanged is reused.

    Supervised experiments mine where another of the experiments starts from them; with `mines`, all that were asked
    for do.

    Raises:
        ConfigurationError: an unknown name or a wrong file, before anything is computed.
        LayerFailed: a run failed; what was published before it stays.
    """
    load_dataset(dataset)
    ordered = in_order(experiments)
    mining = mining_for(ordered) | (set(experiments) if mines else set())
    runner.tracker.prepare(dataset)
    with only_walk(runner) as held:
        held.layer("ingest", dataset)
        for experiment in ordered:
            for job in jobs_of(experiment):
                held.layer(job, dataset, experiment, mines=experiment in mining)
            if is_servable(load_experiment(experiment)):
                held.layer("register", dataset, experiment)
        held.layer("compare", dataset)
        if any(is_servable(load_experiment(name)) for name in ordered):
            held.layer("promote", dataset)


def walk_data(runner: LayerRunner, dataset: str) -> None:
    """Walk from the raw files of a data set to its candidate sets. Nothing is trained.

    Raises:
        ConfigurationError: an unknown name or a wrong file, before anything is computed.
        LayerFailed: the run failed; what was published before it stays.
    """
    load_dataset(dataset)
    with only_walk(runner) as held:
        held.layer("ingest", dataset)


def in_order(experiments: Sequence[str]) -> list[str]:
    """The experiments, what they start from and their rounds before them, and the floors of every leaderboard."""
    missing = [name for name in FLOORS if name not in experiment_keys()]
    if missing:
        raise ConfigurationError(
            f"every leaderboard shows the floors {' and '.join(FLOORS)}, but experiments/{missing[0]}.yaml is missing. "
            f"Write it: two lines, `kind: baseline` and `baseline: {missing[0]}`."
        )
    ordered: list[str] = list(FLOORS)
    for name in experiments:
        experiment = load_experiment(name)
        if isinstance(experiment, PreferenceExperiment) and experiment.start_from not in ordered:
            ordered.append(experiment.start_from)
    for name in (name for key in experiments for name in rounds_to(key)):
        if name not in ordered:
            ordered.append(name)
    starts = [n for n in ordered if not isinstance(load_experiment(n), BaselineExperiment | PreferenceExperiment)]
    baselines = [n for n in ordered if isinstance(load_experiment(n), BaselineExperiment)]
    return [*baselines, *starts, *(n for n in ordered if n not in baselines and n not in starts)]


def mining_for(experiments: Sequence[str]) -> set[str]:
    """The experiments whose pool of negatives one of the others reads; mining can take longer than training."""
    read = {name: load_experiment(name) for name in experiments}
    return {reader.start_from for reader in read.values() if isinstance(reader, PreferenceExperiment)}


def jobs_of(experiment: str) -> list[str]:
    """The jobs that train and evaluate one experiment, or one round of it, when what it starts from is there."""
    kind = load_experiment(experiment).kind
    mining = ["mine"] if previous_round(experiment) is not None else []
    training = [f"train_{kind}"] if kind != "baseline" else []
    return [*mining, *training, "evaluate"]
