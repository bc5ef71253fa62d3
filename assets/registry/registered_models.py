"""From a policy to the registry: a version that can be served, tagged with everything it was made from."""

import json

import dagster as dg
import polars as pl

from assets.lake.asset import Request, Step, asset
from assets.lake.leaks import accepted_in, leak_tags
from assets.lake.manifest import ancestry, plain_metadata
from assets.lake.partitions import BY_EXPERIMENT
from assets.lake.ports import ModelCard, Tracker
from assets.lake.publish import Content
from assets.lake.reads import same_dataset, same_experiment
from assets.lake.versions import Version, partition_text
from assets.learning.experiments import OWN_POLICY, Planned, flatten, plan_experiment, wrong_kind
from assets.learning.stop_on_collapse import collapse_of
from assets.registry.registration import REGISTRATION_FILE, registration_of
from assets.results.measurement import MLFLOW_RUN_ID
from contracts.files.experiments import is_servable
from contracts.files.names import source_of

EXAMPLES = 3


@asset(
    by=BY_EXPERIMENT,
    plan=lambda request: _servable(request),
    reads=[
        OWN_POLICY,
        same_experiment("metrics"),
        same_dataset("items"),
        same_dataset("histories"),
        same_dataset("interactions"),
    ],
    config=lambda of: {"experiment": of.keys.experiment},
    group="registry",
    kinds={"mlflow"},
    owner="serving",
    still_valid=lambda version, of, tracker: tracker.version_exists(
        of.keys.dataset, registration_of(version)["version"]
    ),
)
def registered_models(
    step: Step,
    of: Planned,
    policy: Version,
    metrics: Version,
    items: Version,
    histories: Version,
    interactions: Version,
    tracker: Tracker,
) -> Content:
    """The policy as a servable model without pickle, a version of `borderline-<dataset>`, tagged with its lineage."""
    keys, experiment = of.keys, of.experiment
    collapse = collapse_of(policy)
    measured = plain_metadata(metrics)
    card = ModelCard(
        dataset=keys.dataset,
        experiment=keys.experiment,
        params=flatten(experiment.model_dump(mode="json")),
        metrics={name: value for name, value in measured.items() if isinstance(value, float)},
        tags={
            "kind": experiment.kind,
            "seed": str(experiment.seed),
            "dagster.run_id": policy.manifest["run_id"],
            "dagster.partition": partition_text(keys),
            "policy": policy.data_version,
            **leak_tags(accepted_in(step.inputs.versions)),
            **({} if collapse is None else {"collapse": f"{collapse['verdict']}: {collapse['message']}"}),
            "code_version": policy.manifest["code_version"],
            **_lineage(policy),
        },
        histories_example=_examples(histories, items),
    )
    catalogue = step.folder / "catalogue.parquet"
    _catalogue(interactions, items).write_parquet(catalogue)
    run_id = measured[MLFLOW_RUN_ID]
    version = tracker.register(run_id, policy.path("policy"), catalogue, card)
    registration = {
        "version": version,
        "run_id": run_id,
        "model": f"borderline-{keys.dataset}",
        "policy": policy.data_version,
        "collapse": collapse,
    }
    (step.folder / REGISTRATION_FILE).write_text(json.dumps(registration), encoding="utf-8")
    url = tracker.version_url(keys.dataset, version)
    return Content(metadata={"model_version": version, "model_page": dg.MetadataValue.url(url)})


def _servable(request: Request) -> Planned:
    planned = plan_experiment(request)
    if planned.is_baseline:
        raise wrong_kind("registered_models", planned.keys, "sft or preference", planned.experiment.kind)
    if not is_servable(planned.experiment):
        raise dg.Failure(
            f"registered_models holds policies that recommend from the catalogue, but the prompts of "
            f"{source_of(planned.keys.experiment)} list candidates. Launch the job `train`: it leaves this one out.",
            allow_retries=False,
        )
    return planned


def _lineage(policy: Version) -> dict[str, str]:
    """Data version of every table the policy was trained from, however far up, and the hashes of the raw files."""
    tags: dict[str, str] = {}
    for entry in ancestry(policy):
        tags[f"table.{'.'.join([entry['asset'], *entry['partition'][1:]])}"] = entry["data_version"]
        tags |= {f"raw.{name}": sha256 for name, sha256 in entry["files"].items()}
    return tags


def _catalogue(interactions: Version, items: Version) -> pl.DataFrame:
    train = interactions.table(["item_id", "split"]).filter(pl.col("split") == "train")
    counts = train.group_by("item_id").agg(pl.len().alias("n_train"))
    table = items.table(["item_id", "item", "title"])
    return table.join(counts, on="item_id", how="left").with_columns(pl.col("n_train").fill_null(0)).sort("item_id")


def _examples(histories: Version, items: Version) -> list[list[str]]:
    raw_id = dict(items.table(["item_id", "item"]).iter_rows())
    rows = histories.table(["split", "history"]).filter(pl.col("split") != "train").tail(EXAMPLES)
    return [[raw_id[item] for item in history[-10:]] for history in rows["history"]]
