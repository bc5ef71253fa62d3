"""`borderline lineage`: what something was made from, and what was made from it."""

from typing import Annotated

import typer

from borderline import home
from borderline.cli.options import Dataset
from contracts.files.load import load_dataset


def lineage(
    dataset: Dataset,
    of: Annotated[
        str,
        typer.Argument(help="A version (3), an alias (@champion), a table (histories) or policy (sft_policies/sft)."),
    ],
) -> None:
    """Show what something was made from, up to the raw files, and which registered versions were made from it."""
    load_dataset(dataset)
    with home.opened():
        from borderline.lineage import described
        from orchestration.machine import tracker

        typer.echo(described(home.lake(), tracker(), dataset, of))
