"""`borderline`: the same graph as in the Dagster UI, without a browser.

borderline run --dataset demo --experiments sft,dmpo-k15     materialise what is missing, print the leaderboard
borderline study collapse --dataset demo                     every experiment of a study, and one report
borderline study published --accept-leaks                    our results beside published ones, on every split at hand
borderline ingest --dataset demo                             raw files to clean tables and candidate sets, no training
borderline leaderboard --dataset demo --format json          the last leaderboard; also text, markdown, html
borderline leaderboard --dataset demo --protocol full        only one protocol
borderline evaluate FILE --dataset demo                      predictions of any model, beside the leaderboard
borderline ui                                                Dagster and MLflow on loopback
borderline promote --dataset demo --version 3 --reason …     serve this version, whatever the gates say
borderline rollback --dataset demo --reason …                serve the champion before this one
borderline lineage --dataset demo @champion                  where a version or table comes from, what it became
borderline datasets                                          the data sets, and whether their raw files are here
borderline datasets show ml-1m                               what to download, where to put it, what its file chooses
"""

import atexit
import errno
import os
import signal
import sqlite3
import sys
from typing import Annotated

import typer

from borderline import __version__
from borderline.cli import code_versions, datasets, evaluate, leaderboard, lineage, promotion, run, study, ui
from orchestration import settings

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
for command in (
    run.run,
    run.ingest,
    study.study,
    leaderboard.leaderboard,
    promotion.promote,
    promotion.rollback,
    lineage.lineage,
    evaluate.evaluate,
    ui.ui,
):
    app.command()(command)
app.add_typer(datasets.app, name="datasets")
app.command(hidden=True)(code_versions.code_versions)  # for those who change this project

UNWRITABLE = {errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EPERM, errno.ENOTDIR, errno.EEXIST}
"""A home that cannot be written, or a full disk."""

FULL = {"disk I/O error", "database or disk is full"}
"""What SQLite says when it cannot write: Dagster and MLflow keep their runs in its files."""


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"borderline {__version__}")
        raise typer.Exit


@app.callback()
def borderline(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """From raw interaction logs to a compared, registered and promoted recommender."""


def main() -> None:
    """The entry point: what a person got wrong is one line on stderr and exit code 2, what failed is exit code 1."""
    atexit.register(_end_quietly)  # the first to be registered is the last to be called
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # under nohup it is ignored, and stays so
        signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    try:
        app()
    except KeyboardInterrupt:
        typer.echo("borderline: interrupted; what was published stays, what was running was stopped.", err=True)
        sys.exit(130)
    except Exception as error:
        exit_code = _exit_code(error)
        if exit_code is None:
            raise
        typer.echo(f"borderline: {_said(error)}", err=True)
        sys.exit(exit_code)


def _exit_code(error: Exception) -> int | None:
    """2 where a person has to change something, 1 where something failed; None for a defect of this program.

    The classes are imported here: they are in modules that take a second to load, and commands that succeed need none.
    """
    from evaluation.metrics.ranking import InvalidPredictions
    from orchestration.resources.lake import CorruptVersion
    from orchestration.resources.mlflow_store import TrackerDown
    from orchestration.walks.runner import REFUSALS, LayerFailed

    match error:
        case LayerFailed():
            return error.exit_code
        case _ if isinstance(error, (*REFUSALS, InvalidPredictions)):
            return 2
        case CorruptVersion() | TrackerDown():
            return 1
        case OSError() if error.errno in UNWRITABLE:
            return 1
        case _ if _said_by_a_full_disk(error):
            return 1
        case _:
            return None


def _said(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in UNWRITABLE:
        return f"{error.filename or 'a file'} cannot be written: {error.strerror}."
    full = _said_by_a_full_disk(error)
    if full and type(error).__module__.startswith(("sqlite3", "sqlalchemy", "dagster", "mlflow")):
        return f"a database in {settings.home()} cannot be written: {full}. Free space on its disk, then run it again."
    return str(error)


def _said_by_a_full_disk(error: BaseException) -> str | None:
    """What SQLite said of a disk that is full or fails, wherever it is in a chain of errors."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, sqlite3.OperationalError) and str(found) in FULL:
            return str(found)
        found = found.__cause__ or found.__context__
    return None


def _end_quietly() -> None:
    """Nothing of ours writes to stderr any more: only DuckDB's binding would, counting what it did not free."""
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


if __name__ == "__main__":
    main()
