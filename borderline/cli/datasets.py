"""`borderline datasets`: list the data sets, or show one."""

from typing import Annotated

import typer

app = typer.Typer(invoke_without_command=True, help="The data sets, and whether their raw files are here.")


@app.callback()
def datasets(context: typer.Context) -> None:
    """List the data sets, and whether their raw files are here."""
    if context.invoked_subcommand is None:
        from borderline.data_sets import listed

        for line in listed():
            typer.echo(line)


@app.command()
def show(key: Annotated[str, typer.Argument(help="A file in datasets/, without .yaml.")]) -> None:
    """Say what to download for a data set, where to put it, on what terms, and what its file chooses."""
    from borderline.data_sets import shown

    typer.echo(shown(key))
