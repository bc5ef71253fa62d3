"""`borderline study`: every experiment of a study, and one report."""

import time
from typing import Annotated

import typer

from borderline import home
from borderline.checks import check_raw_files, choose_device
from borderline.cli.options import AcceptLeaks, Device, Force
from contracts.files.load import is_published, load_dataset, load_study
from contracts.files.yaml_lines import ConfigurationError


def study(
    name: Annotated[str, typer.Argument(help="A file in studies/, without .yaml.")],
    dataset: Annotated[
        str,
        typer.Option("--dataset", "-d", help="A file in datasets/, without .yaml; of published benchmarks, all."),
    ] = "",
    seeds: Annotated[str, typer.Option(help="Some of the study's seeds, separated by commas.")] = "",
    only: Annotated[
        list[str] | None, typer.Option("--only", "-o", help="AXIS=LABEL,LABEL: run no others. Once for each axis.")
    ] = None,
    force: Force = False,
    accept_leaks: AcceptLeaks = False,
    device: Device = "auto",
) -> None:
    """Run every experiment of a study and print its report. What is finished is reused: run it again to go on."""
    if is_published(name):
        if seeds or only:
            raise ConfigurationError(
                f"{name} has no axes or seeds to choose from. Write: --dataset NAME for a part of it"
            )
        choose_device(device)
        _papers(name, [dataset] if dataset else None, force=force, accept_leaks=accept_leaks)
        return
    if not dataset:
        raise ConfigurationError(f"--dataset must name the data set of the study {name}. Write: --dataset demo")
    from orchestration.walks.study_parts import asked_parts, wanted

    asked = asked_parts([*(only or []), *([f"seed={seeds}"] if seeds else [])])
    wanted(load_study(name), name, asked)
    load_dataset(dataset)
    choose_device(device)
    check_raw_files(dataset)
    started = time.monotonic()
    with home.runner(force=force, accept_leaks=accept_leaks) as runner:
        from orchestration.walks.study import walk_study

        walk_study(runner, name, dataset, asked)
        report = runner.lake.require("study_reports", (dataset, name))
    typer.echo()
    lines = report.path("report.md").read_text(encoding="utf-8").rstrip().split("\n\n")
    typer.echo("\n\n".join(line for line in lines if not line.startswith("![")))
    typer.echo(f"\n{time.monotonic() - started:.0f} s. The report with its figures: {report.path('report.html')}")


def _papers(name: str, datasets: list[str] | None, *, force: bool, accept_leaks: bool) -> None:
    started = time.monotonic()
    with home.runner(force=force) as runner:
        from orchestration.walks.papers import walk_papers

        walk_papers(runner, name, datasets=datasets, accept_leaks=accept_leaks)
        report = runner.lake.require("paper_comparison", (name,))
    typer.echo()
    typer.echo(report.path("report.md").read_text(encoding="utf-8").rstrip())
    typer.echo(f"\n{time.monotonic() - started:.0f} s. The report: {report.path('report.html')}")
