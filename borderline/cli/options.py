"""Options that several commands share."""

from enum import StrEnum
from typing import Annotated

import typer

Dataset = Annotated[str, typer.Option("--dataset", "-d", help="A file in datasets/, without .yaml.")]
Force = Annotated[bool, typer.Option("--force", help="Compute again what is unchanged.")]
AcceptLeaks = Annotated[
    bool, typer.Option("--accept-leaks", help="Run on tables that leak their answers; marks every number.")
]
Device = Annotated[str, typer.Option(envvar="BORDERLINE_DEVICE", help="auto, cpu or cuda.")]


class Format(StrEnum):
    """How a leaderboard is printed."""

    text = "text"
    json = "json"
    markdown = "markdown"
    html = "html"


class Split(StrEnum):
    """Which rows a leaderboard is about."""

    test = "test"
    validation = "validation"
