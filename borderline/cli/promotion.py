"""`borderline promote` and `borderline rollback`: a person decides who is the champion."""

import getpass
from typing import Annotated

import typer

from borderline import home
from borderline.cli.options import Dataset
from contracts.files.load import load_dataset
from contracts.files.yaml_lines import ConfigurationError

Force = Annotated[bool, typer.Option("--force", help="Also where the last promotion's files are damaged.")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; it stays in the promotion history.")]


def promote(
    dataset: Dataset,
    reason: Reason,
    version: Annotated[int, typer.Option(min=1, help="Of the registered model borderline-<dataset>.")],
    force: Force = False,
) -> None:
    """Make a registered version the champion, whatever the gates say. The history says who and why."""
    from contracts.words import CHAMPION_TAG, REASON_TAG

    _decide(dataset, {CHAMPION_TAG: str(version), REASON_TAG: _given(reason)}, force=force)


def rollback(dataset: Dataset, reason: Reason, force: Force = False) -> None:
    """Make the champion before this one the champion again."""
    from contracts.words import REASON_TAG, ROLLBACK_TAG

    _decide(dataset, {ROLLBACK_TAG: "true", REASON_TAG: _given(reason)}, force=force)


def _given(reason: str) -> str:
    if not reason.strip():
        raise ConfigurationError("--reason must say why, got nothing. It stays in the promotion history.")
    return f"{reason.strip()} ({getpass.getuser()})"


def _decide(dataset: str, tags: dict[str, str], *, force: bool) -> None:
    load_dataset(dataset)
    with home.runner(force=force) as runner:
        from orchestration.walks.decision import decide

        decide(runner, dataset, tags)
        typer.echo(f"champion of {dataset}: version {runner.tracker.champion(dataset)}")
