"""Supervised policies, which preference experiments start from."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from assets.data.repeats import judged_config, keeps_repeats
from assets.lake.asset import Request, Step, asset
from assets.lake.partitions import BY_EXPERIMENT, Keys
from assets.lake.ports import Launcher, Tracker
from assets.lake.publish import Content
from assets.lake.reads import same_dataset
from assets.lake.versions import Version
from assets.learning.experiments import LISTED_IN_PROMPTS, lists_candidates, wrong_kind
from assets.learning.tracked_training import run_tracked
from contracts.config import SemanticIds, SftExperiment, SftSpec, policy_identity
from contracts.config.dataset import DatasetConfig
from contracts.durable import sha256_of
from contracts.files.load import load_dataset, load_experiment, raw_folder
from contracts.files.names import source_of
from training.io.base_model import base_files, base_folder, base_sha256


@asset(
    by=BY_EXPERIMENT,
    plan=lambda request: _planned(request),
    reads=[same_dataset("histories"), same_dataset("items"), *LISTED_IN_PROMPTS],
    config=lambda of: of.config(),
    group="policies",
    kinds={"torch", "mlflow"},
    owner="training",
    checks=["loss_is_finite"],
    resumes_in="checkpoints",
)
def sft_policies(
    step: Step,
    of: "Supervised",
    histories: Version,
    items: Version,
    interactions: Version | None,
    candidate_sets: Version | None,
    launcher: Launcher,
    tracker: Tracker,
) -> Content:
    """Supervised fine-tuning: next-item prediction over every position of a history, best on validation kept.

    The policy that preference experiments start from, their reference, and the miner of their negatives.
    """
    spec = SftSpec(
        experiment=of.experiment,
        histories=histories.table_path,
        items=items.table_path,
        output=step.folder,
        compute=launcher.compute,
        codes=of.codes,
        interactions=interactions and interactions.table_path,
        candidate_sets=candidate_sets and candidate_sets.table_path,
        keeps_repeats=keeps_repeats(histories),
    )
    return run_tracked(step, launcher, tracker, "sft", spec)


@dataclass(frozen=True)
class Supervised:
    """The plan of a supervised policy."""

    experiment: SftExperiment
    codes: Path | None
    """The code table of an experiment on semantic ids."""
    base_model: str | None
    """SHA-256 of a base model that is named by a folder."""
    lists_candidates: bool
    dataset: DatasetConfig

    def config(self) -> dict[str, str]:
        """What the policy depends on besides tables."""
        found = {"experiment": policy_identity(self.experiment), **judged_config(self.dataset)}
        if self.codes is not None:
            found["codes"] = sha256_of(self.codes)
        if self.base_model is not None:
            found["base_model"] = self.base_model
        return found


def _planned(request: Request) -> Supervised:
    keys = Keys(*request.partition)
    experiment = load_experiment(keys.experiment)
    if not isinstance(experiment, SftExperiment):
        raise wrong_kind("sft_policies", keys, "sft", experiment.kind)
    codes, lists = code_table(keys, experiment), lists_candidates(keys, experiment)
    model = base_model(request.say, keys, experiment)
    return Supervised(experiment, codes, model, lists, load_dataset(keys.dataset))


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
