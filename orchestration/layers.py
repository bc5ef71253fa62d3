"""What a person can launch: one job for each layer of the graph, and two that walk all layers in order.

A job cannot span two partition definitions, so a whole way from raw file to registry is a chain of the layer jobs:
`train` walks it for one experiment, `retrain` for a data set.
"""

import dagster as dg
from pydantic import Field

from assets.lake.leaks import is_accepting
from assets.lake.partitions import BY_EXPERIMENT
from contracts.files.load import default_experiments

ingest = dg.define_asset_job(
    "ingest",
    selection=dg.AssetSelection.assets(
        "raw_interactions",
        "raw_items",
        "paper_rows",
        "quarantine",
        "interactions",
        "users",
        "items",
        "splits",
        "histories",
        "candidate_sets",
    ),
    description="Raw files → clean tables, histories and candidate sets of one data set.",
)
train_sft = dg.define_asset_job(
    "train_sft",
    selection=dg.AssetSelection.assets("sft_policies", "mined_negatives"),
    description="A supervised policy, and the pool of negatives it mines. For experiments of kind sft.",
)
train_preference = dg.define_asset_job(
    "train_preference",
    selection=dg.AssetSelection.assets("preference_rows", "reference_logps", "preference_policies"),
    description="A preference policy from the policy it starts from. For experiments of kind preference.",
)
mine = dg.define_asset_job(
    "mine",
    selection=dg.AssetSelection.assets("mined_negatives"),
    description="The pool of a later round, mined by the policy of the round before; or the first one, for kind sft.",
)
evaluate = dg.define_asset_job(
    "evaluate",
    selection=dg.AssetSelection.assets("predictions", "metrics"),
    description="Predictions and metrics of one experiment, on both protocols.",
)
register = dg.define_asset_job(
    "register",
    selection=dg.AssetSelection.assets("registered_models"),
    description="A trained and evaluated policy as a version in the MLflow registry.",
)
compare = dg.define_asset_job(
    "compare",
    selection=dg.AssetSelection.assets("leaderboard"),
    description="The leaderboard of one data set.",
)
promote = dg.define_asset_job(
    "promote",
    selection=dg.AssetSelection.assets("promotion"),
    description="Gives the alias `champion` to the best version of one data set.",
)
report = dg.define_asset_job(
    "report",
    selection=dg.AssetSelection.assets("study_reports"),
    description="The report of a study on one data set, about the experiments that are measured.",
)
report_published = dg.define_asset_job(
    "report_published",
    selection=dg.AssetSelection.assets("paper_comparison"),
    description="Our results beside published ones, over all data sets of a study of kind published.",
)


class RetrainConfig(dg.Config):
    """What to walk the whole way for."""

    dataset: str
    experiments: list[str] = Field(default_factory=list)
    """Every one that reads items as one token each, when empty."""
    accept_leaks: bool = False
    """Whether to run on tables that leak their answers; every number from them is marked. The run tag does the same."""


@dg.op(description="Walks every layer for this experiment; what is unchanged is reused.")
def walk_experiment(context: dg.OpExecutionContext) -> None:
    """Materialises everything one experiment needs, then the experiment."""
    from orchestration.walks.pipeline import Pipeline

    keys = context.partition_key.keys_by_dimension  # type: ignore[attr-defined]
    accept_leaks = is_accepting(context.run.tags)
    pipeline = Pipeline(context.instance, parent_run_id=context.run_id, accept_leaks=accept_leaks)
    pipeline.run(keys["dataset"], [keys["experiment"]])


@dg.op(description="Walks every layer for all experiments of a data set; what is unchanged is reused.")
def walk_dataset(context: dg.OpExecutionContext, config: RetrainConfig) -> None:
    """Materialises a data set, every experiment on it, the leaderboard and the promotion."""
    from orchestration.walks.pipeline import Pipeline

    accept_leaks = config.accept_leaks or is_accepting(context.run.tags)
    pipeline = Pipeline(context.instance, parent_run_id=context.run_id, accept_leaks=accept_leaks)
    pipeline.run(config.dataset, list(config.experiments) or default_experiments())


class StudyConfig(dg.Config):
    """What to study."""

    study: str
    """A file in studies/."""
    dataset: str
    """A file in datasets/."""
    only: dict[str, list[str]] = Field(default_factory=dict)
    """Axis → labels, where not all are wanted: {"seed": ["0"]}."""
    accept_leaks: bool = False
    """Whether to run on tables that leak their answers; every number from them is marked. The run tag does the same."""


@dg.op(description="Walks every experiment of a study; what is finished is reused.")
def walk_study(context: dg.OpExecutionContext, config: StudyConfig) -> None:
    """Materialises the experiments of a study and its report; progress goes to this run's log."""
    from orchestration.walks.pipeline import Pipeline

    accept_leaks = config.accept_leaks or is_accepting(context.run.tags)
    pipeline = Pipeline(context.instance, parent_run_id=context.run_id, accept_leaks=accept_leaks)
    pipeline.study(config.study, config.dataset, only=config.only, say=context.log.info)


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
    description="A study: every experiment of a file in studies/ on one data set, and one report. It goes on where an "
    "interrupted one stood.",
)
def study() -> None:
    """The job to launch for a study."""
    walk_study()


LAYERS = [ingest, train_sft, mine, train_preference, evaluate, register, compare, promote, report, report_published]
