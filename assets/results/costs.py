"""What an experiment cost, read from what its policy and its predictions recorded when they were made."""

from typing import Any

from assets.lake.freshness import ancestors
from assets.lake.versions import Lake, Partition, Version
from contracts.words import POLICY_ASSETS
from evaluation.reports.costs import Cost


def cost_of(lake: Lake, partition: Partition) -> Cost:
    """The cost of one evaluated experiment: partition is (dataset, experiment).

    Raises:
        NotMaterialised: it has no predictions yet.
    """
    predictions = lake.require("predictions", partition)
    made_from = {entry["asset"] for entry in predictions.manifest["inputs"]}
    policy = next((lake.require(name, partition) for name in POLICY_ASSETS.values() if name in made_from), None)
    scored = _values(predictions)
    trained = _values(policy) if policy else scored
    return Cost(
        train_seconds=trained.get("train_seconds"),
        total_seconds=_total(lake, policy) if policy else trained.get("train_seconds"),
        examples_per_s=trained.get("examples_per_s"),
        train_peak_bytes=trained.get("peak_memory_bytes") if policy else None,
        train_peak_device_bytes=trained.get("peak_device_memory_bytes") if policy else None,
        score_ms_per_user=scored.get("score_ms_per_user"),
        score_peak_bytes=scored.get("peak_memory_bytes"),
        is_partial=bool(trained.get("resumed_from_step", 0)),
    )


def _total(lake: Lake, policy: Version) -> float | None:
    """Seconds of the policy and of every table and policy it was made from that belongs to an experiment."""
    parts: list[Version | None] = [policy]
    parts += [ancestor.version for ancestor in ancestors(lake, policy) if len(ancestor.partition) > 1]
    seconds = [version.manifest.get("seconds") if version else None for version in parts]
    return sum(filter(None, seconds)) if None not in seconds else None


def _values(version: Version) -> dict[str, Any]:
    return {name: entry["value"] for name, entry in version.manifest["metadata"].items()}
