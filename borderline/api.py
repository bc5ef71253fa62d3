"""The Python API: run experiments, and read what they left, as frames. The command line prints the same results."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from borderline import checks, home
from contracts.files.experiments import default_experiments
from contracts.files.load import load_dataset, load_experiment
from contracts.files.yaml_lines import ConfigurationError

if TYPE_CHECKING:
    import polars as pl

    from training.engine.policy import Policy


def run(
    dataset: str,
    experiments: Sequence[str] | None = None,
    *,
    mine: bool = False,
    force: bool = False,
    accept_leaks: bool = False,
    device: str | None = None,
) -> "pl.DataFrame":
    """Materialise what is missing, from the raw files to the registry; what is unchanged is reused.

    Args:
        dataset: a file in datasets/, without .yaml.
        experiments: files in experiments/, without .yaml; all of plain items, when absent.
        mine: mine the pools of these experiments, though none of them reads one.
        force: compute again what is unchanged.
        accept_leaks: run on tables that leak their answers; marks every number.
        device: auto, cpu or cuda; what BORDERLINE_DEVICE says, when absent.

    Returns:
        The leaderboard of the data set on its test rows; see `leaderboard`.

    Raises:
        ConfigurationError: an unknown name or a wrong file, before anything is computed.
        MissingRawFile: with the folder, the file and where to get it.
        LayerFailed: a run failed; what was published before it stays.
    """
    load_dataset(dataset)
    names = default_experiments() if experiments is None else list(experiments)
    for name in names:
        load_experiment(name)
    if device is not None:
        checks.choose_device(device)
    checks.check_raw_files(dataset)
    with home.runner(force=force, accept_leaks=accept_leaks) as runner:
        from orchestration.walks.experiments import walk_experiments

        walk_experiments(runner, dataset, names, mines=mine)
    return leaderboard(dataset)


def leaderboard(dataset: str, split: str = "test") -> "pl.DataFrame":
    """The last leaderboard of a data set: a row for each experiment and metric, best experiment first.

    Returns:
        experiment, kind, split, metric, value, low, high (the 95 % interval), base, difference, difference_low,
        difference_high, adjusted_p (against `base` on the same rows, after Holm), is_floor, leaky. No rows where the
        split has none.

    Raises:
        ConfigurationError: no such data set.
        NotMaterialised: it has no leaderboard yet.
    """
    from borderline.boards import FRAME, frame_of, stored_board

    load_dataset(dataset)
    board = stored_board(home.lake(), dataset, split)
    if board is None:
        import polars as pl

        return pl.DataFrame(schema=FRAME)
    return frame_of(board)


def table(dataset: str, name: str) -> "pl.LazyFrame":
    """A table of the lake, read when it is collected: it need not fit in memory.

    Args:
        dataset: a file in datasets/, without .yaml.
        name: `histories`; with the experiment where each has its own: `predictions/sft`.

    Raises:
        ConfigurationError: no such data set, nothing is called so, or it is not a table.
        NotMaterialised: it has not been made yet.
    """
    from borderline.versions import named_version

    load_dataset(dataset)
    version = named_version(home.lake(), dataset, name)
    if not (version.folder / f"{version.asset}.parquet").exists():
        raise ConfigurationError(f"'{name}' must be a table, but its version is a folder of files: {version.folder}.")
    return version.scan()


def load_policy(dataset: str, experiment: str) -> "Policy":
    """The trained policy of an experiment, on the CPU.

    Raises:
        ConfigurationError: an unknown name, or a baseline, which has no policy.
        NotMaterialised: it has not been trained yet.
    """
    load_dataset(dataset)
    kind = load_experiment(experiment).kind
    if kind == "baseline":
        raise ConfigurationError(f"'{experiment}' must train a policy, but it is of kind baseline.")
    folder = home.lake().require(f"{kind}_policies", (dataset, experiment)).path("policy")
    from training.io.policy_folder import load_policy

    return load_policy(folder)


def evaluate(frame: "pl.DataFrame", dataset: str, *, split: str = "test", name: str = "foreign") -> "pl.DataFrame":
    """Measure the predictions of any model on the rows of a data set, beside its leaderboard. Writes nothing.

    Args:
        frame: row_id, protocol, items (best first), as docs/evaluation.md describes them; or row_id and answer, for
            generated text.
        dataset: a file in datasets/, without .yaml.
        split: test or validation.
        name: what the model is called among the experiments.

    Returns:
        The leaderboard as `leaderboard` returns it, with this model; for answers, their metrics.

    Raises:
        InvalidPredictions: with the defect, how many rows have it and the first of them.
        NotMaterialised: the data set has no tables yet.
    """
    from assets.results.foreign_models import beside_leaderboard, holds_answers, measured_answers
    from borderline.boards import answers_frame, frame_of

    load_dataset(dataset)
    if holds_answers(frame):
        return answers_frame(measured_answers(home.lake(), frame, dataset, split), name, split)
    return frame_of(beside_leaderboard(home.lake(), frame, dataset, split, name=name)[0])
