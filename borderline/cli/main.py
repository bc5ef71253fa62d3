"""`borderline`: the same graph as in the Dagster UI, without a browser.

borderline run --dataset demo --experiments sft,dmpo-k15     materialise what is missing, print the leaderboard
borderline study collapse --dataset demo                     every experiment of a study, and one report
borderline study published --accept-leaks                    our results beside published ones, on every split at hand
borderline ingest --dataset demo                             raw files to clean tables and candidate sets, no training
borderline leaderboard --dataset demo --format json          the last leaderboard; also text, markdown, html
borderline leaderboard --dataset demo --protocol full        of one protocol alone
borderline evaluate FILE --dataset demo                      predictions of any model, beside the leaderboard
borderline ui                                                Dagster and MLflow on loopback
borderline promote --dataset demo --version 3 --reason …     serve this version, whatever the gates say
borderline rollback --dataset demo --reason …                serve the champion before this one
borderline lineage --dataset demo @champion                  where a version or a table comes from, what came of it
borderline datasets                                          the data sets, and whether their raw files are here
borderline datasets show ml-1m                               what to download, where to put it, what its file chooses
"""

import atexit
import errno
import fcntl
import getpass
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from contracts.files.load import (
    ConfigurationError,
    default_experiments,
    is_published,
    load_dataset,
    load_experiment,
    load_study,
    raw_folder,
)
from orchestration.compute import compute_from_environment

if TYPE_CHECKING:
    import dagster as dg

    from evaluation.reports.leaderboard import Leaderboard
    from evaluation.statistics.significance import Interval
    from orchestration.resources.lake import LakeStorage

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
datasets_app = typer.Typer(invoke_without_command=True, help="The data sets, and whether their raw files are here.")
app.add_typer(datasets_app, name="datasets")

Dataset = Annotated[str, typer.Option("--dataset", "-d", help="A file in datasets/, without .yaml.")]


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


@app.command()
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
    force: Annotated[bool, typer.Option("--force", help="Compute again what is unchanged.")] = False,
    accept_leaks: Annotated[
        bool, typer.Option("--accept-leaks", help="Run on tables that leak their answers; marks every number.")
    ] = False,
    device: Annotated[str, typer.Option(envvar="BORDERLINE_DEVICE", help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Materialise what is missing, from the raw files to the registry, and print the leaderboard."""
    names = (
        default_experiments()
        if experiments == "all"
        else [name.strip() for name in experiments.split(",") if name.strip()]
    )
    if not names:
        raise ConfigurationError("--experiments must name at least one experiment, got none. Write: --experiments sft")
    load_dataset(dataset)
    for name in names:
        load_experiment(name)
    _choose_device(device)
    check_raw_files(dataset)
    started = time.monotonic()
    with _instance() as instance:
        from orchestration.walks.pipeline import Pipeline

        Pipeline(instance, force=force, accept_leaks=accept_leaks).run(dataset, names, mines=mine)
    typer.echo()
    typer.echo(_leaderboard(dataset, Split.test, Format.text))
    typer.echo(
        f"\n{time.monotonic() - started:.0f} s. Runs, tables and models to click through: borderline ui (make ui)"
    )


def _choose_device(device: str) -> None:
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigurationError(f"--device must be auto, cpu or cuda, got '{device}'.")
    os.environ["BORDERLINE_DEVICE"] = device
    compute_from_environment()


@app.command()
def ingest(
    dataset: Dataset,
    force: Annotated[bool, typer.Option("--force", help="Compute again what is unchanged.")] = False,
    accept_leaks: Annotated[
        bool, typer.Option("--accept-leaks", help="Publish tables that leak their answers; marks every number.")
    ] = False,
) -> None:
    """Read the raw files of a data set and make its tables, up to histories and candidate sets. Nothing is trained."""
    load_dataset(dataset)
    check_raw_files(dataset)
    started = time.monotonic()
    with _instance() as instance:
        from borderline.cli.datasets import ingested
        from orchestration.walks.pipeline import Pipeline

        pipeline = Pipeline(instance, force=force, accept_leaks=accept_leaks)
        pipeline.ingest(dataset)
        typer.echo("\n" + "\n".join(ingested(pipeline.lake, dataset)))
    typer.echo(f"\n{time.monotonic() - started:.0f} s. The tables to click through: borderline ui (make ui)")


@app.command()
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
    force: Annotated[bool, typer.Option("--force", help="Compute again what is unchanged.")] = False,
    accept_leaks: Annotated[
        bool, typer.Option("--accept-leaks", help="Run on tables that leak their answers; marks every number.")
    ] = False,
    device: Annotated[str, typer.Option(envvar="BORDERLINE_DEVICE", help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Run every experiment of a study and print its report. What is finished is reused: run it again to go on."""
    if is_published(name):
        if seeds or only:
            raise ConfigurationError(
                f"{name} has no axes or seeds to choose from. Write: --dataset NAME for a part of it"
            )
        _choose_device(device)
        _study_published(name, [dataset] if dataset else None, force=force, accept_leaks=accept_leaks)
        return
    if not dataset:
        raise ConfigurationError(f"--dataset must name the data set of the study {name}. Write: --dataset demo")
    from orchestration.walks.study import asked_parts, wanted

    asked = asked_parts([*(only or []), *([f"seed={seeds}"] if seeds else [])])
    wanted(load_study(name), name, asked)
    load_dataset(dataset)
    _choose_device(device)
    check_raw_files(dataset)
    started = time.monotonic()
    with _instance() as instance:
        from orchestration.walks.pipeline import Pipeline

        pipeline = Pipeline(instance, force=force, accept_leaks=accept_leaks)
        pipeline.study(name, dataset, only=asked)
        report = pipeline.lake.require("study_reports", (dataset, name))
    typer.echo()
    lines = report.path("report.md").read_text(encoding="utf-8").rstrip().split("\n\n")
    typer.echo("\n\n".join(line for line in lines if not line.startswith("![")))
    typer.echo(f"\n{time.monotonic() - started:.0f} s. The report with its figures: {report.path('report.html')}")


def _study_published(name: str, datasets: list[str] | None, *, force: bool, accept_leaks: bool) -> None:
    started = time.monotonic()
    with _instance() as instance:
        from orchestration.walks.pipeline import Pipeline

        pipeline = Pipeline(instance, force=force, accept_leaks=accept_leaks)
        pipeline.published(name, datasets=datasets)
        report = pipeline.lake.require("paper_comparison", (name,))
    typer.echo()
    typer.echo(report.path("report.md").read_text(encoding="utf-8").rstrip())
    typer.echo(f"\n{time.monotonic() - started:.0f} s. The report: {report.path('report.html')}")


@app.command()
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
    load_dataset(dataset)
    typer.echo(_leaderboard(dataset, split, format, protocol))


Force = Annotated[bool, typer.Option("--force", help="Also where the last promotion's files are damaged.")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; it stays in the promotion history.")]


@app.command()
def promote(
    dataset: Dataset,
    reason: Reason,
    version: Annotated[int, typer.Option(min=1, help="Of the registered model borderline-<dataset>.")],
    force: Force = False,
) -> None:
    """Make a registered version the champion, whatever the gates say. The history says who and why."""
    from assets.registry.promotion import OVERRIDE, REASON

    _decide(dataset, {OVERRIDE: str(version), REASON: _given(reason)}, force=force)


@app.command()
def rollback(dataset: Dataset, reason: Reason, force: Force = False) -> None:
    """Make the champion before this one the champion again."""
    from assets.registry.promotion import REASON, ROLLBACK

    _decide(dataset, {ROLLBACK: "true", REASON: _given(reason)}, force=force)


def _given(reason: str) -> str:
    if not reason.strip():
        raise ConfigurationError("--reason must say why, got nothing. It stays in the promotion history.")
    return f"{reason.strip()} ({getpass.getuser()})"


def _decide(dataset: str, tags: dict[str, str], *, force: bool) -> None:
    load_dataset(dataset)
    with _instance() as instance:
        from orchestration.walks.pipeline import Pipeline

        pipeline = Pipeline(instance, force=force)
        pipeline.decide(dataset, tags)
        typer.echo(f"champion of {dataset}: version {pipeline.tracker.champion(dataset)}")


@app.command()
def lineage(
    dataset: Dataset,
    of: Annotated[
        str,
        typer.Argument(help="A version (3), an alias (@champion), a table (histories) or policy (sft_policies/sft)."),
    ],
) -> None:
    """Show what something was made from, up to the raw files, and which registered versions were made from it."""
    load_dataset(dataset)
    with _instance():
        from borderline.cli.lineage import described

        typer.echo(described(dataset, of))


@app.command()
def evaluate(
    file: Annotated[Path, typer.Argument(help="Predictions: .parquet, .csv or .jsonl; see docs/evaluation.md.")],
    dataset: Dataset,
    split: Annotated[Split, typer.Option(help="The rows that the file must have predicted, all of them.")] = Split.test,
    format: Annotated[Format, typer.Option(help="How to print it.")] = Format.text,
) -> None:
    """Measure the predictions of any model on the rows of a data set, beside its leaderboard. Writes nothing.

    Of generated text (a column `answer`), ValidRatio and HitRatio@1.
    """
    from borderline.cli.evaluate import evaluate_answers, evaluate_file, holds_answers

    load_dataset(dataset)
    if holds_answers(file):
        found = evaluate_answers(_lake(), file, dataset, split.value)
        typer.echo(_answers_written(found, format))
        return
    board, notes = evaluate_file(_lake(), file, dataset, split.value)
    for note in notes:
        typer.echo(f"{file.name}: {note}", err=True)
    typer.echo(_written(board, format))


@app.command()
def ui(
    dagster_port: Annotated[int, typer.Option(min=1, max=65535)] = 3000,
    mlflow_port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
) -> None:
    """Start the Dagster UI with its daemon, and MLflow, both on loopback only. Ctrl-C stops both."""
    from orchestration import settings

    home = settings.prepare_home()
    dagster_url, mlflow_url = f"http://127.0.0.1:{dagster_port}", f"http://127.0.0.1:{mlflow_port}"
    environment = {
        **os.environ,
        "BORDERLINE_MLFLOW_URL": mlflow_url,
        "BORDERLINE_DAGSTER_URL": dagster_url,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # a job runner nobody uses, a gigabyte, and a past hole
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    with _instance() as instance:
        from orchestration.automation.sensors import new_partitions

        for name, keys in new_partitions(instance).items():
            instance.add_dynamic_partitions(name, keys)
    commands = {
        "MLflow": [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(mlflow_port),
            "--workers", "1",
            "--backend-store-uri", settings.tracking_uri(), "--artifacts-destination", str(home / "mlartifacts"),
        ],
        "Dagster": [
            sys.executable, "-m", "dagster", "dev", "-h", "127.0.0.1", "-p", str(dagster_port),
            "-m", "orchestration.definitions",
        ],
    }  # fmt: skip
    typer.echo(f"Dagster {dagster_url}   MLflow {mlflow_url}   (Ctrl-C stops both)")
    children = {
        name: subprocess.Popen(command, env=environment, start_new_session=True) for name, command in commands.items()
    }
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    try:
        while all(child.poll() is None for child in children.values()):
            time.sleep(0.5)
        ended = next(name for name, child in children.items() if child.poll() is not None)
        raise ConfigurationError(f"{ended} ended with exit code {children[ended].returncode}; its message is above.")
    except KeyboardInterrupt:
        pass
    finally:
        for number, grace in ((signal.SIGINT, 10), (signal.SIGKILL, 5)):
            for child in children.values():
                if child.poll() is None:
                    os.killpg(child.pid, number)
            for child in children.values():
                try:
                    child.wait(timeout=grace)
                except subprocess.TimeoutExpired:
                    continue


@datasets_app.callback()
def datasets(context: typer.Context) -> None:
    """List the data sets, and whether their raw files are here."""
    if context.invoked_subcommand is None:
        from borderline.cli.datasets import listed

        for line in listed():
            typer.echo(line)


@datasets_app.command()
def show(key: Annotated[str, typer.Argument(help="A file in datasets/, without .yaml.")]) -> None:
    """Say what to download for a data set, where to put it, on what terms, and what its file chooses."""
    from borderline.cli.datasets import shown

    typer.echo(shown(key))


def check_raw_files(dataset: str) -> None:
    """Refuses a data set whose raw files are not here, before anything is computed."""
    from assets.sources import located

    located(load_dataset(dataset).source, raw_folder(dataset))


@contextmanager
def _instance() -> Iterator["dg.DagsterInstance"]:
    from orchestration import settings

    home = settings.prepare_home()
    warnings.filterwarnings("ignore", module="dagster")
    import dagster as dg

    with ExitStack() as stack:
        with (home / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two first commands at once would both create the database, and break it
            instance = stack.enter_context(dg.DagsterInstance.get())
            instance.get_runs_count()
        yield instance


def _lake() -> "LakeStorage":
    from orchestration import settings
    from orchestration.resources.lake import LakeStorage

    home = settings.home()
    return LakeStorage(root=str(home / "lake"), warehouse=str(home / "warehouse.duckdb"))


def _leaderboard(dataset: str, split: Split, format: Format, protocol: str | None = None) -> str:
    from assets.results.leaderboard import SPLITS, stored
    from evaluation.reports.leaderboard import of_protocol

    version = _lake().require("leaderboard", (dataset,))
    board = stored(version, split.value)
    if board is None and format is Format.json:
        return json.dumps({"dataset": dataset, "split": split.value, "rows": []})
    note = ""
    if board is None:  # a benchmark whose publisher keeps the test part apart
        other = next(other for other in SPLITS if other != split.value)
        note = f"{dataset}, {split.value}: no rows; the publisher's {split.value} part is not in the raw folder. "
        note += f"On {other}:\n\n"
        board = stored(version, other)
        assert board is not None  # a leaderboard without any row is not published
    if protocol is not None:
        try:
            board = of_protocol(board, protocol)
        except ValueError as error:
            raise ConfigurationError(f"--{error}") from error
    return ("" if format is Format.html else note) + _written(board, format)


def _answers_written(found: "Mapping[str, Interval]", format: Format) -> str:
    from evaluation.reports.document import Table, as_markdown

    if format is Format.json:
        return json.dumps({metric: asdict(interval) for metric, interval in found.items()}, indent=1)
    if format is Format.html:
        raise ConfigurationError(
            "--format of answers must be text, markdown or json, got html. There is one small table."
        )
    rows = [[name, f"{one.value:.3f}", f"[{one.low:.3f}, {one.high:.3f}]"] for name, one in found.items()]
    return as_markdown([Table(["metric", "value", "95 % interval"], rows)]).rstrip()


def _written(board: "Leaderboard", format: Format) -> str:
    from evaluation.reports.leaderboard import as_json
    from evaluation.reports.leaderboard_document import as_html, as_markdown, as_text

    match format:
        case Format.json:
            return json.dumps(as_json(board), indent=1)
        case Format.html:
            return as_html(board).rstrip()
        case Format.markdown:
            return as_markdown(board).rstrip()
        case Format.text:
            return as_text(board).rstrip()


def _end_quietly() -> None:
    """Nothing of ours writes to stderr any more: only DuckDB's binding would, counting what it did not free."""
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def main() -> None:
    """The entry point: what a person got wrong is one line on stderr and exit code 2, what failed is exit code 1."""
    from assets.lake.versions import NotMaterialised
    from assets.sources import MissingRawFile, UnusableSource
    from evaluation.metrics.ranking import InvalidPredictions
    from orchestration.resources.lake import CorruptVersion
    from orchestration.resources.mlflow_runs import MovedHome, TrackerDown
    from orchestration.walks.pipeline import LayerFailed

    atexit.register(_end_quietly)  # the first to be registered is the last to be called
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # under nohup it is ignored, and stays so
        signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    try:
        app()
    except (
        ConfigurationError,
        NotMaterialised,
        MissingRawFile,
        UnusableSource,
        MovedHome,
        InvalidPredictions,
    ) as error:
        typer.echo(f"borderline: {error}", err=True)
        sys.exit(2)
    except LayerFailed as error:
        typer.echo(f"borderline: {error}", err=True)
        sys.exit(error.exit_code)
    except (CorruptVersion, TrackerDown) as error:
        typer.echo(f"borderline: {error}", err=True)
        sys.exit(1)
    except OSError as error:  # a home that cannot be written, a full disk
        if error.errno not in (
            errno.EACCES,
            errno.EROFS,
            errno.ENOSPC,
            errno.EDQUOT,
            errno.EPERM,
            errno.ENOTDIR,
            errno.EEXIST,
        ):
            raise
        typer.echo(f"borderline: {error.filename or 'a file'} cannot be written: {error.strerror}.", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        typer.echo("borderline: interrupted; what was published stays, what was running was stopped.", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
