"""Run one layer job and translate its failure.

A runner knows neither definitions nor itineraries: it is given a function that finds a job by name. The order of the
layers is in the other modules of this folder.
"""

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.events import JobFailureData
from dagster._core.execution.api import execute_run
from dagster._core.execution.execute_in_process import merge_run_tags
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin

from assets.lake.partitions import DATASETS
from assets.lake.versions import NotMaterialised
from assets.sources import MissingRawFile, UnusableSource
from contracts.files.names import dataset_keys
from contracts.files.yaml_lines import ConfigurationError
from contracts.words import ACCEPT_LEAKS_TAG, DATASET_TAG, FORCE_TAG
from orchestration import settings
from orchestration.resources.lake import LakeStorage
from orchestration.resources.mlflow_runs import MlflowTracker
from orchestration.resources.mlflow_store import MovedHome

PARENT_TAG = "borderline/parent_run_id"
"""The run of `train`, `retrain` or `study` that started a layer's. Dagster's own tag would call it a re-execution."""
REFUSALS: tuple[type[Exception], ...] = (
    ConfigurationError,
    MissingRawFile,
    UnusableSource,
    NotMaterialised,
    MovedHome,
)
"""Errors whose message says what a person has to change."""
LOCATION = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(settings.CODE_LOCATION), SINGLETON_REPOSITORY_NAME)
"""Where the Dagster UI looks for the jobs of a run."""
NOT_REPEATED = {"dagster/max_retries": "0"}
"""When a walk dies, Dagster repeats the run of the walk, which comes by all its layers: those are not repeated too."""
RUN_CONFIG = {"loggers": {"console": {"config": {"log_level": "INFO"}}}}
INTERRUPTED = "DagsterExecutionInterruptedError"
"""The error of a run that somebody stopped, as Dagster's events name it."""


class LayerFailed(RuntimeError):
    """A layer's run failed; the message is the step's own, and where to see the run."""

    exit_code = 1


class LayerRefused(LayerFailed):
    """A step refused what a person gave it: a file, a name, a value."""

    exit_code = 2


class LayerInterrupted(LayerFailed):
    """Somebody stopped it."""

    exit_code = 130


def say_in_terminal(text: str) -> None:
    """Print a line beside those of the steps, which come through Dagster."""
    print(f"{datetime.now():%H:%M:%S}  {text}", file=sys.stderr, flush=True)


def tags_of(*, force: bool = False, accept_leaks: bool = False, parent_run_id: str | None = None) -> dict[str, str]:
    """The run tags for what a person asked of a whole walk."""
    tags = {FORCE_TAG: "true"} if force else {}
    if accept_leaks:
        tags[ACCEPT_LEAKS_TAG] = "true"
    if parent_run_id is not None:
        tags[PARENT_TAG] = parent_run_id
    return tags


@dataclass(frozen=True)
class LayerRunner:
    """Runs layer jobs on a Dagster instance, one after another, in this process."""

    instance: dg.DagsterInstance
    job_of: Callable[[str], dg.JobDefinition]
    """Finds a layer job by its name."""
    lake: LakeStorage
    tracker: MlflowTracker
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    """Tags of every run."""
    say: Callable[[str], None] = say_in_terminal
    """Where lines about the walk itself go."""
    location: RemoteRepositoryOrigin = LOCATION
    """The code location that the runs belong to."""

    def tagged(self, tags: Mapping[str, str]) -> "LayerRunner":
        """The same runner with more tags on its runs."""
        return replace(self, tags={**self.tags, **tags})

    def layer(
        self, job: str, dataset: str, experiment: str | None = None, *, study: str | None = None, mines: bool = False
    ) -> None:
        """Run one job for a data set, for an experiment on it, or for a study.

        Args:
            job: one of `orchestration.layers`.
            dataset: its key; for `report_published`, which covers many data sets, the key of the study.
            experiment: for jobs of one experiment.
            study: for the report of a study on one data set.
            mines: whether `train_sft` also fills the pool of negatives.

        Raises:
            LayerFailed: the run failed.
        """
        further = {name: key for name, key in (("experiment", experiment), ("study", study)) if key is not None}
        key = dg.MultiPartitionKey({"dataset": dataset, **further}) if further else dataset
        # execute_in_process would do all this, but its runs belong to no code location: the Timeline and the pages of
        # the jobs leave them out, and Re-execute fails on them.
        definition, tags = self.job_of(job), {**self.tags, **NOT_REPEATED, DATASET_TAG: dataset}
        if dataset in dataset_keys():
            # Without its raw files it has no partition. Its run says which are missing, and its champion can change.
            self.instance.add_dynamic_partitions(str(DATASETS.name), [dataset])
        assets = [] if mines or job != "train_sft" else [dg.AssetKey("sft_policies")]
        here = definition.as_ephemeral_job(resource_defs={}, input_values={}, asset_selection=assets)
        run = self.instance.create_run_for_job(
            here,
            tags=merge_run_tags(definition, key, tags, assets, self.instance, RUN_CONFIG),
            run_config=RUN_CONFIG,
            asset_selection=set(assets) or None,
            remote_job_origin=self.location.get_job_origin(job),
        )
        if PARENT_TAG in self.tags:
            self.say(f"{job} of {key}: {settings.DAGSTER_URL}/runs/{run.run_id}")
        result = execute_run(InMemoryJob(here), run, self.instance)
        if not result.success:
            raise failure_of(result, where=f"The run: {job} of {key}, {run.run_id}.")


def failure_of(result: dg.JobExecutionResult | dg.ExecuteInProcessResult, where: str) -> LayerFailed:
    """What the step that failed said, without the name of a class."""
    for event in result.all_events:
        if not event.is_step_failure:
            continue
        error = event.step_failure_data.error
        while error is not None and error.cause is not None:
            error = error.cause
        name = (error.cls_name if error else None) or ""
        if name == INTERRUPTED:
            said = f"{event.step_key} was interrupted; what was published before it stays"
            return LayerInterrupted(f"{said}\n{where}")
        description = event.step_failure_data.user_failure_data
        said = description.description if description else None
        said = said or (error.message if error else None) or "no message"
        said = re.sub(rf"^([\w.]*\.)?{re.escape(name)}: ", "", said.strip())
        kind = LayerRefused if name in {refusal.__name__ for refusal in REFUSALS} else LayerFailed
        return kind(f"{event.step_key}: {said}\n{where}")
    of_run = [e.event_specific_data for e in result.all_events if e.event_type == dg.DagsterEventType.RUN_FAILURE]
    if any(isinstance(data, JobFailureData) and data.error and data.error.cls_name == INTERRUPTED for data in of_run):
        return LayerInterrupted(f"interrupted between two steps; what was published before it stays\n{where}")
    return LayerFailed(f"the run failed before its first step\n{where}")
