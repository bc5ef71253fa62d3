"""What assets read from an experiment's file: its kind, its policy, what its prompts list, and its form in the tracker.

What an experiment starts from is in `start.py`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg
import yaml

from assets.lake.asset import Request
from assets.lake.partitions import Keys
from assets.lake.reads import Read, same_dataset
from assets.lake.versions import partition_text
from contracts.config import Experiment
from contracts.config.dataset import DatasetConfig
from contracts.files.experiments import listed_candidates
from contracts.files.load import load_dataset, load_experiment
from contracts.files.names import source_of, study_of
from contracts.words import PARENT_RUN_TAG, POLICY_ASSETS


@dataclass(frozen=True)
class Planned:
    """The plan of an asset that takes experiments of any kind."""

    keys: Keys
    experiment: Experiment
    dataset: DatasetConfig

    @property
    def is_baseline(self) -> bool:
        """Whether it has no policy."""
        return self.experiment.kind == "baseline"


def plan_experiment(request: Request) -> Planned:
    """The experiment of the partition, of whatever kind."""
    keys = Keys(*request.partition)
    return Planned(keys, load_experiment(keys.experiment), load_dataset(keys.dataset))


OWN_POLICY = Read(
    "policy",
    tuple(dg.AssetDep(asset) for asset in POLICY_ASSETS.values()),
    lambda keys, of: [] if of.is_baseline else [(POLICY_ASSETS[of.experiment.kind], keys)],
)
"""The policy of the experiment itself; None for a baseline."""

LISTED_IN_PROMPTS = (
    same_dataset("interactions", when=lambda of: of.lists_candidates),
    same_dataset("candidate_sets", when=lambda of: of.lists_candidates),
)
"""What prompts that list candidates are made from besides; None where they list none."""


def lists_candidates(keys: Keys, experiment: Experiment) -> bool:
    """Whether the prompts of an experiment list candidates.

    Raises:
        dg.Failure: they list another number of candidates than the data set's candidate sets hold.
    """
    listed, n = listed_candidates(experiment), load_dataset(keys.dataset).candidates.n
    if listed is not None and listed.n != n:
        raise dg.Failure(
            f"{source_of(keys.experiment)} has prompts that list {listed.n} candidates, but the candidate sets of "
            f"{keys.dataset} hold {n}. Give representation.candidates.n of the sft experiment and candidates.n of the "
            "data set the same value.",
            allow_retries=False,
        )
    return listed is not None


def wrong_kind(asset: str, keys: Keys, wanted: str, got: str) -> dg.Failure:
    """The refusal of a partition whose experiment is of another kind."""
    return dg.Failure(
        f"{asset} holds experiments of kind {wanted}, but {source_of(keys.experiment)} is of kind {got}. "
        f"Launch the job `train` for {partition_text(keys)}: it picks the right assets.",
        allow_retries=False,
    )


def study_tags(experiment: str, run_tags: Mapping[str, str]) -> dict[str, str]:
    """What a tracked run says of the study that it belongs to, so that it is found under the study's own run."""
    study, parent = study_of(experiment), run_tags.get(PARENT_RUN_TAG)
    if study is None or parent is None:
        return {}
    return {"study": study, "mlflow.parentRunId": parent}


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
