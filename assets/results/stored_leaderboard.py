"""The files of a published leaderboard: written by its asset, and read without Dagster by what shows it."""

import json
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from assets.lake.versions import NotMaterialised, Version
from contracts.words import REPORTED
from evaluation.reports.leaderboard import Leaderboard, as_json, from_json
from evaluation.reports.leaderboard_document import as_html

COSTS_FILE = "costs.json"
"""The costs of the experiments, apart from the results: no two runs cost the same."""


def write_down(board: Leaderboard, folder: Path) -> None:
    """Write the results of a split, its costs and its page into a folder."""
    results = as_json(replace(board, costs={}))
    costs = as_json(board).get("costs", {})
    (folder / _results_of(board.split)).write_text(json.dumps(results, indent=1), encoding="utf-8")
    (folder / COSTS_FILE).write_text(json.dumps(costs, indent=1), encoding="utf-8")
    (folder / page_of(board.split)).write_text(as_html(board), encoding="utf-8")


def stored(version: Version, split: str) -> Leaderboard | None:
    """The leaderboard of a published version, with the costs of its experiments; None where the split has no rows.

    Raises:
        NotMaterialised: another version of this project wrote it, and this one cannot read it.
    """
    if not (version.folder / _results_of(split)).exists():
        return None
    plain = json.loads(version.path(_results_of(split)).read_text(encoding="utf-8"))
    costs = json.loads(version.path(COSTS_FILE).read_text(encoding="utf-8"))
    try:
        return from_json({**plain, "costs": costs})
    except ValidationError as error:
        dataset = version.partition[0]
        raise NotMaterialised(
            f"the leaderboard of {dataset} was written by another version, which this one cannot read. Rebuild it: "
            f"borderline run --dataset {dataset}"
        ) from error


def is_readable(version: Version) -> bool:
    """Whether this version of the project wrote it, or can read it all the same."""
    try:
        for split in REPORTED:
            stored(version, split)
    except NotMaterialised:
        return False
    return True


def page_of(split: str) -> str:
    """The name of the HTML page of a split."""
    return f"{split}.html"


def _results_of(split: str) -> str:
    return f"{split}.json"
