"""Leaderboards for people and programs: the stored one, and one with a foreign model, as a frame or as text.

Both the command line and the Python API show what these functions return.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict

import polars as pl

from assets.lake.versions import Lake
from assets.results.stored_leaderboard import stored
from contracts.files.yaml_lines import ConfigurationError
from contracts.words import REPORTED
from evaluation.reports import document
from evaluation.reports.leaderboard import Leaderboard, as_json, of_protocol
from evaluation.reports.leaderboard_document import as_html, as_markdown, as_text
from evaluation.statistics.significance import Interval

FRAME = {
    "experiment": pl.String,
    "kind": pl.String,
    "split": pl.String,
    "metric": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "base": pl.String,
    "difference": pl.Float64,
    "difference_low": pl.Float64,
    "difference_high": pl.Float64,
    "adjusted_p": pl.Float64,
    "is_floor": pl.Boolean,
    "leaky": pl.Boolean,
}
"""The columns of a leaderboard as a frame."""


def stored_board(lake: Lake, dataset: str, split: str) -> Leaderboard | None:
    """The last leaderboard of a data set on one split; None where the split has no rows.

    Raises:
        NotMaterialised: the data set has none yet.
    """
    return stored(lake.require("leaderboard", (dataset,)), split)


def stored_text(lake: Lake, dataset: str, split: str, format: str, protocol: str | None = None) -> str:
    """The last leaderboard of a data set as it is printed; where the split has no rows, the other one with a note.

    Raises:
        ConfigurationError: the leaderboard has no such protocol.
        NotMaterialised: the data set has no leaderboard yet.
    """
    board, note = stored_board(lake, dataset, split), ""
    if board is None and format == "json":
        return json.dumps({"dataset": dataset, "split": split, "rows": []})
    if board is None:  # a benchmark whose source keeps the test part apart
        other = next(other for other in REPORTED if other != split)
        note = f"{dataset}, {split}: no rows; the publisher's {split} part is not in the raw folder. On {other}:\n\n"
        board = stored_board(lake, dataset, other)
        assert board is not None  # a leaderboard without any row is not published
    if protocol is not None:
        try:
            board = of_protocol(board, protocol)
        except ValueError as error:
            raise ConfigurationError(f"--{error}") from error
    return ("" if format == "html" else note) + written(board, format)


def written(board: Leaderboard, format: str) -> str:
    """A leaderboard as text, markdown, json or html."""
    match format:
        case "json":
            return json.dumps(as_json(board), indent=1)
        case "html":
            return as_html(board).rstrip()
        case "markdown":
            return as_markdown(board).rstrip()
        case _:
            return as_text(board).rstrip()


def answers_written(found: Mapping[str, Interval], format: str) -> str:
    """The metrics of generated answers as a Markdown table or json.

    Raises:
        ConfigurationError: another format.
    """
    if format == "json":
        return json.dumps({metric: asdict(interval) for metric, interval in found.items()}, indent=1)
    if format == "html":
        raise ConfigurationError(
            "--format of answers must be text, markdown or json, got html. There is one small table."
        )
    rows = [[name, f"{one.value:.3f}", f"[{one.low:.3f}, {one.high:.3f}]"] for name, one in found.items()]
    return document.as_markdown([document.Table(["metric", "value", "95 % interval"], rows)]).rstrip()


def frame_of(board: Leaderboard) -> pl.DataFrame:
    """A leaderboard as a frame with a row for each experiment and metric, best experiment first.

    Columns as in `FRAME`. `low` and `high` bound the 95 % interval; they are null for numbers beyond accuracy, which
    have none. `difference` is to `base` on the same rows, `adjusted_p` its p-value after Holm's correction; both are
    null for an experiment that is compared with none.
    """
    rows: list[dict[str, object]] = []
    for row in board.rows:
        same = {"experiment": row.experiment, "kind": row.kind, "split": board.split, "base": row.base}
        same |= {"is_floor": row.is_floor, "leaky": bool(row.leaks)}
        for metric, interval in row.metrics.items():
            line = {**same, "metric": metric, **asdict(interval)}
            compared = row.comparisons.get(metric)
            if compared is not None:
                line |= {
                    "difference": compared.difference,
                    "difference_low": compared.low,
                    "difference_high": compared.high,
                    "adjusted_p": compared.adjusted_p,
                }
            rows.append(line)
        rows += [{**same, "metric": metric, "value": value} for metric, value in row.beyond_accuracy.items()]
    return pl.DataFrame(rows, schema=FRAME)


def answers_frame(found: Mapping[str, Interval], name: str, split: str) -> pl.DataFrame:
    """The metrics of generated answers as a frame with the columns of `frame_of`."""
    rows = [
        {"experiment": name, "kind": "foreign", "split": split, "metric": metric, **asdict(interval)}
        for metric, interval in found.items()
    ]
    return pl.DataFrame(rows, schema=FRAME)
