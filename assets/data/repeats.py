"""Whether a data set keeps repeats, which decides how its rows are judged. How repeats are cleaned away is not here.

Where users take items again, an item of the history is an answer like any other: full lists leave out nothing, and
candidate sets hold items of the history beside the target.
"""

from assets.lake.manifest import plain_metadata
from assets.lake.versions import Version
from contracts.config.dataset import DatasetConfig

KEEPS_REPEATS = "keeps_repeats"
"""In the metadata of `histories` and `candidate_sets`."""
TARGETS_ARE_NEW = "targets_are_not_in_their_history"
"""The check of `histories` that warns where most targets are the last item of their history."""


def judged_config(of: DatasetConfig) -> dict[str, str]:
    """What tables that depend on the protocol add to their configuration: nothing where cleaning leaves no repeats."""
    return {"repeats": "are ranked"} if of.cleaning.repeats == "all" else {}


def keeps_repeats(version: Version) -> bool:
    """Whether the rows of `histories`, or of `candidate_sets`, are judged as those of a data set that keeps repeats."""
    return bool(plain_metadata(version).get(KEEPS_REPEATS, False))
