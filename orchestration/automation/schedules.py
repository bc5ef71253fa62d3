"""Retraining on a schedule."""

import dagster as dg

from contracts.files.names import dataset_keys
from orchestration.walk_jobs import RetrainConfig, retrain


def retraining_schedules() -> list[dg.ScheduleDefinition]:
    """One weekly retraining for each data set, off until someone switches it on."""
    return [
        dg.ScheduleDefinition(
            name=f"retrain_{''.join(c if c.isalnum() else '_' for c in key)}_weekly",
            job=retrain,
            cron_schedule="0 3 * * 0",
            execution_timezone="UTC",
            run_config=dg.RunConfig(ops={"walk_dataset": RetrainConfig(dataset=key)}),
            description=f"Retrains everything on {key} on Sundays at 03:00 UTC.",
            tags={"dataset": key},
        )
        for key in dataset_keys()
    ]
