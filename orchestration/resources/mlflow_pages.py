"""Addresses of MLflow's pages, and the view that an experiment's page of runs opens in."""

import json

from contracts.words import MAIN_METRIC

FOR_TRAINING = "workflowType=machine_learning"
"""Without it a fresh browser shows the pages of language applications: their traces, of which there are none here."""
VIEW = "leaderboard"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
"""The tag of an experiment that holds the view."""
HEADLINES = (MAIN_METRIC, "recall_at_10_full", "mrr_of_20", "hit_ratio_at_1_of_20")
"""The metrics of the leaderboard, the main one first. A data set with other candidate sets leaves a column empty."""


def page(ui_url: str, *path: str, view: str = "") -> str:
    """The address of a page of MLflow; every link that is printed or stored is made here.

    >>> page("http://127.0.0.1:5000", "models", "borderline-demo")
    'http://127.0.0.1:5000/#/models/borderline-demo?workflowType=machine_learning'
    """
    shown_in = f"&viewStateShareKey={view}" if view else ""
    return f"{ui_url.rstrip('/')}/#/{'/'.join(path)}?{FOR_TRAINING}{shown_in}"


def leaderboard_view() -> str:
    """MLflow's state of a table of runs, sorted by the main metric, with objective and K beside the metrics."""
    what = ["params.`kind`", "params.`objective.kind`", "params.`negatives.n`"]
    columns = [*what, *(f"metrics.`{name}`" for name in HEADLINES)]
    state = {
        "orderByKey": f"metrics.`{MAIN_METRIC}`",
        "orderByAsc": False,
        "selectedColumns": columns,
        # MLflow sorts columns by name unless it is told their order, which its two fixed columns open.
        "columnOrder": ["attributes.`Run Name`", "runDateAndNestInfo", *columns],
    }
    return json.dumps(state)
