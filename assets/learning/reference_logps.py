"""Reference log-probabilities, computed once for the whole training instead of at every step."""

import polars as pl

from assets.lake.asset import Step, asset
from assets.lake.checks import check
from assets.lake.partitions import BY_EXPERIMENT
from assets.lake.ports import Launcher
from assets.lake.publish import Content
from assets.lake.reads import same_dataset, same_experiment
from assets.lake.versions import Version
from assets.learning.follower import Follower
from assets.learning.start import START, Preferring, plan_preference
from assets.transforms.guarantees.finding import every_completion_is_covered
from contracts.config import ReferenceSpec


@asset(
    by=BY_EXPERIMENT,
    plan=plan_preference("reference_logps"),
    reads=[
        START,
        same_experiment("preference_rows"),
        same_dataset("histories"),
        same_dataset("items"),
        same_dataset("interactions", when=lambda of: of.lists_candidates),
    ],
    config=lambda of: {},
    group="negatives",
    kinds={"torch", "parquet"},
    owner="training",
    checks=["every_completion_is_covered"],
    shared=True,
)
def reference_logps(
    step: Step,
    of: Preferring,
    start: Version,
    preference_rows: Version,
    histories: Version,
    items: Version,
    interactions: Version | None,
    launcher: Launcher,
) -> Content:
    """Log-probabilities of every chosen and rejected item under the policy that the experiment starts from.

    They depend only on its weights, on the rows and on what the prompts list, so experiments with the same rows share
    them. The reference of a later round is the policy of the round before.
    """
    spec = ReferenceSpec(
        policy=start.path("policy"),
        preference_rows=preference_rows.table_path,
        histories=histories.table_path,
        items=items.table_path,
        output=step.folder,
        compute=launcher.compute,
        interactions=interactions and interactions.table_path,
    )
    waited_s = launcher.run("reference", spec, Follower(step.info, f"reference of {of.keys.experiment}"))
    path = spec.output / "reference_logps.parquet"
    found = every_completion_is_covered(pl.scan_parquet(path, glob=False), preference_rows.scan())
    return Content(path, {}, [check("every_completion_is_covered", found)], waited_s)
