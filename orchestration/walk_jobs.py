"""The jobs that a person launches: `train` for an experiment, `retrain` for a data set, `study`, and two for decisions.

Each has one op, which walks the layer jobs of its own code location. The itineraries are in `orchestration.walks`.
"""

from collections.abc import Callable
from functools import wraps

import dagster as dg
from pydantic import Field

from assets.lake.leaks import is_accepting
from assets.lake.partitions import BY_EXPERIMENT
from contracts.files.experiments import default_experiments
from contracts.files.names import dataset_keys, study_keys
from contracts.words import CHAMPION_TAG, REASON_TAG, ROLLBACK_TAG
from orchestration.resources.lake import LakeStorage
from orchestration.resources.mlflow_runs import MlflowTracker
from orchestration.walks.decision import decide
from orchestration.walks.experiments import walk_experiments
from orchestration.walks.runner import LOCATION, REFUSALS, LayerFailed, LayerRunner, tags_of
from orchestration.walks.study import walk_study

ACCEPT_LEAKS = "Run on tables that leak their answers; every number from them is marked. The run tag does the same."
DATASET = "A file in datasets/, without .yaml. A file that is newer than the page: Reload definitions."
REASON = "Why; it stays in the promotion history."


class TrainConfig(dg.Config):
    """How to train the experiment that the partition names."""

    accept_leaks: bool = Field(default=False, description=ACCEPT_LEAKS)


class RetrainConfig(dg.Config):
    """What to walk the whole way for."""

    dataset: str = Field(description=DATASET)
    experiments: list[str] = Field(
        default=[],
        description="Files in experiments/, without .yaml; when empty, all that read items as one token each.",
    )
    accept_leaks: bool = Field(default=False, description=ACCEPT_LEAKS)


class StudyConfig(dg.Config):
    """What to study."""

    study: str = Field(description="A file in studies/, without .yaml. A newer file: Reload definitions.")
    dataset: str = Field(description=DATASET)
    only: dict[str, list[str]] = Field(
        default={}, description='Axis → labels, where not all are wanted: {"seed": ["0"]}.'
    )
    accept_leaks: bool = Field(default=False, description=ACCEPT_LEAKS)


class PromoteConfig(dg.Config):
    """Which version is to serve."""

    dataset: str = Field(description=DATASET)
    version: int = Field(description="Of the registered model borderline-<dataset>, as MLflow counts it.")
    reason: str = Field(description=REASON)


class RollbackConfig(dg.Config):
    """Whose champion before this one is to serve again."""

    dataset: str = Field(description=DATASET)
    reason: str = Field(description=REASON)


NAMES = {
    name: dg.Enum(name, [dg.EnumValue(key) for key in keys])
    for name, keys in {"dataset": dataset_keys(), "study": study_keys()}.items()
}
"""What the Launchpad completes and accepts, by the name of the field."""


def form(config: type[dg.Config]) -> dict[str, dg.Field]:
    """The fields of a config, of which those in `NAMES` take one of the names that there are.

    Pydantic cannot say it: the names are known only when the definitions load.
    """
    return {
        name: dg.Field(NAMES[name], description=field.description) if name in NAMES else field
        for name, field in config.to_fields_dict().items()
    }


Body = Callable[[dg.OpExecutionContext, LakeStorage, MlflowTracker], None]


def failing_in_a_sentence(body: Body) -> Body:
    """An op whose failure shows what a person must change, or which layer failed, without the traces of the walk.

    The run of the layer, which the sentence names, keeps its own trace.
    """

    @wraps(body)
    def op(context: dg.OpExecutionContext, lake: LakeStorage, tracker: MlflowTracker) -> None:
        try:
            body(context, lake, tracker)
        except (LayerFailed, *REFUSALS) as failure:
            raise dg.Failure(str(failure), allow_retries=False) from None

    return op


@dg.op(
    config_schema=form(TrainConfig), description="Walks every layer for this experiment; what is unchanged is reused."
)
@failing_in_a_sentence
def walk_experiment(
    context: dg.OpExecutionContext, lake: dg.ResourceParam[LakeStorage], tracker: dg.ResourceParam[MlflowTracker]
) -> None:
    """Materialises everything one experiment needs, then the experiment."""
    keys = context.partition_key.keys_by_dimension  # type: ignore[attr-defined]
    config = TrainConfig(**context.op_config)
    runner = _runner(context, lake, tracker, accept_leaks=config.accept_leaks)
    walk_experiments(runner, keys["dataset"], [keys["experiment"]])


@dg.op(
    config_schema=form(RetrainConfig),
    description="Walks every layer for all experiments of a data set; what is unchanged is reused.",
)
@failing_in_a_sentence
def walk_dataset(
    context: dg.OpExecutionContext, lake: dg.ResourceParam[LakeStorage], tracker: dg.ResourceParam[MlflowTracker]
) -> None:
    """Materialises a data set, every experiment on it, the leaderboard and the promotion."""
    config = RetrainConfig(**context.op_config)
    runner = _runner(context, lake, tracker, accept_leaks=config.accept_leaks)
    walk_experiments(runner, config.dataset, list(config.experiments) or default_experiments())


@dg.op(
    name="walk_study",
    config_schema=form(StudyConfig),
    description="Walks every experiment of a study; what is finished is reused.",
)
@failing_in_a_sentence
def walk_whole_study(
    context: dg.OpExecutionContext, lake: dg.ResourceParam[LakeStorage], tracker: dg.ResourceParam[MlflowTracker]
) -> None:
    """Materialises the experiments of a study and its report; progress goes to this run's log."""
    config = StudyConfig(**context.op_config)
    runner = _runner(context, lake, tracker, accept_leaks=config.accept_leaks)
    walk_study(runner, config.study, config.dataset, config.only)


@dg.op(config_schema=form(PromoteConfig), description="Makes a version the champion, whatever the gates say.")
@failing_in_a_sentence
def decide_for_version(
    context: dg.OpExecutionContext, lake: dg.ResourceParam[LakeStorage], tracker: dg.ResourceParam[MlflowTracker]
) -> None:
    """Carries out a person's decision for a version."""
    config = PromoteConfig(**context.op_config)
    _decide(context, lake, tracker, config.dataset, {CHAMPION_TAG: str(config.version), REASON_TAG: config.reason})


@dg.op(config_schema=form(RollbackConfig), description="Makes the champion before this one the champion again.")
@failing_in_a_sentence
def decide_for_previous(
    context: dg.OpExecutionContext, lake: dg.ResourceParam[LakeStorage], tracker: dg.ResourceParam[MlflowTracker]
) -> None:
    """Carries out a person's decision for the champion before."""
    config = RollbackConfig(**context.op_config)
    _decide(context, lake, tracker, config.dataset, {ROLLBACK_TAG: "true", REASON_TAG: config.reason})


def _decide(
    context: dg.OpExecutionContext, lake: LakeStorage, tracker: MlflowTracker, dataset: str, tags: dict[str, str]
) -> None:
    decide(_runner(context, lake, tracker), dataset, tags)
    context.log.info(f"champion of {dataset}: version {tracker.champion(dataset)}")


def _runner(
    context: dg.OpExecutionContext, lake: LakeStorage, tracker: MlflowTracker, *, accept_leaks: bool = False
) -> LayerRunner:
    """A runner of the jobs beside the one that runs, whose lines go to the log of its run."""
    accepts, origin = accept_leaks or is_accepting(context.run.tags), context.run.remote_job_origin
    return LayerRunner(
        context.instance,
        lambda name: context.repository_def.get_job(name),
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


@dg.job(
    executor_def=dg.in_process_executor,
    description="A version that a person chose becomes the champion, whatever the gates say; the history keeps the "
    "reason. The job `promote` lets the gates decide.",
)
def promote_version() -> None:
    """The job to launch to overrule the gates."""
    decide_for_version()


@dg.job(
    executor_def=dg.in_process_executor,
    description="The champion before this one serves again; the history keeps the reason.",
)
def rollback() -> None:
    """The job to launch to take the last change of the champion back."""
    decide_for_previous()


WALKS = [train, retrain, study, promote_version, rollback]
