"""What a preference experiment starts from: a supervised policy and the pool it mined, or the round before."""

from collections.abc import Callable
from dataclasses import dataclass

from assets.lake.asset import Request
from assets.lake.partitions import Keys, of_any_experiment
from assets.lake.reads import Read
from assets.lake.versions import Partition
from assets.learning.experiments import lists_candidates, wrong_kind
from contracts.config import PreferenceExperiment
from contracts.config.dataset import DatasetConfig
from contracts.files.experiments import previous_round
from contracts.files.load import load_dataset, load_experiment


@dataclass(frozen=True)
class Start:
    """The policy that a round starts from, which is also its reference and the miner of its negatives."""

    asset: str
    """Which policies it is one of."""
    policy: Keys
    pool: Keys
    """The partition of `mined_negatives` that it mined."""
    pool_before: Keys | None
    """That of the round before; none in the first round, whose pool is the first."""

    @property
    def policy_input(self) -> tuple[str, Partition]:
        """As `publish` wants an input."""
        return self.asset, self.policy


def start_of(keys: Keys, experiment: PreferenceExperiment) -> Start:
    """What the experiment, or the round of one, in this partition starts from.

    The pool of the first round is shared by every experiment that starts from the same policy. A later one belongs to
    its round.
    """
    before = previous_round(keys.experiment)
    first = Keys(keys.dataset, experiment.start_from)
    if before is None:
        return Start("sft_policies", policy=first, pool=first, pool_before=None)
    earlier = Keys(keys.dataset, before)
    is_second = previous_round(before) is None
    return Start("preference_policies", policy=earlier, pool=keys, pool_before=first if is_second else earlier)


@dataclass(frozen=True)
class Preferring:
    """The plan of an asset of a preference experiment."""

    keys: Keys
    experiment: PreferenceExperiment
    start: Start
    lists_candidates: bool
    """Whether prompts list candidates."""
    dataset: DatasetConfig


def plan_preference(asset: str) -> Callable[[Request], Preferring]:
    """The plan of `asset`, which takes only preference experiments."""

    def plan(request: Request) -> Preferring:
        keys = Keys(*request.partition)
        experiment = load_experiment(keys.experiment)
        if not isinstance(experiment, PreferenceExperiment):
            raise wrong_kind(asset, keys, "preference", experiment.kind)
        lists = lists_candidates(keys, experiment)
        return Preferring(keys, experiment, start_of(keys, experiment), lists, load_dataset(keys.dataset))

    return plan


START = Read(
    "start",
    (of_any_experiment("sft_policies"),),
    lambda keys, of: [of.start.policy_input],
    undrawn=("preference_policies",),
)
"""The policy that the experiment starts from; of a later round, that of the round before."""
