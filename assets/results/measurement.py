"""How results are measured, and what a version of `metrics` holds beside its table."""

import json
from typing import Any

from assets.lake.manifest import plain_metadata
from assets.lake.ports import Tracker
from assets.lake.versions import Version
from evaluation.metrics.beyond_accuracy import Catalogue, catalogue_of

TOP_K = 50
"""Items of each full-catalogue list."""
BEYOND_FILE = "beyond_accuracy.json"
"""Beside the table of `metrics`: by split, every number that is not compared on the leaderboard."""
MLFLOW_RUN_ID = "mlflow_run_id"
"""In the metadata of `metrics`, of the leaderboard and of study reports: the tracked run that shows them."""


def beyond_accuracy_of(metrics: Version, split: str) -> dict[str, float]:
    """The numbers of one split that a version of `metrics` has beside its table."""
    return json.loads(metrics.path(BEYOND_FILE).read_text(encoding="utf-8"))[split]


def train_catalogue(interactions: Version, items: Version) -> Catalogue:
    """What train says about items and users."""
    table = interactions.table(["user_id", "item_id", "split"])
    n_users = int(table["user_id"].max()) + 1  # type: ignore[arg-type]: ids are numbers
    return catalogue_of(table, items.table(["item_id", "category"]), n_users=n_users)


def run_is_kept(version: Version, of: Any, tracker: Tracker) -> bool:
    """Whether the tracker still has the run that shows this version: what nobody can see any more is made again."""
    return tracker.find(plain_metadata(version)[MLFLOW_RUN_ID]) is not None
