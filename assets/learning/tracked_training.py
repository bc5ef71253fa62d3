"""A training command inside a tracked run: what the two assets that hold policies share."""

import json
import math
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import dagster as dg

from assets.lake.asset import Step
from assets.lake.checks import Check
from assets.lake.leaks import accepted_in, leak_tags
from assets.lake.partitions import Keys
from assets.lake.plots import curves_plot, image
from assets.lake.ports import Launcher, Tracker
from assets.lake.publish import Content
from assets.lake.versions import Version, partition_text
from assets.learning.experiments import as_yaml, flatten, study_tags
from assets.learning.follower import Follower
from assets.learning.stop_on_collapse import StopOnCollapse, collapse_check, judge_training
from contracts.config import PreferenceExperiment, SftExperiment, TrainingSpec
from contracts.durable import write_json
from contracts.files.names import written_as

RUN = "run.json"
"""Beside a policy: what its training cost, and which tracked run it was. Beside checkpoints: the run of an attempt."""


def run_tracked(step: Step, launcher: Launcher, tracker: Tracker, stage: str, spec: TrainingSpec) -> Content:
    """Runs a training command inside a tracked run, and describes the policy it leaves in the staging folder.

    A command that goes on from where an interrupted one was repeats its curves, so that this run has them whole.
    """
    experiment, keys = spec.experiment, Keys(*step.partition)
    checkpoints = step.unfinished
    assert checkpoints is not None  # every asset that trains declares where its checkpoints lie
    judge = None
    if isinstance(experiment, PreferenceExperiment) and experiment.budget.stop_on_collapse:
        judge = StopOnCollapse(experiment, spec.output, lambda text: step.warn(f"{keys.experiment}: {text}"))
    spec = spec.model_copy(update={"checkpoints": checkpoints, "awaits_replies": judge is not None})
    params = flatten({**experiment.model_dump(mode="json"), "dataset": keys.dataset, "device": spec.compute.device})
    started = time.monotonic()
    with tracker.tracked(
        keys.dataset,
        keys.experiment,
        params=params,
        tags=_tags(step, keys, experiment),
        config=as_yaml(experiment),
        inputs=step.inputs.versions,
    ) as live:
        step.tag_run({"mlflow/run_id": live.tracked.run_id})
        step.info(f"{keys.experiment}: MLflow run {live.tracked.url}")
        interrupted = _begin(checkpoints, live.tracked.run_id)
        follower = Follower(step.info, keys.experiment, live, interrupted=interrupted, on_validation=judge)
        waited_s = launcher.run(stage, spec, follower)
    if judge is not None:
        judge.close()
    measured = {"train_seconds": time.monotonic() - started - waited_s, **training_cost(follower)}
    plot = curves_plot(follower.curves)
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "curves.png"
        picture.write_bytes(plot)
        tracker.summarise(live.tracked.run_id, metrics={}, tags={}, artifacts=[picture])
    run = {"mlflow_run_id": live.tracked.run_id, "mlflow_url": live.tracked.url, **measured}
    (spec.output / RUN).write_text(json.dumps(run), encoding="utf-8")
    return _described(experiment, follower, live.tracked.url, measured, plot)


def training_run(policy: Version) -> dict[str, Any]:
    """What the run that trained a policy recorded: `mlflow_run_id`, `train_seconds` and other costs."""
    return json.loads(policy.path(RUN).read_text(encoding="utf-8"))


def _begin(checkpoints: Path, run_id: str) -> str | None:
    """Remembers beside the checkpoints which tracked run this attempt is; the run of an interrupted one, or None."""
    checkpoints.mkdir(parents=True, exist_ok=True)
    path = checkpoints / RUN
    interrupted = json.loads(path.read_text(encoding="utf-8"))["run_id"] if path.exists() else None
    write_json(path, {"run_id": run_id})
    return interrupted


def _tags(step: Step, keys: Keys, experiment: SftExperiment | PreferenceExperiment) -> dict[str, str]:
    return {
        "kind": experiment.kind,
        "seed": str(experiment.seed),
        "objective": experiment.objective.kind if isinstance(experiment, PreferenceExperiment) else "next-item",
        "dagster.run_id": step.run_id,
        "dagster.asset": step.name,
        "dagster.partition": partition_text(keys),
        **{f"input.{version.asset}": version.data_version for version in step.inputs.versions},
        **leak_tags(accepted_in(step.inputs.versions)),
        **study_tags(keys.experiment, step.tags),
        **_round_tags(keys.experiment, experiment),
    }


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


def _round_tags(key: str, experiment: SftExperiment | PreferenceExperiment) -> dict[str, str]:
    """What a tracked run says of its mining round, so that the rounds of an experiment are found together."""
    if isinstance(experiment, SftExperiment):
        return {}
    return {"round": str(experiment.negatives.rounds - 1), "rounds_of": written_as(key)}


def training_cost(follower: Follower) -> dict[str, float]:
    """What a training command said of itself: peak memory in bytes, and the median rows per second.

    A resumed command repeats the speeds of the one before it, so that its middle is that of the whole training.
    """
    cost = {name: value for name, value in follower.end.items() if name.startswith("peak_")}
    speeds = [value for _, value in follower.curves.get("train/rows_per_s", [])]
    return {**cost, **({"examples_per_s": median(speeds)} if speeds else {})}
