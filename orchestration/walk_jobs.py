"""The jobs that a person launches for a whole way: `train` for an experiment, `retrain` for a data set, `study`.

Each has one op, which walks the layer jobs of its own code location. The itineraries are in `orchestration.walks`.
"""

import dagster as dg
from pydantic import Field

from assets.lake.leaks import is_accepting
from assets.lake.partitions import BY_EXPERIMENT
from contracts.files.experiments import default_experiments
from orchestration.resources.lake import LakeStorage
from orchestration.resources.mlflow_runs import MlflowTracker
from orchestration.walks.experiments import walk_experiments
from orchestration.walks.runner import LOCATION, LayerRunner, tags_of
from orchestration.walks.study import walk_study

ACCEPT_LEAKS = "Run on tables that leak their answers; every number from them is marked. The run tag does the same."


class RetrainConfig(dg.Config):
    """What to walk the whole way for."""

    dataset: str = Field(description="A file in datasets/, without .yaml.")
    experiments: list[str] = Field(
        default_factory=list,
        description="Files in experiments/, without .yaml; when empty, all that read items as one token each.",
    )
    accept_leaks: bool = Field(default=False, description=ACCEPT_LEAKS)


class StudyConfig(dg.Config):
    """What to study."""

    study: str = Field(description="A file in studies/, without .yaml.")
    dataset: str = Field(description="A file in datasets/, without .yaml.")
    only: dict[str, list[str]] = Field(
        default_factory=dict, description='Axis → labels, where not all are wanted: {"seed": ["0"]}.'
    )
    accept_leaks: bool = Field(default=False, description=ACCEPT_LEAKS)


@dg.op(description="Walks every layer for this experiment; what is unchanged is reused.")
def walk_experiment(
    context: dg.OpExecutionContext, lake: dg.ResourceParam[LakeStorage], tracker: dg.ResourceParam[MlflowTracker]
) -> None:
    """Materialises everything one experiment needs, then the experiment."""
    keys = context.partition_key.keys_by_dimension  # type: ignore[attr-defined]
    walk_experiments(_runner(context, lake, tracker), keys["dataset"], [keys["experiment"]])


@dg.op(description="Walks every layer for all experiments of a data set; what is unchanged is reused.")
def walk_dataset(
    context: dg.OpExecutionContext,
    config: RetrainConfig,
    lake: dg.ResourceParam[LakeStorage],
    tracker: dg.ResourceParam[MlflowTracker],
) -> None:
    """Materialises a data set, every experiment on it, the leaderboard and the promotion."""
    runner = _runner(context, lake, tracker, accept_leaks=config.accept_leaks)
    walk_experiments(runner, config.dataset, list(config.experiments) or default_experiments())


@dg.op(name="walk_study", description="Walks every experiment of a study; what is finished is reused.")
def walk_whole_study(
    context: dg.OpExecutionContext,
    config: StudyConfig,
    lake: dg.ResourceParam[LakeStorage],
    tracker: dg.ResourceParam[MlflowTracker],
) -> None:
    """Materialises the experiments of a study and its report; progress goes to this run's log."""
    runner = _runner(context, lake, tracker, accept_leaks=config.accept_leaks)
    walk_study(runner, config.study, config.dataset, config.only)


def _runner(
    context: dg.OpExecutionContext, lake: LakeStorage, tracker: MlflowTracker, *, accept_leaks: bool = False
) -> LayerRunner:
    """A runner of the jobs beside the one that runs, whose lines go to the log of its run."""
    accepts, origin = accept_leaks or is_accepting(context.run.tags), context.run.remote_job_origin
    return LayerRunner(
        context.instance,
        context.repository_def.get_job,
        lake,
        tracker,
        tags_of(accept_leaks=accepts, parent_run_id=context.run.run_id),
        say=context.log.info,
        location=origin.repository_origin if origin else LOCATION,
    )


@dg.job(
    partitions_def=BY_EXPERIMENT,
    executor_def=dg.in_process_executor,
    description="One experiment of any kind, from raw files to leaderboard: makes what is missing, reuses the rest.",
)
def train() -> None:
    """The job to launch for one experiment."""
    walk_experiment()


@dg.job(
    executor_def=dg.in_process_executor,
    description="A whole data set: ingest, all experiments, leaderboard, registry, champion. What schedules launch.",
)
def retrain() -> None:
    """The job to launch for a data set."""
    walk_dataset()


@dg.job(
    executor_def=dg.in_process_executor,
    description="A study: every experiment of a file in studies/ on one data set, and one report. An interrupted study "
    "goes on where it was.",
)
def study() -> None:
    """The job to launch for a study."""
    walk_whole_study()


WALKS = [train, retrain, study]
