"""From metrics to the registry: every policy a version, the best on validation the champion."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from assets.acceptance import accepted_in, leak_tags
from assets.configuration import load_experiment
from assets.metrics import policy_run
from assets.partitions import BY_EXPERIMENT, DATASETS, keys_of
from assets.policies import flatten, wrong_kind
from assets.ports import Lake, ModelCard, Partition, Tracker, Version, partition_text
from assets.predictions import POLICY_OF
from assets.publication import Content, Inputs, check_specs, publish
from assets.standing import standing
from training.config import BaselineExperiment

EXAMPLES = 3
SELECTED_BY = "ndcg_at_10_full"


@dg.asset(
    deps=["sft_policies", "preference_policies", "metrics", "items", "histories", "interactions"],
    partitions_def=BY_EXPERIMENT,
    group_name="registry",
    kinds={"mlflow"},
    owners=["team:serving"],
    code_version="1",
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
    policy_asset = POLICY_OF[experiment.kind]

    def register(inputs: Inputs, staged: Mapping[str, Path]) -> dict[str, Content]:
        trained = policy_run(lake, keys)
        assert trained is not None  # only baselines have no policy
        policy = trained[0]
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
                **_lineage(lake, policy),
            },
            histories_example=_examples(inputs),
        )
        catalogue = staged["registered_models"] / "catalogue.parquet"
        _catalogue(inputs).write_parquet(catalogue)
        version = tracker.register(run_id, policy.path("policy"), catalogue, card)
        registration = {"version": version, "run_id": run_id, "model": f"borderline-{keys.dataset}"}
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


@dg.asset(
    deps=["registered_models", "leaderboard", "metrics"],
    partitions_def=DATASETS,
    group_name="registry",
    kinds={"mlflow"},
    owners=["team:serving"],
    code_version="1",
    check_specs=check_specs("promotion"),
)
def promotion(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], tracker: dg.ResourceParam[Tracker]
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[Any]]:
    """The version with the best validation NDCG@10 on the current rows becomes `champion`. Test rows decide nothing."""
    dataset = context.partition_key
    contenders = [
        partition
        for _, partition in standing(lake, dataset).inputs(dataset)
        if _is_registered(lake, tracker, partition)
    ]
    inputs = [("metrics", partition) for partition in contenders]
    inputs += [("registered_models", partition) for partition in contenders]

    def promote(inputs: Inputs, staged: Mapping[str, Path]) -> dict[str, Content]:
        scores = {version.partition[1]: _validation_score(version) for version in inputs.all("metrics")}
        versions = {v.partition[1]: registration_of(v)["version"] for v in inputs.all("registered_models")}
        before = tracker.champion(dataset)
        best = max(sorted(scores), key=lambda name: scores[name])
        leaks = accepted_in(inputs.versions)
        verdict = {
            "champion": best,
            "version": versions[best],
            "previous_version": before,
            "rule": f"highest validation {SELECTED_BY}",
            "scores": scores,
            "leaks": {leak.name: leak.reasons for leak in leaks},
        }
        tags = {"promoted_by": context.run.run_id, "promotion_rule": verdict["rule"], **leak_tags(leaks)}
        tracker.set_alias(dataset, "champion", versions[best], tags)
        (staged["promotion"] / "verdict.json").write_text(json.dumps(verdict, indent=1), encoding="utf-8")
        metadata = {
            "champion": best,
            "champion_version": versions[best],
            "previous_version": before or "none",
            f"validation_{SELECTED_BY}": scores[best],
            "verdict": dg.MetadataValue.json(verdict),
            "model_page": dg.MetadataValue.url(tracker.version_url(dataset, versions[best])),
        }
        return {"promotion": Content(metadata=metadata)}

    def still_champion(version: Version) -> bool:
        verdict = json.loads(version.path("verdict.json").read_text(encoding="utf-8"))
        return tracker.champion(dataset) == verdict["version"]

    yield from publish(
        context,
        lake,
        promote,
        partition=(dataset,),
        inputs=inputs,
        config={"selected_by": SELECTED_BY},
        still_valid=still_champion,
    )


def _is_registered(lake: Lake, tracker: Tracker, partition: Partition) -> bool:
    """Whether the registry still has what the lake says was registered: it can have been emptied since."""
    version = lake.current("registered_models", partition)
    return version is not None and tracker.version_exists(partition[0], registration_of(version)["version"])


def registration_of(version: Version) -> dict[str, str]:
    """Which registry version a published registration stands for."""
    return json.loads(version.path("registration.json").read_text(encoding="utf-8"))


def _validation_score(version: Version) -> float:
    table = version.table(["split", "metric", "value"])
    rows = table.filter((pl.col("split") == "validation") & (pl.col("metric") == SELECTED_BY))
    return float(rows["value"].mean())  # type: ignore[arg-type]


def _lineage(lake: Lake, policy: Version) -> dict[str, str]:
    """Data version of every table the policy was trained from, however far up, and the hashes of the raw files."""
    seen: dict[str, str] = {}
    queue = [policy]
    while queue:
        for entry in queue.pop().manifest["inputs"]:
            tag = f"table.{'.'.join([entry['asset'], *entry['partition'][1:]])}"
            if tag in seen:
                continue
            seen[tag] = entry["data_version"]
            queue.append(lake.require(entry["asset"], tuple(entry["partition"])))
    return seen


def _catalogue(inputs: Inputs) -> pl.DataFrame:
    train = inputs["interactions"].table(["item_id", "split"]).filter(pl.col("split") == "train")
    counts = train.group_by("item_id").agg(pl.len().alias("n_train"))
    items = inputs["items"].table(["item_id", "item", "title"])
    return items.join(counts, on="item_id", how="left").with_columns(pl.col("n_train").fill_null(0)).sort("item_id")


def _examples(inputs: Inputs) -> list[list[str]]:
    raw_id = dict(inputs["items"].table(["item_id", "item"]).iter_rows())
    rows = inputs["histories"].table(["split", "history"]).filter(pl.col("split") != "train").tail(EXAMPLES)
    return [[raw_id[item] for item in history[-10:]] for history in rows["history"]]
