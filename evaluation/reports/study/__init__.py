"""The report of a study: its runs side by side, with verdicts, as one page with pictures.

Pure: metrics tables and curves in, text and bytes out. The same runs give the same page in whatever order they come.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from evaluation.reports.document import as_html, as_markdown
from evaluation.reports.study.cells import Cell, Shared, StudyNumbers, StudyRun, axes_of
from evaluation.reports.study.figures import study_figures
from evaluation.reports.study.numbers import study_numbers
from evaluation.reports.study.page import blocks_of, findings

__all__ = ["Shared", "StudyReport", "StudyRun", "study_report"]


@dataclass(frozen=True)
class StudyReport:
    """One study on one data set, in every form in which it is shown."""

    markdown: str
    """Pictures are links to `<name>.png` beside it."""
    html: str
    """One file with its pictures inside."""
    figures: Mapping[str, bytes]
    """PNG files by name."""
    findings: tuple[str, ...]
    """What the page begins with."""
    as_json: Mapping[str, Any]
    """Every number, as plain values."""


def study_report(
    title: str,
    question: str,
    runs: Sequence[StudyRun],
    *,
    axes: Mapping[str, Sequence[str]],
    dataset: str,
    split: str,
    starts: Sequence[StudyRun] = (),
    floors: Mapping[str, pl.DataFrame] | None = None,
    contrast: str | None = None,
    selection: pl.DataFrame | None = None,
    shared: Sequence[Shared] = (),
    published: pl.DataFrame | None = None,
    resamples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> StudyReport:
    """Compares, judges, draws and writes down the measured runs of a study.

    Args:
        title: of the page.
        question: that the study asks.
        runs: all that are measured; cells of the grid may be missing.
        axes: axis → its labels in the order in which they are shown. An axis whose labels are one word with different
            numbers (k1, k5) is swept: metrics are drawn against it, and each sweep is judged.
        dataset: its key.
        split: validation or test.
        starts: what the runs started from, one for each experiment that a run names as its start.
        floors: metrics of what ignores the user, by name.
        contrast: the axis whose first label every other one is compared with; see `axes_of`.
        selection: shown as it is: what was tried before, and what was chosen.
        shared: what was computed once for several experiments.
        published: shown as it is: numbers of others.
        resamples, seed, level: of the bootstrap, see `study_numbers`.

    Raises:
        ValueError: see `study_numbers`.
    """
    numbers = study_numbers(
        runs,
        axes=axes_of(axes, contrast),
        split=split,
        starts=starts,
        floors=floors,
        resamples=resamples,
        seed=seed,
        level=level,
    )
    figures = study_figures(numbers)
    blocks = blocks_of(
        question,
        numbers,
        figures,
        dataset=dataset,
        selection=selection,
        shared=shared,
        published=published,
    )
    found = tuple(findings(numbers))
    plain = {"study": title, "question": question, "dataset": dataset, "findings": list(found), **_plain(numbers)}
    chosen = None if selection is None else selection.to_dicts()
    return StudyReport(
        markdown=as_markdown(title, blocks),
        html=as_html(title, blocks, figures),
        figures=figures,
        findings=found,
        as_json={**plain, "selection": chosen, "shared": [asdict(part) for part in shared]},
    )


def _plain(numbers: StudyNumbers) -> dict[str, Any]:
    return {
        "split": numbers.split,
        "users": numbers.users,
        "rows": numbers.rows,
        "resamples": numbers.resamples,
        "level": numbers.level,
        "cells": [_plain_cell(cell) for cell in numbers.cells],
        "starts": [_plain_cell(cell) for cell in numbers.starts],
        "floors": [_plain_cell(cell) for cell in numbers.floors],
        "comparisons": [asdict(comparison) for comparison in numbers.comparisons],
        "sweeps": [
            {
                "labels": dict(sweep.labels),
                "cells": [cell.name for cell in sweep.cells],
                "metric": sweep.metric,
                **sweep.judgement.as_json(),
            }
            for sweep in numbers.sweeps
        ],
    }


def _plain_cell(cell: Cell) -> dict[str, Any]:
    return {
        "name": cell.name,
        "labels": dict(cell.labels),
        "experiments": [run.experiment for run in cell.runs],
        "metrics": {
            name: {**asdict(metric), "by_seed": list(metric.by_seed), "seed_deviation": metric.seed_deviation}
            for name, metric in cell.metrics.items()
        },
        "losses": None if cell.losses is None else list(cell.losses),
        "seconds": cell.seconds,
    }
