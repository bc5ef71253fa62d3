"""`borderline run` and `borderline ingest`: from raw files to the leaderboard, or to the tables."""

import time
from typing import Annotated

import typer

from borderline import api, home
from borderline.checks import check_raw_files
from borderline.cli.options import AcceptLeaks, Dataset, Device, Force
from contracts.files.experiments import default_experiments
from contracts.files.load import load_dataset
from contracts.files.yaml_lines import ConfigurationError


def run(
    dataset: Dataset,
    experiments: Annotated[
        str,
        typer.Option(
            "--experiments",
            "-e",
            help="Files in experiments/, separated by commas; all: those of plain items.",
        ),
    ] = "all",
    mine: Annotated[
        bool, typer.Option("--mine", help="Mine the pools of these experiments, though none of them reads one.")
    ] = False,
    force: Force = False,
    accept_leaks: AcceptLeaks = False,
    device: Device = "auto",
) -> None:
    """Materialise what is missing, from the raw files to the registry, and print the leaderboard."""
    from borderline.boards import stored_text

    names = (
        default_experiments()
        if experiments == "all"
        else [name.strip() for name in experiments.split(",") if name.strip()]
    )
    if not names:
        raise ConfigurationError("--experiments must name at least one experiment, got none. Write: --experiments sft")
    started = time.monotonic()
    api.run(dataset, names, mine=mine, force=force, accept_leaks=accept_leaks, device=device)
    typer.echo()
    typer.echo(stored_text(home.lake(), dataset, "test", "text"))
    typer.echo(
        f"\n{time.monotonic() - started:.0f} s. Runs, tables and models to click through: borderline ui (make ui)"
    )


def ingest(
    dataset: Dataset,
    force: Force = False,
    accept_leaks: Annotated[
        bool, typer.Option("--accept-leaks", help="Publish tables that leak their answers; marks every number.")
    ] = False,
) -> None:
    """Read the raw files of a data set and make its tables, up to histories and candidate sets. Nothing is trained."""
    from borderline.data_sets import ingested

    load_dataset(dataset)
    check_raw_files(dataset)
    started = time.monotonic()
    with home.runner(force=force, accept_leaks=accept_leaks) as runner:
        from orchestration.walks.experiments import walk_data

        walk_data(runner, dataset)
        typer.echo("\n" + "\n".join(ingested(runner.lake, dataset)))
    typer.echo(f"\n{time.monotonic() - started:.0f} s. The tables to click through: borderline ui (make ui)")
