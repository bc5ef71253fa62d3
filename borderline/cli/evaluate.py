"""`borderline evaluate FILE`: reads a foreign predictions table and puts it beside the leaderboard. Writes nothing."""

import json
from pathlib import Path
from typing import Any

import polars as pl

from assets.lake.freshness import standing
from assets.lake.publish import Inputs
from assets.lake.versions import Lake
from assets.results.leaderboard import Foreign, compared
from assets.results.metrics import train_catalogue
from evaluation.metrics.beyond_accuracy import beyond_accuracy
from evaluation.metrics.foreign import foreign_predictions
from evaluation.metrics.ranking import InvalidPredictions, metrics_of
from evaluation.metrics.validity import answer_metrics
from evaluation.reports import leaderboard as report
from evaluation.statistics.significance import Interval, bootstrap_intervals, panel_of

FORMATS = (".parquet", ".csv", ".jsonl", ".ndjson", ".json")
_LISTS = {"items": pl.Int64(), "scores": pl.Float64()}
_TEXT = {"answer": pl.String()}
"""Of a CSV file, where 007 would be read as 7."""


def evaluate_file(lake: Lake, file: Path, dataset: str, split: str) -> tuple[report.Leaderboard, tuple[str, ...]]:
    """The leaderboard with the file's model among the experiments, under the file's name, and notes on the file.

    Raises:
        InvalidPredictions: the file cannot be read, or not be measured.
        NotMaterialised: the data set has no tables yet.
    """
    inputs = Inputs(
        [lake.require(name, (dataset,)) for name in ("histories", "candidate_sets", "items", "interactions")]
    )
    held_out = inputs["histories"].table().filter(pl.col("split") != "train")
    catalogue = train_catalogue(inputs)
    n_items = catalogue.item_counts.size
    found = foreign_predictions(
        read_predictions(file), held_out, inputs["candidate_sets"].table(), split=split, n_items=n_items
    )
    rows = held_out.filter(pl.col("split") == split)
    metrics = metrics_of(found.table, rows, n_items=n_items)
    beyond = beyond_accuracy(found.table, metrics, rows, catalogue)
    now = standing(lake, dataset)
    measured = {name: lake.require("metrics", (dataset, name)) for name in now.current}
    name = file.stem if file.stem not in measured else file.name
    board = compared(lake, dataset, split, now, measured, inputs["candidate_sets"], Foreign(name, metrics, beyond))
    return board, found.notes


def holds_answers(file: Path) -> bool:
    """Whether the file holds generated text instead of lists of items.

    Raises:
        InvalidPredictions: as `read_predictions`.
    """
    columns = read_predictions(file).columns
    return "answer" in columns and "items" not in columns


def evaluate_answers(lake: Lake, file: Path, dataset: str, split: str) -> dict[str, Interval]:
    """ValidRatio and HitRatio@1 of generated answers, each title judged against the row's candidate set.

    Raises:
        InvalidPredictions: the file cannot be read, or rows are missing, repeated or unknown.
        NotMaterialised: the data set has no tables yet.
    """
    answers = read_predictions(file)
    if "row_id" not in answers.columns:
        raise InvalidPredictions("columns", f"{file}: must have the columns row_id and answer, got no row_id.")
    rows = lake.require("histories", (dataset,)).table(["row_id", "user_id", "split", "target"])
    titles = lake.require("items", (dataset,)).table(["item_id", "title"]).sort("item_id")["title"].to_list()
    table = answer_metrics(
        answers,
        rows.filter(pl.col("split") != "train"),
        lake.require("candidate_sets", (dataset,)).table(["row_id", "candidates"]),
        titles,
        split=split,
    )
    panel = panel_of({file.stem: table}, split=split)
    found = bootstrap_intervals(panel)
    return {metric: interval for (_, metric), interval in sorted(found.items())}


def read_predictions(file: Path) -> pl.DataFrame:
    """The table in a file, as it is; a list in CSV is numbers between spaces, commas or bars, bracketed or not.

    Raises:
        InvalidPredictions: there is no such file, it has another format, or a line of it cannot be read.
    """
    if file.suffix not in FORMATS:
        raise InvalidPredictions("file", f"{file}: must be one of {', '.join(FORMATS)}, got '{file.suffix}'.")
    if not file.is_file():
        raise InvalidPredictions("file", f"{file}: must be a file, there is none of that name.")
    try:
        match file.suffix:
            case ".parquet":
                return pl.read_parquet(file)
            case ".csv":
                _refuse_other_text(file)
                return _with_lists(pl.read_csv(file, infer_schema_length=None, schema_overrides=_TEXT), file)
            case _:
                _refuse_other_text(file)
                return pl.DataFrame(_json_rows(file), infer_schema_length=None, strict=False)
    except pl.exceptions.PolarsError as error:
        said = " ".join(str(error).split())[:200]
        raise InvalidPredictions(
            "file", f"{file}: cannot be read as {file.suffix.removeprefix('.')}: {said}."
        ) from error
    except OSError as error:
        raise InvalidPredictions("file", f"{file}: cannot be read: {error.strerror or error}.") from error


def _refuse_other_text(file: Path) -> None:
    """Refuses a text file that is not UTF-8, of which a reader may make something else without a word."""
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise InvalidPredictions(
                    "file", f"{file}:{number}: must be UTF-8 text, byte {error.start + 1} is not. Save it as UTF-8."
                ) from error


def _json_rows(file: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    with file.open(encoding="utf-8-sig") as lines:  # by line feeds alone: JSON may hold other line separators as such
        for number, line in enumerate(lines, start=1):
            if line.strip():
                rows.append(_json_row(line, f"{file}:{number}"))
    return rows


def _json_row(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
        if "\\u" in line:  # an escape may be half a character, which no table can hold
            json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = error.object[error.start].encode("unicode_escape").decode()
        raise InvalidPredictions("file", f"{where}: must be whole characters, got half of one: {half}.") from error
    except ValueError as error:  # no JSON, or a number of thousands of digits
        raise InvalidPredictions("file", f"{where}: not valid JSON: {getattr(error, 'msg', error)}.") from error
    except RecursionError as error:
        raise InvalidPredictions("file", f"{where}: must be an object of numbers, text and lists of them.") from error
    if not isinstance(row, dict):
        raise InvalidPredictions("file", f"{where}: must be one JSON object a line, got {type(row).__name__}.")
    return row


def _with_lists(table: pl.DataFrame, file: Path) -> pl.DataFrame:
    for name, dtype in _LISTS.items():
        if name not in table.columns:
            continue
        text = table[name].cast(pl.String)
        parts = text.str.strip_chars("[] ").str.replace_all(r"[\s,|;]+", " ").str.split(" ")
        values = parts.list.eval(pl.element().cast(dtype, strict=False))
        wrong = (values.list.eval(pl.element().is_null()).list.any() | values.is_null()).fill_null(True)
        if wrong.any():
            row = int(wrong.arg_true()[0])
            # A quoted cell may hold a line break, so that rows can be counted on and lines cannot.
            raise InvalidPredictions(
                "columns", f"{file}: {name} must be a list of numbers, got {text[row]!r} in row {row + 1}."
            )
        table = table.with_columns(values.alias(name))
    return table
