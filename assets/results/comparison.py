"""The experiments of a data set side by side on one split: what the leaderboard publishes and a foreign model joins."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from assets.data.repeats import keeps_repeats
from assets.lake.freshness import MeasuredExperiments
from assets.lake.leaks import accepted_leaks
from assets.lake.manifest import plain_metadata
from assets.lake.versions import Version
from assets.results.costs import cost_beside
from assets.results.measurement import beyond_accuracy_of
from evaluation.reports import leaderboard as report
from evaluation.reports.leaderboard import Entry
from evaluation.statistics.significance import STANDARD


@dataclass(frozen=True)
class Foreign:
    """A model that this project did not train, measured on the same rows."""

    name: str
    metrics: pl.DataFrame
    beyond_accuracy: Mapping[str, float]


def compared(
    dataset: str,
    split: str,
    now: MeasuredExperiments,
    measured: Mapping[str, Version],
    candidate_sets: Version,
    foreign: Foreign | None = None,
) -> report.Leaderboard:
    """The experiments side by side on one split; with a foreign model, that one among them.

    Args:
        dataset: its key.
        split: validation or test.
        now: which experiments may be compared, and with what.
        measured: their metrics, with what they cost beside.
        candidate_sets: of the data set, with what rules without a model score on them.
        foreign: compared with what most experiments are compared with.
    """
    entries = {
        name: Entry(
            metrics=version.table(),
            kind=now.kinds[name],
            is_floor=name in now.floors,
            base=now.bases.get(name),
            beyond_accuracy=beyond_accuracy_of(version, split),
            leaks={leak.name: leak.reasons for leak in accepted_leaks(version)},
            choices=now.choices.get(name, {}),
            cost=cost_beside(version),
        )
        for name, version in measured.items()
    }
    if foreign is not None:
        bases = list(now.bases.values())
        entries[foreign.name] = Entry(
            metrics=foreign.metrics,
            kind="foreign",
            base=max(sorted(set(bases)), key=bases.count, default=None),
            beyond_accuracy=foreign.beyond_accuracy,
        )
    of_lists = plain_metadata(candidate_sets)
    rules, repeated = of_lists["shortcuts"], of_lists.get("repeated_targets", {})
    return report.leaderboard(
        entries,
        dataset=dataset,
        split=split,
        left_out=now.left_out,
        shortcuts=[rule for rule in rules if rule["split"] == split],
        keeps_repeats=keeps_repeats(candidate_sets),
        repeated_targets=repeated.get(f"{split}_targets_in_history", 0.0),
        last_repeated=repeated.get(f"{split}_targets_last_in_history", 0.0),
        how=STANDARD,
    )
