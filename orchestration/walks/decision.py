"""Carry out what a person decided about the champion of a data set."""

from collections.abc import Mapping

from contracts.files.load import load_dataset
from orchestration.walks.home_lock import only_decision
from orchestration.walks.runner import LayerRunner


def decide(runner: LayerRunner, dataset: str, tags: Mapping[str, str]) -> None:
    """Run the promotion of a data set as a person decided; also beside a walk of hours, between its steps.

    Args:
        runner: runs the one job.
        dataset: its key.
        tags: the decision, as `assets.registry.promotion` reads it.

    Raises:
        ConfigurationError: no such data set.
        LayerFailed: the decision was refused; the champion has not changed.
    """
    load_dataset(dataset)
    runner.tracker.prepare(dataset)
    with only_decision(runner) as held:
        held.tagged(tags).layer("promote", dataset)
