"""`borderline code-versions`: what a developer decides about changed code of assets."""

from typing import Annotated

import typer

from contracts.files.yaml_lines import ConfigurationError, did_you_mean


def code_versions(
    assets: Annotated[list[str] | None, typer.Argument(help="Files of assets: splits, metrics, …")] = None,
    raises: Annotated[bool, typer.Option("--raises", help="The same inputs now give other content.")] = False,
    changes_nothing: Annotated[
        bool, typer.Option("--changes-nothing", help="The same inputs still give the same content.")
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="Every asset that waits for a decision.")] = False,
) -> None:
    """Record whether changed code of assets gives other content. Without an option: which assets wait for that."""
    from assets.lake.code_versions import asset_modules, decide, undecided

    waiting, known = undecided(), list(asset_modules())
    if not raises and not changes_nothing:
        typer.echo("\n".join(waiting) or "every code version was decided for the code as it is")
        return
    if raises and changes_nothing:
        raise ConfigurationError("--raises and --changes-nothing are two decisions, got both. Give one.")
    names = waiting if every else assets or []
    for name in names:
        if name not in known:
            raise ConfigurationError(
                f"unknown asset '{name}'.{did_you_mean(name, known)} Accepted: {', '.join(known)}."
            )
    if not names and not every:
        raise ConfigurationError(f"a decision must be about assets, got none. Accepted: --all, {', '.join(known)}.")
    decide(names, raises=raises)
    typer.echo(f"{'raised' if raises else 'unchanged'}: {', '.join(names) or 'nothing waits for a decision'}")
