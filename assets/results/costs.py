"""What an experiment cost: read from what its policy and its predictions recorded, and kept beside its metrics."""

from pathlib import Path

from assets.lake.manifest import ancestry, plain_metadata, seconds_of
from assets.lake.versions import Version
from evaluation.reports.costs import COSTS, Cost

COSTS_FILE = "costs.json"
"""Beside the table of `metrics`, and beside a leaderboard: by experiment, what it cost."""


def cost_of(policy: Version | None, predictions: Version) -> Cost:
    """The cost of one evaluated experiment; a baseline has no policy."""
    scored = plain_metadata(predictions)
    trained = plain_metadata(policy) if policy else scored
    return Cost(
        train_seconds=trained.get("train_seconds"),
        total_seconds=_total(policy) if policy else trained.get("train_seconds"),
        examples_per_s=trained.get("examples_per_s"),
        train_peak_bytes=trained.get("peak_memory_bytes") if policy else None,
        train_peak_device_bytes=trained.get("peak_device_memory_bytes") if policy else None,
        score_ms_per_user=scored.get("score_ms_per_user"),
        score_peak_bytes=scored.get("peak_memory_bytes"),
        is_partial=bool(trained.get("resumed_from_step", 0)),
    )


def _total(policy: Version) -> float | None:
    """Seconds of the policy and of every table and policy it was made from that belongs to an experiment."""
    above = [entry["seconds"] for entry in ancestry(policy) if len(entry["partition"]) > 1]
    seconds = [seconds_of(policy), *above]
    return sum(filter(None, seconds)) if None not in seconds else None


def write_cost(folder: Path, experiment: str, cost: Cost) -> None:
    """Leaves the cost beside a table of metrics."""
    written = COSTS.dump_json({experiment: cost}, exclude_none=True, indent=1)
    (folder / COSTS_FILE).write_bytes(written)


def has_cost(metrics: Version) -> bool:
    """Whether a cost is beside the metrics; none is where release 0.1 measured them."""
    return (metrics.folder / COSTS_FILE).exists()


def cost_beside(metrics: Version) -> Cost:
    """The cost beside a table of metrics; one without numbers where release 0.1 measured them."""
    if not has_cost(metrics):
        return Cost()
    (cost,) = COSTS.validate_json(metrics.path(COSTS_FILE).read_bytes()).values()
    return cost
