"""The report of a study: its runs side by side, with the outcomes of tests, as one page with pictures.

Pure: metrics tables and curves in, text and bytes out. The same runs give the same page in whatever order they come.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter

from evaluation.reports.document import as_html, as_markdown
from evaluation.reports.study.cells import MeasuredRuns, Shared, StudyNumbers, StudyRun
from evaluation.reports.study.figures import study_figures
from evaluation.reports.study.numbers import study_numbers
from evaluation.reports.study.page import Topic, blocks_of, findings
from evaluation.statistics.significance import STANDARD, Resampling

__all__ = ["MeasuredRuns", "Shared", "StudyReport", "StudyRun", "Topic", "study_report"]


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
    """The sentences that the page begins with."""
    as_json: Mapping[str, Any]
    """Every number, as plain values."""


def study_report(topic: Topic, measured: MeasuredRuns, how: Resampling = STANDARD) -> StudyReport:
    """Compares, judges, draws and writes down the measured runs of a study.

    Raises:
        ValueError: see `study_numbers`.
    """
    numbers = study_numbers(measured, how)
    figures = study_figures(numbers)
    blocks = blocks_of(topic, numbers, figures)
    return StudyReport(
        markdown=as_markdown(blocks, title=topic.title),
        html=as_html(topic.title, blocks, figures),
        figures=figures,
        findings=tuple(findings(numbers)),
        as_json=_as_json(topic, numbers),
    )


_NUMBERS = TypeAdapter(StudyNumbers)


def _as_json(topic: Topic, numbers: StudyNumbers) -> dict[str, Any]:
    plain = _NUMBERS.dump_python(numbers, mode="json", by_alias=True, exclude={"axes", "metrics"})
    for sweep in plain["sweeps"]:
        sweep |= sweep.pop("judgement")
    return {
        "study": topic.title,
        "question": topic.question,
        "dataset": topic.dataset,
        "findings": findings(numbers),
        **plain,
        "selection": None if topic.selection is None else topic.selection.to_dicts(),
        "shared": [asdict(part) for part in topic.shared],
    }
