"""Policies: the supervised one that an experiment starts from, and those that preference optimisation makes of it."""

import hashlib
import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import dagster as dg
import yaml

from assets.lake.checks import Check, check_specs
from assets.lake.leaks import accepted_in, leak_tags
from assets.lake.partitions import BY_EXPERIMENT, Keys, keys_of, of_start
from assets.lake.plots import curves_plot, image
from assets.lake.ports import Launcher, Tracker
from assets.lake.publish import Content, Inputs, publish
from assets.lake.versions import Lake, Partition, partition_text
from assets.learning.attempts import next_attempt, remove_attempts
from assets.learning.follower import Follower
from assets.learning.start import start_of
from assets.learning.stop_on_collapse import CHECK, StopOnCollapse, collapse_check, judge_training
from contracts.config import (
    Experiment,
    PreferenceExperiment,
    PreferenceSpec,
    SemanticIds,
    SftExperiment,
    SftSpec,
    TrainingSpec,
    identity,
)
from contracts.files.load import (
    listed_candidates,
    load_dataset,
    load_experiment,
    raw_folder,
    source_of,
    study_of,
    written_as,
)
from contracts.words import FORCE_TAG, PARENT_RUN_TAG
from training.io.base_model import base_files, base_folder, base_sha256

OWNERS = ["team:training"]

Results = Iterator[dg.AssetCheckResult | dg.MaterializeResult[Any]]


@dg.asset(
    deps=["histories", "items"],
    partitions_def=BY_EXPERIMENT,
    group_name="policies",
    kinds={"torch", "mlflow"},
    owners=OWNERS,
    code_version="1",
    pool="gpu",
    check_specs=check_specs("sft_policies", "loss_is_finite"),
)
def sft_policies(
    context: dg.AssetExecutionContext,
    lake: dg.ResourceParam[Lake],
    launcher: dg.ResourceParam[Launcher],
    tracker: dg.ResourceParam[Tracker],
) -> Results:
    """Supervised fine-tuning: next-item prediction over every position of a history, best on validation kept.

    The policy that preference experiments start from, their reference, and the miner of their negatives.
    """
    keys = keys_of(context)
    experiment = load_experiment(keys.experiment)
    if not isinstance(experiment, SftExperiment):
        raise wrong_kind("sft_policies", keys, "sft", experiment.kind)

    codes, for_prompts = code_table(keys, experiment), tables_of_prompts(keys, experiment)
    config = {"experiment": identity(experiment, exclude={"pool"})}
    if codes is not None:
        config["codes"] = hashlib.sha256(codes.read_bytes()).hexdigest()
    base = base_model(context.log.info, keys, experiment)
    if base is not None:
        config["base_model"] = base

    def train(inputs: Inputs, staged: Mapping[str, Path]) -> dict[str, Content]:
        output = staged["sft_policies"]
        spec = SftSpec(
            experiment=experiment,
            histories=inputs["histories"].table_path,
            items=inputs["items"].table_path,
            output=output,
            compute=launcher.compute,
            codes=codes,
            **paths_of(inputs, for_prompts),
        )
        content = run_tracked(context, launcher, tracker, "sft", spec, keys, inputs, config)
        return {"sft_policies": content}

    yield from publish(
        context,
        lake,
        train,
        partition=keys,
        inputs=[("histories", (keys.dataset,)), ("items", (keys.dataset,)), *for_prompts],
        config=config,
    )
    remove_attempts(launcher.checkpoints_root, keys)


@dg.asset(
    deps=[of_start("sft_policies"), "histories", "items", "preference_rows", "reference_logps"],
    partitions_def=BY_EXPERIMENT,
    group_name="policies",
    kinds={"torch", "mlflow"},
    owners=OWNERS,
    code_version="1",
    pool="gpu",
    check_specs=check_specs("preference_policies", "loss_is_finite", "improves_on_its_start", CHECK),
)
def preference_policies(
    context: dg.AssetExecutionContext,
    lake: dg.ResourceParam[Lake],
    launcher: dg.ResourceParam[Launcher],
    tracker: dg.ResourceParam[Tracker],
) -> Results:
    """Preference optimisation of a policy against the negatives it mined; the start is also the reference.

    Every experiment that starts from the same policy reads the same negatives and the same reference log-probabilities.
    A later round starts from the policy of the round before, which Dagster does not show: an asset cannot depend on
    itself. It stands in the metadata, the manifest and the lineage.
    """
    keys = keys_of(context)
    experiment = load_preference("preference_policies", keys)
    start, for_prompts = start_of(keys, experiment), tables_of_prompts(keys, experiment)
    config = {"experiment": identity(experiment)}

    def train(inputs: Inputs, staged: Mapping[str, Path]) -> dict[str, Content]:
        output = staged["preference_policies"]
        spec = PreferenceSpec(
            experiment=experiment,
            histories=inputs["histories"].table_path,
            items=inputs["items"].table_path,
            start_policy=inputs[start.asset].path("policy"),
            preference_rows=inputs["preference_rows"].table_path,
            reference_logps=inputs["reference_logps"].table_path,
            output=output,
            compute=launcher.compute,
            **paths_of(inputs, for_prompts),
        )
        content = run_tracked(context, launcher, tracker, "preference", spec, keys, inputs, config)
        link = dg.MetadataValue.md(f"`{start.asset}` of `{partition_text(start.policy)}`, which is also the reference")
        return {"preference_policies": replace(content, metadata={**content.metadata, "start_from": link})}

    yield from publish(
        context,
        lake,
        train,
        partition=keys,
        inputs=[
            ("histories", (keys.dataset,)),
            ("items", (keys.dataset,)),
            start.policy_input,
            ("preference_rows", keys),
            ("reference_logps", keys),
            *for_prompts,
        ],
        config=config,
    )
    remove_attempts(launcher.checkpoints_root, keys)


def code_table(keys: Keys, experiment: SftExperiment) -> Path | None:
    """The code table of an experiment on semantic ids, which lies among the raw files of the data set."""
    if not isinstance(experiment.representation, SemanticIds):
        return None
    path = raw_folder(keys.dataset) / experiment.representation.table
    if not path.is_file():
        raise dg.Failure(
            f"{source_of(keys.experiment)} needs the code table {experiment.representation.table} of "
            f"{keys.dataset}, but {path} does not exist. Put it there, or name another in representation.table.",
            allow_retries=False,
        )
    return path


def base_model(say: Callable[[str], None], keys: Keys, experiment: SftExperiment) -> str | None:
    """SHA-256 of the base model of an experiment that names it by a folder, which may hold another one tomorrow."""
    backbone = experiment.backbone
    if backbone.kind != "checkpoint":
        return None
    backbone.require_pinned()
    if backbone.revision is None and not Path(backbone.name).is_dir():
        raise dg.Failure(
            f"{source_of(keys.experiment)} starts from the base model in {backbone.name}, but there is no such folder. "
            "Put it there, or name another in backbone.name.",
            allow_retries=False,
        )
    folder = base_folder(backbone)
    if folder is not None:
        size = sum(path.stat().st_size for path in base_files(folder))
        say(f"{keys.experiment}: looks whether the base model in {folder} is the same, {size / 1e9:.1f} GB")
    return base_sha256(backbone)


def tables_of_prompts(keys: Keys, experiment: Experiment) -> list[tuple[str, Partition]]:
    """What a training reads besides, where prompts list candidates; an edge that Dagster does not show, as few need it.

    Raises:
        dg.Failure: prompts list another number of candidates than the data set's candidate sets hold.
    """
    listed, n = listed_candidates(experiment), load_dataset(keys.dataset).candidates.n
    if listed is None:
        return []
    if listed.n != n:
        raise dg.Failure(
            f"{source_of(keys.experiment)} has prompts that list {listed.n} candidates, but the candidate sets of "
            f"{keys.dataset} hold {n}. Give representation.candidates.n of the sft experiment and candidates.n of the "
            "data set the same value.",
            allow_retries=False,
        )
    return [("interactions", (keys.dataset,)), ("candidate_sets", (keys.dataset,))]


def paths_of(inputs: Inputs, tables: Sequence[tuple[str, Partition]]) -> dict[str, Any]:
    """Where the versions of these tables that are read lie, by asset: fields of a specification."""
    return {asset: inputs[asset].table_path for asset, _ in tables}


def load_preference(asset: str, keys: Keys) -> PreferenceExperiment:
    """The experiment of this partition, which has to be a preference experiment."""
    experiment = load_experiment(keys.experiment)
    if not isinstance(experiment, PreferenceExperiment):
        raise wrong_kind(asset, keys, "preference", experiment.kind)
    return experiment


def wrong_kind(asset: str, keys: Keys, wanted: str, got: str) -> dg.Failure:
    """The refusal of a partition whose experiment is of another kind."""
    return dg.Failure(
        f"{asset} holds experiments of kind {wanted}, but {source_of(keys.experiment)} is of kind {got}. "
        f"Launch the job `train` for {partition_text(keys)}: it picks the right assets.",
        allow_retries=False,
    )


def run_tracked(
    context: dg.AssetExecutionContext,
    launcher: Launcher,
    tracker: Tracker,
    stage: str,
    spec: TrainingSpec,
    keys: Keys,
    inputs: Inputs,
    config: Mapping[str, str],
) -> Content:
    """Runs a training command inside a tracked run, and describes the policy it leaves in the staging folder.

    A command that goes on from where an interrupted one stood repeats its curves, so that this run has them whole.
    """
    experiment = spec.experiment
    made_from = {**config, "code_version": context.assets_def.code_versions_by_key[context.asset_key]}
    afresh = context.run.tags.get(FORCE_TAG) == "true"
    attempt = next_attempt(launcher.checkpoints_root, keys, made_from, inputs, afresh=afresh)
    judge = None
    if isinstance(experiment, PreferenceExperiment) and experiment.budget.stop_on_collapse:
        judge = StopOnCollapse(experiment, spec.output, lambda text: context.log.warning(f"{keys.experiment}: {text}"))
    spec = spec.model_copy(update={"checkpoints": attempt.checkpoints, "awaits_verdicts": judge is not None})
    tags = {
        "kind": experiment.kind,
        "seed": str(experiment.seed),
        "objective": experiment.objective.kind if isinstance(experiment, PreferenceExperiment) else "next-item",
        "dagster.run_id": context.run.run_id,
        "dagster.asset": context.asset_key.to_user_string(),
        "dagster.partition": partition_text(keys),
        **{f"input.{version.asset}": version.data_version for version in inputs.versions},
        **leak_tags(accepted_in(inputs.versions)),
        **study_tags(keys.experiment, context.run.tags),
        **round_tags(keys.experiment, experiment),
    }
    params = flatten({**experiment.model_dump(mode="json"), "dataset": keys.dataset, "device": spec.compute.device})
    started = time.monotonic()
    with tracker.tracked(
        keys.dataset,
        keys.experiment,
        params=params,
        tags=tags,
        config=as_yaml(experiment),
        inputs=inputs.versions,
    ) as live:
        context.instance.add_run_tags(context.run.run_id, {"mlflow/run_id": live.tracked.run_id})
        context.log.info(f"{keys.experiment}: MLflow run {live.tracked.url}")
        attempt.begin(live.tracked.run_id)
        follower = Follower(context, keys.experiment, live, interrupted=attempt.interrupted, on_validation=judge)
        launcher.run(stage, spec, follower)
    if judge is not None:
        judge.close()
    measured = {"train_seconds": time.monotonic() - started, **training_cost(follower)}
    plot = curves_plot(follower.curves)
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "curves.png"
        picture.write_bytes(plot)
        tracker.summarise(live.tracked.run_id, metrics={}, tags={}, artifacts=[picture])
    run = {"mlflow_run_id": live.tracked.run_id, "mlflow_url": live.tracked.url, **measured}
    (spec.output / "run.json").write_text(json.dumps(run), encoding="utf-8")
    return _described(experiment, follower, live.tracked.url, measured, plot)


def _described(
    experiment: SftExperiment | PreferenceExperiment,
    follower: Follower,
    url: str,
    measured: Mapping[str, float],
    plot: bytes,
) -> Content:
    selected = f"validation/{experiment.budget.select_by}"
    kept = follower.end[experiment.budget.select_by]
    losses = [value for _, value in follower.curves["train/loss"]]
    checks = [Check("loss_is_finite", all(map(math.isfinite, losses)), {"points": len(losses)})]
    if isinstance(experiment, PreferenceExperiment):  # measured before its first step too
        start = follower.curves[selected][0][1]
        checks.append(Check("improves_on_its_start", kept > start, {"start": start, "kept": kept}, blocks=False))
        checks.append(collapse_check(judge_training(experiment, follower.curves)))
    stopped = {} if follower.stopped_at is None else {"stopped_on_collapse_at_step": follower.stopped_at}
    return Content(
        metadata={
            "mlflow_run": dg.MetadataValue.url(url),
            **measured,
            "resumed_from_step": follower.resumed_from_step,
            "first_loss": losses[0],
            "last_loss": losses[-1],
            f"kept_validation_{experiment.budget.select_by}": kept,
            "kept_step": int(follower.end["selected_step"]),
            **stopped,
            "curves": dg.MetadataValue.md(image(plot)),
        },
        checks=checks,
    )


def study_tags(experiment: str, run_tags: Mapping[str, str]) -> dict[str, str]:
    """What a tracked run says of the study that it belongs to, so that it stands under the study's own run."""
    study, parent = study_of(experiment), run_tags.get(PARENT_RUN_TAG)
    if study is None or parent is None:
        return {}
    return {"study": study, "mlflow.parentRunId": parent}


def round_tags(key: str, experiment: SftExperiment | PreferenceExperiment) -> dict[str, str]:
    """What a tracked run says of its mining round, so that the rounds of an experiment are found together."""
    if isinstance(experiment, SftExperiment):
        return {}
    return {"round": str(experiment.negatives.rounds - 1), "rounds_of": written_as(key)}


def training_cost(follower: Follower) -> dict[str, float]:
    """What a training command said of itself: memory at its peak, in bytes, and the rows of a middling step per second.

    A resumed command repeats the speeds of the one before it, so that its middle is that of the whole training.
    """
    cost = {name: value for name, value in follower.end.items() if name.startswith("peak_")}
    speeds = [value for _, value in follower.curves.get("train/rows_per_s", [])]
    return {**cost, **({"examples_per_s": median(speeds)} if speeds else {})}


def as_yaml(experiment: Experiment) -> str:
    """The whole experiment with every default written out, as a file in `experiments/` would hold it."""
    return yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False)


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested configuration as searchable parameters: `objective.beta` → `1.0`."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        elif value is not None:
            flat[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value)
    return flat
