"""Our results beside published ones, source by source: what is ours has intervals, what is not has none.

Published numbers are about the publishers' test rows. Where these are not here, ours are about validation rows of the
same users, and every table says so. Dimension key: none; tables are lists of cells.
"""

import html
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from evaluation.reports.leaderboard import metric_order
from evaluation.reports.leaderboard_page import STYLE, html_table
from evaluation.reports.leaderboard_text import LEAK
from evaluation.statistics.significance import Difference, Interval, bootstrap, panel_of


@dataclass(frozen=True)
class Claim:
    """What somebody published of one model."""

    model: str
    source: str
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Result:
    """What one of our experiments got."""

    experiment: str
    metrics: Mapping[str, Interval]
    leaks: tuple[str, ...]
    """Accepted leaks of the tables it comes from; empty when clean."""
    drop: Mapping[str, Difference]
    """On these lists minus on those of the data set with the same rows, paired; empty without one."""


@dataclass(frozen=True)
class Part:
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


def part_of(
    metrics: Mapping[str, pl.DataFrame],
    claims: Sequence[Claim],
    *,
    dataset: str,
    split: str,
    leaks: Mapping[str, Sequence[str]],
    elsewhere: Mapping[str, pl.DataFrame] | None = None,
    same_rows_as: str | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> Part:
    """Our results on one data set beside what is published on it.

    Args:
        metrics: the metrics table of each experiment, all of the same rows.
        claims: what is published; only the metrics of these are shown, or all of ours when there are none.
        dataset: its key.
        split: of the rows that are shown.
        leaks: by experiment, names of accepted leaks.
        elsewhere: the metrics tables of the same experiments on the data set with the same rows and other lists.
        same_rows_as: the key of that one.
        resamples: of users, for intervals and paired differences.
        seed: of the resampling.

    Raises:
        ValueError: experiments on different rows, or `elsewhere` on others than `metrics`.
    """
    panel = panel_of(metrics, split=split)
    claimed = {name for claim in claims for name in claim.metrics}
    ours = {name for _, name in panel.columns}
    names = sorted(claimed & ours or ours, key=metric_order)
    drops = _drops(metrics, elsewhere or {}, split, resamples, seed)
    intervals = bootstrap(panel, resamples=resamples, seed=seed).intervals
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
    return Part(dataset, split, panel.user_ids.size, rows, tuple(names), tuple(results), tuple(claims), same_rows_as)


def _drops(
    here: Mapping[str, pl.DataFrame], elsewhere: Mapping[str, pl.DataFrame], split: str, resamples: int, seed: int
) -> dict[str, dict[str, Difference]]:
    """Of metrics on candidate lists: the full catalogue knows no lists, so there the two are equal."""
    found: dict[str, dict[str, Difference]] = {}
    for experiment in here.keys() & elsewhere.keys():
        lists = pl.col("protocol") != "full"
        panel = panel_of(
            {"here": here[experiment].filter(lists), "elsewhere": elsewhere[experiment].filter(lists)}, split=split
        )
        names = sorted({name for _, name in panel.columns})
        pairs = [(("here", name), ("elsewhere", name)) for name in names]
        differences = bootstrap(panel, pairs, resamples=resamples, seed=seed).differences
        found[experiment] = {first[1]: d for (first, _), d in zip(pairs, differences, strict=True)}
    return found


def as_json(parts: Sequence[Part], sources: Mapping[str, str]) -> dict[str, Any]:
    """Plain values for `json.dumps`."""
    return {"sources": dict(sources), "benchmarks": [asdict(part) for part in parts]}


def as_markdown(question: str, parts: Sequence[Part], sources: Mapping[str, str], missing: Sequence[str] = ()) -> str:
    """One table for each data set and split, the sources below.

    Args:
        question: of the study.
        parts: in the order in which they are shown.
        sources: short name → where its numbers stand.
        missing: what could not be measured, and why.
    """
    lines = [question]
    for part in parts:
        lines += ["", f"## {part.dataset}, {part.split}", "", *(f"- {line}" for line in _statements(part)), ""]
        head, *rows = _cells(part)
        lines += [f"| {' | '.join(head)} |", "|" + " --- |" * len(head), *(f"| {' | '.join(row)} |" for row in rows)]
    lines += ["", "## Sources", "", *(f"- {name}: {where}" for name, where in sources.items())]
    lines += ["", *(f"- not here: {line}" for line in missing)] if missing else []
    return "\n".join(lines) + "\n"


def as_html(question: str, parts: Sequence[Part], sources: Mapping[str, str], missing: Sequence[str] = ()) -> str:
    """The same as one page of HTML that needs nothing else."""
    body = [f"<h1>{html.escape(question)}</h1>"]
    for part in parts:
        said = "".join(f"<li>{html.escape(line)}</li>" for line in _statements(part))
        body += [f"<h2>{part.dataset}, {part.split}</h2><ul>{said}</ul>", html_table(_cells(part))]
    listed = [f"{name}: {where}" for name, where in sources.items()] + [f"not here: {line}" for line in missing]
    body.append(f"<h2>Sources</h2><ul>{''.join(f'<li>{html.escape(line)}</li>' for line in listed)}</ul>")
    head = f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>Published</title><style>{STYLE}</style>"
    return "\n".join([f"{head}</head><body>", *body, "</body></html>"]) + "\n"


def _statements(part: Part) -> list[str]:
    said = [f"ours: {part.users:,} users, {part.rows:,} rows of {part.split}; 95 % intervals over users"]
    if part.claims and part.split != "test":
        said.append("published numbers are about test rows, which are not here: no row of them is one of ours")
    elif part.claims:
        said.append("published numbers are as printed by their sources: other models, often much larger ones")
    leaks = sorted({leak for result in part.results for leak in result.leaks})
    if leaks:
        said.append(f"{LEAK} LEAKS ACCEPTED, no evidence of how well anything recommends: {', '.join(leaks)}")
    if part.same_rows_as:
        said.append(f"drop: what these candidate lists add to the same rows of {part.same_rows_as}, paired over users")
    return said


def _cells(part: Part) -> list[list[str]]:
    drops = [name for name in part.metrics if any(name in result.drop for result in part.results)]
    table = [["model", "from", *part.metrics, *(f"drop of {name}" for name in drops)]]
    for result in part.results:
        mark = LEAK if result.leaks else ""
        shown = [
            f"{i.value:.4f}{mark} [{i.low:.4f}, {i.high:.4f}]" if (i := result.metrics.get(name)) else "-"
            for name in part.metrics
        ]
        lost = [
            f"{d.value:+.4f} [{d.low:+.4f}, {d.high:+.4f}]" if (d := result.drop.get(name)) else "-" for name in drops
        ]
        table.append([result.experiment, "ours", *shown, *lost])
    for claim in part.claims:
        shown = [f"{claim.metrics[name]:.4f}" if name in claim.metrics else "-" for name in part.metrics]
        table.append([claim.model, claim.source, *shown, *("" for _ in drops)])
    return table
