"""`borderline leaderboard`: print the last leaderboard of a data set."""

from typing import Annotated

import typer

from borderline import home
from borderline.cli.options import Dataset, Format, Split
from contracts.files.load import load_dataset


def leaderboard(
    dataset: Dataset,
    split: Annotated[
        Split, typer.Option(help="test is reported; validation is what models are selected on.")
    ] = Split.test,
    protocol: Annotated[
        str | None, typer.Option(help="full, or of_20 and the like: only metrics of this one; all, when absent.")
    ] = None,
    format: Annotated[Format, typer.Option(help="How to print it.")] = Format.text,
) -> None:
    """Print the last leaderboard of a data set."""
    from borderline.boards import stored_text

    load_dataset(dataset)
    typer.echo(stored_text(home.lake(), dataset, split.value, format.value, protocol))
