"""Verdicts on the guarantees of a table, which it is published with. How a guarantee is proven is not here."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import dagster as dg

from assets.transforms.guarantees.finding import Finding
from contracts.tables import TABLES
from evaluation.leakage.probe import LeakProbe


@dataclass(frozen=True)
class Check:
    """The verdict on one guarantee. A failed one that blocks stops the publication."""

    name: str
    passed: bool
    detail: Mapping[str, int | float | str] = field(default_factory=dict)
    blocks: bool = True
    is_leak: bool = False
    """A failed one that is a leak does not block a run that accepts leaks; see `assets/lake/leaks.py`."""


def leak_check(name: str, probe: LeakProbe) -> Check:
    """The verdict of a leak probe: it blocks, unless the run accepts leaks."""
    return Check(name, not probe.reasons, probe.detail, is_leak=True)


def warning(name: str, probe: LeakProbe) -> Check:
    """The verdict of a leak probe that blocks nothing."""
    return Check(name, not probe.reasons, probe.detail, blocks=False)


def check(name: str, *findings: Finding) -> Check:
    """The verdict on findings that together are one guarantee."""
    broken = [finding for finding in findings if not finding.passed]
    return Check(
        name,
        not broken,
        {
            "checked": sum(finding.checked for finding in findings),
            "violations": sum(finding.violations for finding in findings),
            "message": " ".join(finding.message for finding in broken or findings),
        },
    )


DESCRIPTIONS = {
    "schema": "The table has the columns, types, ranges and keys of its contract.",
    "in_time_order": "A user's interactions are together, and none is earlier than the one before it.",
    "split_keeps_its_guarantee": "Train, validation and test lie in time as the data set's kind of split promises.",
    "order_is_one_in_time": "Users' items come in an order of time: not sorted by id, nor in one order for everybody.",
    "published_lists_give_nothing_away": "A reader of the published candidate lists who ignores the user finds no more "
    "targets than the items' popularity gives.",
    "titles_tell_items_apart": "A model that reads titles can tell the items apart. It warns, and blocks nothing.",
    "nothing_at_or_after_the_target": "A history holds only what the user touched before the row's target.",
    "no_held_out_item_in_train": "Train rows show no item that their user has in validation or test alone.",
    "nothing_from_the_future": "No row shows what came at or after its target, and no train interaction is later than "
    "the split.",
    "train_holds_no_answers": "No more held-out rows are in train, history and target, than similar users explain.",
    "one_target": "Each validation and test row has one candidate set, with its target once and no item twice.",
    "others_are_no_answers": "The candidates beside the target are items that the user never touched or, in a data set "
    "that keeps repeats, never takes again; where the data set asks for it, they were there by then.",
    "answer_is_not_given_away": "A reader of the candidate sets who ignores the user finds no more targets than the "
    "items' popularity gives.",
    "targets_are_not_in_their_history": "No more than half of the held-out targets are the last item of their history. "
    "It warns, and blocks nothing.",
    "no_order_leads_to_the_target": "Neither the next id nor the next item in an order of all items finds the targets.",
    "loss_is_finite": "Each training loss is a number.",
    "improves_on_its_start": "The kept weights are better on validation than the policy they started from. It warns, "
    "and blocks nothing.",
    "does_not_collapse": "The validation metric did not fall while the training loss did. It warns, and blocks "
    "nothing.",
    "no_train_item_among_a_rows_negatives": "No mined negative is the row's target, or an item its user has in train.",
    "no_train_item_among_the_rejected": "No rejected item is the row's target, or an item its user has in train.",
    "every_completion_is_covered": "Each chosen and rejected item of a row has one reference log-probability.",
    "every_row_is_predicted": "Each validation and test row has predictions on every protocol.",
    "every_entry_is_current": "No experiment is left out of the leaderboard because its metrics are stale or gone. It "
    "warns, and blocks nothing.",
    "every_experiment_is_measured": "Each experiment that the study asks for has metrics. It warns, and blocks "
    "nothing.",
}
"""What each check holds a publication to, as the Dagster UI shows it before and after it ran."""


def check_specs(asset: str, *names: str, by: dg.PartitionsDefinition[Any] | None = None) -> list[dg.AssetCheckSpec]:
    """The checks an asset publishes with; `schema` is one of them for every table.

    `by` are the asset's partitions: without them the last data set that was checked would speak for all.
    """
    every = ("schema", *names) if asset in TABLES else names
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)  # that a check has partitions is new in the pinned release
        return [
            dg.AssetCheckSpec(name, asset=asset, blocking=True, description=DESCRIPTIONS.get(name), partitions_def=by)
            for name in every
        ]


def accepting(checks: Sequence[Check]) -> list[Check]:
    """The checks, of which those that are leaks block nothing."""
    return [replace(each, blocks=each.blocks and not each.is_leak) for each in checks]
