"""Rules that hold between an experiment and the one that it starts from, which no model of one file can check."""

import math
from collections.abc import Callable

from contracts.config import Negatives, Pool, PreferenceExperiment, SftExperiment
from contracts.files.names import KEY, round_before_last
from contracts.files.yaml_lines import ConfigurationError

PlaceOf = Callable[..., str]
"""Keys that lead to a value of the experiment → the file and the line where it is written."""


def refuse_contradictions(key: str, experiment: PreferenceExperiment, start: SftExperiment, place_of: PlaceOf) -> None:
    """Refuses an experiment that the policy it starts from cannot serve.

    Raises:
        ConfigurationError: naming the line and what is accepted.
    """
    try:
        experiment.budget.require_protocol(start.representation)
    except ValueError as error:
        raise ConfigurationError(f"{place_of('budget', 'select_by')}: {error}") from error
    _refuse_short_pool(experiment, start, place_of)
    _refuse_long_rounds(key, experiment, place_of)


def refuse_unpinned(experiment: SftExperiment, place_of: PlaceOf) -> None:
    """Refuses a base model of the hub without a revision, under which another could be downloaded tomorrow.

    Raises:
        ConfigurationError: naming the line and what is accepted.
    """
    if experiment.backbone.kind == "checkpoint":
        try:
            experiment.backbone.require_pinned()
        except ValueError as error:
            raise ConfigurationError(f"{place_of('backbone')}: {error}") from error


def _refuse_short_pool(experiment: PreferenceExperiment, start: SftExperiment, place_of: PlaceOf) -> None:
    """Refuses an experiment whose negatives a full pool could leave short, whatever `min_rank` passes over."""
    pool, start_from = start.pool, experiment.start_from
    if pool is None:
        raise ConfigurationError(
            f"{place_of('start_from')}: start_from must be an experiment that mines negatives, got {start_from}, "
            f"whose pool is null. Give experiments/{start_from}.yaml a pool."
        )
    for kind, (used, passed_over) in _asked_of(experiment.negatives, pool).items():
        held = pool.size if kind == "boundary" else getattr(pool, kind)
        if used == 0 or used + passed_over <= held:
            continue
        guard = f", {passed_over} of them to be passed over by min_rank" if passed_over else ""
        fields = "one of its parts" if kind == "boundary" else f"pool.{kind}"
        raise ConfigurationError(
            f"{place_of('negatives', 'n')}: negatives must ask for at most the {held} {kind} negatives the pool "
            f"of {start_from} holds, got {used + passed_over}{guard}. Lower n, or raise {fields} in "
            f"experiments/{start_from}.yaml."
        )


def _refuse_long_rounds(key: str, experiment: PreferenceExperiment, place_of: PlaceOf) -> None:
    """Refuses an experiment whose rounds have names that no folder may have."""
    rounds = experiment.negatives.rounds
    if rounds > 1 and not KEY.fullmatch(first := round_before_last(key, rounds)):
        raise ConfigurationError(
            f"{place_of('negatives', 'rounds')}: the names of its rounds must be at most 64 characters, got "
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
