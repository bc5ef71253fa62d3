"""What a preference experiment starts from: a supervised policy and the pool it mined, or the round before."""

from dataclasses import dataclass

from assets.lake.partitions import Keys
from assets.lake.versions import Partition
from contracts.config import PreferenceExperiment
from contracts.files.load import previous_round


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
    its round. Dagster cannot know of these edges: between assets they would be a circle, as between the policy of
    round 1 and that of round 2. So they are read from the lake, and stand in every manifest and in the lineage.
    """
    before = previous_round(keys.experiment)
    first = Keys(keys.dataset, experiment.start_from)
    if before is None:
        return Start("sft_policies", policy=first, pool=first, pool_before=None)
    earlier = Keys(keys.dataset, before)
    is_second = previous_round(before) is None
    return Start("preference_policies", policy=earlier, pool=keys, pool_before=first if is_second else earlier)
