"""Policies that preference optimisation makes of the one an experiment starts from."""

from dataclasses import replace

import dagster as dg

from assets.data.repeats import judged_config, keeps_repeats
from assets.lake.asset import Step, asset
from assets.lake.partitions import BY_EXPERIMENT
from assets.lake.ports import Launcher, Tracker
from assets.lake.publish import Content
from assets.lake.reads import same_dataset, same_experiment
from assets.lake.versions import Version, partition_text
from assets.learning.experiments import LISTED_IN_PROMPTS
from assets.learning.start import START, Preferring, plan_preference
from assets.learning.stop_on_collapse import CHECK
from assets.learning.tracked_training import run_tracked
from contracts.config import PreferenceSpec, policy_identity


@asset(
    by=BY_EXPERIMENT,
    plan=plan_preference("preference_policies"),
    reads=[
        same_dataset("histories"),
        same_dataset("items"),
        START,
        same_experiment("preference_rows"),
        same_experiment("reference_logps"),
        *LISTED_IN_PROMPTS,
    ],
    config=lambda of: {"experiment": policy_identity(of.experiment), **judged_config(of.dataset)},
    group="policies",
    kinds={"torch", "mlflow"},
    owner="training",
    checks=["loss_is_finite", "improves_on_its_start", CHECK],
    resumes_in="checkpoints",
)
def preference_policies(
    step: Step,
    of: Preferring,
    histories: Version,
    items: Version,
    start: Version,
    preference_rows: Version,
    reference_logps: Version,
    interactions: Version | None,
    candidate_sets: Version | None,
    launcher: Launcher,
    tracker: Tracker,
) -> Content:
    """Preference optimisation of a policy against the negatives it mined; the start is also the reference.

    Every experiment that starts from the same policy reads the same negatives and the same reference log-probabilities.
    A later round starts from the policy of the round before, which Dagster does not show: an asset cannot depend on
    itself. The metadata, the manifest and the lineage name it.
    """
    spec = PreferenceSpec(
        experiment=of.experiment,
        histories=histories.table_path,
        items=items.table_path,
        start_policy=start.path("policy"),
        preference_rows=preference_rows.table_path,
        reference_logps=reference_logps.table_path,
        output=step.folder,
        compute=launcher.compute,
        interactions=interactions and interactions.table_path,
        candidate_sets=candidate_sets and candidate_sets.table_path,
        keeps_repeats=keeps_repeats(histories),
    )
    content = run_tracked(step, launcher, tracker, "preference", spec)
    link = dg.MetadataValue.md(f"`{start.asset}` of `{partition_text(start.partition)}`, which is also the reference")
    return replace(content, metadata={**content.metadata, "start_from": link})
