"""`borderline evaluate`: measure the predictions of any model beside a leaderboard. Writes nothing."""

from pathlib import Path
from typing import Annotated

import typer

from borderline import home
from borderline.cli.options import Dataset, Format, Split
from contracts.files.load import load_dataset


def evaluate(
    file: Annotated[Path, typer.Argument(help="Predictions: .parquet, .csv or .jsonl; see docs/evaluation.md.")],
    dataset: Dataset,
    split: Annotated[Split, typer.Option(help="The rows that the file must have predicted, all of them.")] = Split.test,
    format: Annotated[Format, typer.Option(help="How to print it.")] = Format.text,
) -> None:
    """Measure the predictions of any model on the rows of a data set, beside its leaderboard. Writes nothing.

    Of generated text (a column `answer`), ValidRatio and HitRatio@1.
    """
    from assets.results.foreign_models import beside_leaderboard, holds_answers, measured_answers
    from borderline.boards import answers_written, written
    from evaluation.metrics.foreign.files import read_predictions

    load_dataset(dataset)
    predictions = read_predictions(file)
    if holds_answers(predictions):
        found = measured_answers(home.lake(), predictions, dataset, split.value)
        typer.echo(answers_written(found, format.value))
        return
    board, notes = beside_leaderboard(home.lake(), predictions, dataset, split.value, name=file.stem, or_else=file.name)
    for note in notes:
        typer.echo(f"{file.name}: {note}", err=True)
    typer.echo(written(board, format.value))
