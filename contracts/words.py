"""Words that several rooms must spell alike: splits, miners, protocols, metrics, files and tags.

A word that only one room uses belongs to that room. What a person chooses is configuration (`contracts.config`); the
columns of tables are in `contracts.tables`.
"""

import re
from typing import Literal

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
"""In the order of time; a split's place here is its code wherever splits are stored as numbers."""
HELD_OUT: tuple[Split, ...] = ("validation", "test")
REPORTED: tuple[Split, ...] = ("test", "validation")
"""The held-out splits in the order in which reports show them."""

MINERS = ("hardest", "in_batch", "popularity", "uniform")
"""In the order in which their negatives are stored in a pool."""

FULL = "full"
"""The protocol that ranks the whole catalogue without the row's history."""
PROTOCOL = r"full|of_[1-9]\d*"
"""A regular expression of all protocols; `of_20` ranks a candidate set of 20."""

MAIN_METRIC = "ndcg_at_10_full"
"""What weights are kept by, studies choose by and promotion judges by, unless a file says otherwise."""
FULL_METRICS = (MAIN_METRIC, "recall_at_10_full", "mrr_full")
"""What a validation measures where a policy ranks the whole catalogue."""
StudyMetric = Literal["ndcg_at_10_full", "recall_at_10_full", "hit_ratio_at_1_of_20", "mrr_of_20"]
"""What studies choose by and what rows from papers report."""
OF_CANDIDATES = re.compile(r"(hit_ratio_at_1|mrr)_of_[1-9][0-9]*")
"""What a validation measures where prompts list candidates."""

FLOORS = ("popularity", "random")
"""Experiments that ignore the user, on every leaderboard: what lies within their reach is not recommendation."""

POLICY_ASSETS = {"sft": "sft_policies", "preference": "preference_policies"}
"""The asset that holds the policy of an experiment, by the experiment's kind."""

TELEMETRY = "telemetry.jsonl"
"""Written by a command into its output folder, one JSON object a line."""

FORCE_TAG = "borderline/force"
"""On a Dagster run: `true` computes what is current once more."""
ACCEPT_LEAKS_TAG = "borderline/accept-leaks"
"""On a Dagster run: `true` publishes tables in which a leak probe found a leak, and marks what is made from them."""
DATASET_TAG = "borderline/dataset"
STUDY_TAG = "borderline/study"
PARENT_RUN_TAG = "mlflow/parent_run_id"
"""On a Dagster run: the MLflow run of the study that its experiments belong to."""
CHAMPION_TAG, ROLLBACK_TAG, REASON_TAG = "borderline/champion", "borderline/rollback", "borderline/reason"
"""On a run of `promotion` that carries out what a person decided."""


def of_candidates(n: int) -> str:
    """The protocol that ranks candidate sets of n items.

    >>> of_candidates(20)
    'of_20'
    """
    return f"of_{n}"


def protocol_of(metric: str) -> str:
    """The protocol that a metric's name carries.

    >>> protocol_of("hit_ratio_at_1_of_20"), protocol_of("ndcg_at_10_full")
    ('of_20', 'full')
    """
    return FULL if metric.endswith(f"_{FULL}") else "of_" + metric.rpartition("_of_")[2]


def validation_metrics(n_candidates: int) -> tuple[str, ...]:
    """What a validation measures for a policy whose prompts list so many candidates; 0: none.

    >>> validation_metrics(20)
    ('hit_ratio_at_1_of_20', 'mrr_of_20')
    """
    if n_candidates == 0:
        return FULL_METRICS
    return tuple(f"{measure}_{of_candidates(n_candidates)}" for measure in ("hit_ratio_at_1", "mrr"))
