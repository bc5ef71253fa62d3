"""From a policy to the registry: a version that can be served, tagged with everything it was made from."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from assets.lake.checks import check_specs
from assets.lake.freshness import ancestors, raw_files
from assets.lake.leaks import accepted_in, leak_tags
from assets.lake.partitions import BY_EXPERIMENT, keys_of
from assets.lake.ports import ModelCard, Tracker
from assets.lake.publish import Content, Inputs, publish
from assets.lake.versions import Lake, Version, partition_text
from assets.learning.policies import flatten, wrong_kind
from assets.learning.stop_on_collapse import published_verdict
from assets.results.metrics import policy_run
from contracts.config import BaselineExperiment
from contracts.files.load import is_servable, load_experiment, source_of
from contracts.words import POLICY_ASSETS

EXAMPLES = 3


@dg.asset(
    deps=["sft_policies", "preference_policies", "metrics", "items", "histories", "interactions"],
    partitions_def=BY_EXPERIMENT,
    group_name="registry",
    kinds={"mlflow"},
    owners=["team:serving"],
    code_version="3",
    check_specs=check_specs("registered_models"),
)
def registered_models(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], tracker: dg.ResourceParam[Tracker]
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[Any]]:
    """The policy as a servable model without pickle, a version of `borderline-<dataset>`, tagged with its lineage."""
    keys = keys_of(context)
    experiment = load_experiment(keys.experiment)
    if isinstance(experiment, BaselineExperiment):
        raise wrong_kind("registered_models", keys, "sft or preference", experiment.kind)
    if not is_servable(experiment):
        raise dg.Failure(
            f"registered_models holds policies that recommend from the catalogue, but the prompts of "
            f"{source_of(keys.experiment)} list candidates. Launch the job `train`: it leaves this one out.",
            allow_retries=False,
        )
    policy_asset = POLICY_ASSETS[experiment.kind]

    def register(inputs: Inputs, staged: Mapping[str, Path]) -> dict[str, Content]:
        trained = policy_run(lake, keys)
        assert trained is not None  # only baselines have no policy
        policy = trained[0]
        collapse = published_verdict(policy)
        measured = inputs["metrics"].manifest["metadata"]
        values = {name: entry["value"] for name, entry in measured.items() if isinstance(entry["value"], float)}
        run_id = measured["mlflow_run_id"]["value"]
        card = ModelCard(
            dataset=keys.dataset,
            experiment=keys.experiment,
            params=flatten(experiment.model_dump(mode="json")),
            metrics=values,
            tags={
                "kind": experiment.kind,
                "seed": str(experiment.seed),
                "dagster.run_id": policy.manifest["run_id"],
                "dagster.partition": partition_text(keys),
                "policy": policy.data_version,
                **leak_tags(accepted_in(inputs.versions)),
                **({} if collapse is None else {"collapse": f"{collapse['verdict']}: {collapse['message']}"}),
                "code_version": policy.manifest["code_version"],
                **_lineage(lake, policy),
            },
            histories_example=_examples(inputs),
        )
        catalogue = staged["registered_models"] / "catalogue.parquet"
        _catalogue(inputs).write_parquet(catalogue)
        version = tracker.register(run_id, policy.path("policy"), catalogue, card)
        registration = {
            "version": version,
            "run_id": run_id,
            "model": f"borderline-{keys.dataset}",
            "policy": policy.data_version,
            "collapse": collapse,
        }
        (staged["registered_models"] / "registration.json").write_text(json.dumps(registration), encoding="utf-8")
        url = tracker.version_url(keys.dataset, version)
        metadata = {"model_version": version, "model_page": dg.MetadataValue.url(url)}
        return {"registered_models": Content(metadata=metadata)}

    def still_registered(version: Version) -> bool:
        return tracker.version_exists(keys.dataset, registration_of(version)["version"])

    dataset = (keys.dataset,)
    yield from publish(
        context,
        lake,
        register,
        partition=keys,
        inputs=[
            (policy_asset, keys),
            ("metrics", keys),
            ("items", dataset),
            ("histories", dataset),
            ("interactions", dataset),
        ],
        config={"experiment": keys.experiment},
        still_valid=still_registered,
    )


def registration_of(version: Version) -> dict[str, Any]:
    """Which registry version a published registration stands for, and whether its policy collapsed."""
    return json.loads(version.path("registration.json").read_text(encoding="utf-8"))


def _lineage(lake: Lake, policy: Version) -> dict[str, str]:
    """Data version of every table the policy was trained from, however far up, and the hashes of the raw files."""
    tags: dict[str, str] = {}
    for ancestor in ancestors(lake, policy):
        tags[f"table.{'.'.join([ancestor.asset, *ancestor.partition[1:]])}"] = ancestor.data_version
        if ancestor.version is not None:
            tags |= {f"raw.{name}": sha256 for name, sha256 in raw_files(ancestor.version).items()}
    return tags


def _catalogue(inputs: Inputs) -> pl.DataFrame:
    train = inputs["interactions"].table(["item_id", "split"]).filter(pl.col("split") == "train")
    counts = train.group_by("item_id").agg(pl.len().alias("n_train"))
    items = inputs["items"].table(["item_id", "item", "title"])
    return items.join(counts, on="item_id", how="left").with_columns(pl.col("n_train").fill_null(0)).sort("item_id")


def _examples(inputs: Inputs) -> list[list[str]]:
    raw_id = dict(inputs["items"].table(["item_id", "item"]).iter_rows())
    rows = inputs["histories"].table(["split", "history"]).filter(pl.col("split") != "train").tail(EXAMPLES)
    return [[raw_id[item] for item in history[-10:]] for history in rows["history"]]
