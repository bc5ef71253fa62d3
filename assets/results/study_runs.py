"""A study in MLflow: one run that holds the report, above the runs of the experiments that it compares."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from assets.lake.leaks import accepted_in, leak_tags
from assets.lake.manifest import plain_metadata
from assets.lake.ports import TrackedRun, Tracker
from assets.lake.versions import Version
from assets.results.measurement import MLFLOW_RUN_ID


@dataclass(frozen=True)
class StudyPage:
    """What the run of a study holds."""

    study: str
    question: str
    dagster_run_id: str
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    files: Sequence[Path]


def track_study(tracker: Tracker, dataset: str, page: StudyPage, children: Iterable[Version]) -> TrackedRun:
    """Puts the page into the study's run of a data set, and the tracked runs of `metrics` tables below it.

    Runs that the tracker no longer has are passed over.
    """
    children = list(children)
    with tracker.study(dataset, page.study, page.question) as parent:
        for metrics in children:
            run_id = plain_metadata(metrics)[MLFLOW_RUN_ID]
            if tracker.find(run_id) is not None:
                below = {"mlflow.parentRunId": parent.run_id, "study": page.study}
                tracker.summarise(run_id, metrics={}, tags=below, artifacts=[])
        tags = {**page.tags, "dagster.run_id": page.dagster_run_id, **leak_tags(accepted_in(children))}
        tracker.summarise(parent.run_id, metrics=page.metrics, tags=tags, artifacts=page.files)
    return parent
