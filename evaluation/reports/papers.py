"""Our results beside those of papers, source by source: ours have intervals, theirs are as printed.

Papers report on test rows. Where these are not here, ours are about validation rows of the same users, and every table
says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from contracts.words import FULL
from evaluation.reports import document
from evaluation.reports.document import LEAK, Block, Bullets, Heading, Paragraph, Table
from evaluation.reports.leaderboard import metric_order
from evaluation.statistics.significance import STANDARD, Difference, Interval, Resampling, bootstrap, panel_of


@dataclass(frozen=True)
class Claim:
    """The numbers that a paper reports of one model."""

    model: str
    source: str
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Result:
    """The numbers of one of our experiments."""

    experiment: str
    metrics: Mapping[str, Interval]
    leaks: tuple[str, ...]
    """Accepted leaks of the tables it comes from; empty when clean."""
    drop: Mapping[str, Difference]
    """On these lists minus on those of the data set with the same rows, paired; empty without one."""


@dataclass(frozen=True)
class PaperTable:
    """One data set, on the rows of one split."""

    dataset: str
    split: str
    users: int
    rows: int
    metrics: tuple[str, ...]
    results: tuple[Result, ...]
    """Best first by the last metric."""
    claims: tuple[Claim, ...]
    same_rows_as: str | None


def paper_table(
    metrics: Mapping[str, pl.DataFrame],
    claims: Sequence[Claim],
    *,
    dataset: str,
    split: str,
    leaks: Mapping[str, Sequence[str]],
    elsewhere: Mapping[str, pl.DataFrame] | None = None,
    same_rows_as: str | None = None,
    how: Resampling = STANDARD,
) -> PaperTable:
    """Our results on one data set beside those that papers report on it.

    Args:
        metrics: the metrics table of each experiment, all of the same rows.
        claims: of papers; the table shows their metrics, or all of ours when there are none.
        dataset: its key.
        split: of the rows that are shown.
        leaks: by experiment, names of accepted leaks.
        elsewhere: the metrics tables of the same experiments on the data set with the same rows and other lists.
        same_rows_as: the key of that one.
        how: the resampling of users, for intervals and paired differences.

    Raises:
        ValueError: experiments on different rows, or `elsewhere` on others than `metrics`.
    """
    panel = panel_of(metrics, split=split)
    claimed = {name for claim in claims for name in claim.metrics}
    ours = {name for _, name in panel.columns}
    names = sorted(claimed & ours or ours, key=metric_order)
    drops = _drops(metrics, elsewhere or {}, split, how)
    intervals = bootstrap(panel, how=how).intervals
    results = [
        Result(
            experiment,
            {name: intervals[experiment, name] for name in names if (experiment, name) in intervals},
            tuple(sorted(leaks.get(experiment, ()))),
            {name: drop for name, drop in drops.get(experiment, {}).items() if name in names},
        )
        for experiment in metrics
    ]
    results.sort(key=lambda r: (-r.metrics[names[-1]].value if names[-1] in r.metrics else 1.0, r.experiment))
    rows = int(panel.rows.sum())
    return PaperTable(
        dataset, split, panel.user_ids.size, rows, tuple(names), tuple(results), tuple(claims), same_rows_as
    )


def _drops(
    here: Mapping[str, pl.DataFrame], elsewhere: Mapping[str, pl.DataFrame], split: str, how: Resampling
) -> dict[str, dict[str, Difference]]:
    """Differences of metrics on candidate lists: the full catalogue has no lists, so there the two are equal."""
    found: dict[str, dict[str, Difference]] = {}
    for experiment in here.keys() & elsewhere.keys():
        lists = pl.col("protocol") != FULL
        panel = panel_of(
            {"here": here[experiment].filter(lists), "elsewhere": elsewhere[experiment].filter(lists)}, split=split
        )
        names = sorted({name for _, name in panel.columns})
        pairs = [(("here", name), ("elsewhere", name)) for name in names]
        differences = bootstrap(panel, pairs, how).differences
        found[experiment] = {first[1]: d for (first, _), d in zip(pairs, differences, strict=True)}
    return found


def as_json(parts: Sequence[PaperTable], sources: Mapping[str, str]) -> dict[str, Any]:
    """Plain values for `json.dumps`."""
    return {"sources": dict(sources), "benchmarks": [asdict(part) for part in parts]}


def as_markdown(
    question: str, parts: Sequence[PaperTable], sources: Mapping[str, str], missing: Sequence[str] = ()
) -> str:
    """One table for each data set and split, the sources below.

    Args:
        question: of the study.
        parts: in the order in which they are shown.
        sources: short name → where its numbers are printed.
        missing: what could not be measured, and why.
    """
    return document.as_markdown([Paragraph(question, "lead"), *_blocks(parts, sources, missing)])


def as_html(question: str, parts: Sequence[PaperTable], sources: Mapping[str, str], missing: Sequence[str] = ()) -> str:
    """The same as one page of HTML that needs nothing else."""
    return document.as_html(question, _blocks(parts, sources, missing), {})


def _blocks(parts: Sequence[PaperTable], sources: Mapping[str, str], missing: Sequence[str]) -> list[Block]:
    blocks: list[Block] = []
    for part in parts:
        blocks += [Heading(f"{part.dataset}, {part.split}"), Bullets(_statements(part)), _table(part)]
    blocks += [Heading("Sources"), Bullets([f"{name}: {where}" for name, where in sources.items()])]
    return [*blocks, Bullets([f"not here: {line}" for line in missing])] if missing else blocks


def _statements(part: PaperTable) -> list[str]:
    said = [f"ours: {part.users:,} users, {part.rows:,} rows of {part.split}; 95 % intervals over users"]
    if part.claims and part.split != "test":
        said.append("papers report on test rows, which are not here: no row of theirs is one of ours")
    elif part.claims:
        said.append("numbers of papers are as printed there: other models, often much larger ones")
    leaks = sorted({leak for result in part.results for leak in result.leaks})
    if leaks:
        said.append(f"{LEAK} LEAKS ACCEPTED, no evidence of how well anything recommends: {', '.join(leaks)}")
    if part.same_rows_as:
        said.append(f"drop: what these candidate lists add to the same rows of {part.same_rows_as}, paired over users")
    return said


def _table(part: PaperTable) -> Table:
    drops = [name for name in part.metrics if any(name in result.drop for result in part.results)]
    rows: list[list[str]] = []
    for result in part.results:
        mark = LEAK if result.leaks else ""
        shown = [
            f"{i.value:.4f}{mark} [{i.low:.4f}, {i.high:.4f}]" if (i := result.metrics.get(name)) else "-"
            for name in part.metrics
        ]
        lost = [
            f"{d.value:+.4f} [{d.low:+.4f}, {d.high:+.4f}]" if (d := result.drop.get(name)) else "-" for name in drops
        ]
        rows.append([result.experiment, "ours", *shown, *lost])
    for claim in part.claims:
        shown = [f"{claim.metrics[name]:.4f}" if name in claim.metrics else "-" for name in part.metrics]
        rows.append([claim.model, claim.source, *shown, *("" for _ in drops)])
    return Table(["model", "from", *part.metrics, *(f"drop of {name}" for name in drops)], rows)
