"""Read the file that a foreign model wrote its predictions or answers to: Parquet, CSV or JSON lines.

The table comes back as it is in the file; `predictions` and `answers` decide whether it can be measured.
"""

import json
from pathlib import Path
from typing import Any, cast

import polars as pl

from evaluation.metrics.ranking import InvalidPredictions

FORMATS = (".parquet", ".csv", ".jsonl", ".ndjson", ".json")
_LISTS = {"items": pl.Int64(), "scores": pl.Float64()}
_TEXT = {"answer": pl.String()}
"""Columns of a CSV file that stay text: 007 would be read as 7."""


def read_predictions(file: Path) -> pl.DataFrame:
    """The table in a file as it is there; a list in CSV is numbers between spaces, commas or bars, bracketed or not.

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
    """Refuse a text file that is not UTF-8: a reader may decode it to something else without a word."""
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
    with file.open(encoding="utf-8-sig") as lines:  # JSON text may hold other line separators
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
    return cast("dict[str, Any]", row)


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
