"""Retraining on a schedule."""

import dagster as dg

from orchestration.partitions import datasets_here
from orchestration.walk_jobs import RetrainConfig, retrain

NAMED = str.maketrans({"-": "_", "_": "U", ".": "D"})
"""Dagster's names hold no `-` and no `.`. Keys hold no capitals, so that no two keys share a name."""


def retraining_schedules() -> list[dg.ScheduleDefinition]:
    """One weekly retraining for each data set whose raw files are here, off until someone switches it on."""
    return [
        dg.ScheduleDefinition(
            name=f"retrain_{key.translate(NAMED)}_weekly",
            job=retrain,
            cron_schedule="0 3 * * 0",
            execution_timezone="UTC",
            run_config=dg.RunConfig(ops={"walk_dataset": RetrainConfig(dataset=key)}),
            description=f"Retrains everything on {key} on Sundays at 03:00 UTC.",
            tags={"dataset": key},
        )
        for key in datasets_here()
    ]
