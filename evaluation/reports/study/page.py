"""The page of a study: findings first, then the numbers below them, then how to read them."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from evaluation.reports.document import MARKS, Block, Bullets, Heading, Paragraph, Picture, Table
from evaluation.reports.study.cells import Cell, Comparison, Shared, StudyNumbers, Sweep
from evaluation.statistics.collapse import ERRORS

CAPTIONS = {
    "differences": "Each cell minus what it started from, on the same rows, seeds averaged, with the paired interval "
    "over users. The table further down corrects for the number of cells; these bars do not.",
    "loss_against_metric": "Final training loss and metric. Down and to the left: the loss falls, and the policy gets "
    "worse. In a sweep an arrow leads from one number to the next larger one.",
    "gradients": "What the loss's gradient does with its negatives during training; means over seeds.",
    "curves": "Training loss, the validation metric, and the share of a fixed probe's rows whose target beats all 19 "
    "negatives, whatever a run trains on; means over seeds.",
}


@dataclass(frozen=True)
class Topic:
    """The subject of a study, and what its page shows beside the numbers."""

    title: str
    question: str
    dataset: str
    selection: pl.DataFrame | None = None
    """Earlier trials and the choice among them; shown as it is."""
    shared: Sequence[Shared] = ()
    """Parts that were computed once for several experiments."""


def blocks_of(topic: Topic, numbers: StudyNumbers, figures: Mapping[str, bytes]) -> list[Block]:
    """The page, block by block."""
    return [
        Paragraph(topic.question, "lead"),
        Paragraph(_what(topic.dataset, numbers)),
        Heading("What was found"),
        Bullets(findings(numbers)),
        *_pictured("metrics", _metrics_caption(numbers), figures),
        *_pictured("differences", CAPTIONS["differences"], figures),
        Heading("Every cell"),
        cell_table(numbers),
        Paragraph(
            f"Value [{100 * numbers.level:g} % interval over users] ± deviation from seed to seed. Losses are means "
            "over seeds: of the first step, and of the last stretch between two validations.",
            "note",
        ),
        *_sweeps(numbers),
        *_pictured("loss_against_metric", CAPTIONS["loss_against_metric"], figures),
        *_comparisons(numbers),
        *_training(figures),
        *_selection(topic.selection),
        *_compute(numbers, topic.shared),
        Heading("How to read this"),
        Bullets(_notes(numbers)),
    ]


def findings(numbers: StudyNumbers) -> list[str]:
    """One sentence for each thing that a reader came for."""
    found = [
        f"{_named(sweep.labels)}: {sweep.judgement.diagnosis}, by {sweep.metric}. {sweep.judgement.reasons[0]}"
        for sweep in numbers.sweeps
        if sweep.judgement.diagnosis == "collapsed"
    ]
    for metric in dict.fromkeys(sweep.metric for sweep in numbers.sweeps):
        diagnoses = Counter(sweep.judgement.diagnosis for sweep in numbers.sweeps if sweep.metric == metric)
        counts = ", ".join(f"{diagnoses[one]} {one}" for one in ("collapsed", "healthy", "cannot tell"))
        found.append(f"{metric} over {numbers.axes.swept}: of {diagnoses.total()} sweeps {counts}")
    for table in dict.fromkeys(comparison.pair.table for comparison in numbers.comparisons):
        for metric in numbers.compared:
            of_metric = [c for c in numbers.comparisons if c.pair.table == table and c.metric == metric]
            counts = [f"{sum(c.outcome == one for c in of_metric)} {one}" for one in MARKS]
            found.append(f"{metric} {table}: of {len(of_metric)} cells {', '.join(counts)}")
    best = max(numbers.cells, key=lambda cell: cell.metrics[numbers.compared[0]].value)
    value = best.metrics[numbers.compared[0]]
    found.append(
        f"highest {numbers.compared[0]}: {best.name}, {value.value:.4f} [{value.low:.4f}, {value.high:.4f}]; the best "
        f"of {len(numbers.cells)} was chosen for its luck too"
    )
    return found


def cell_table(numbers: StudyNumbers) -> Table:
    """Every cell, the start and the floors."""
    axes = list(numbers.axes.labels)
    head = [*axes, "seeds", *numbers.metrics, "loss, first → last", "training"]
    rows = [
        [
            *(cell.labels[axis] for axis in axes),
            str(len(cell.runs)),
            *_metrics(numbers, cell),
            _losses(cell),
            _time(cell),
        ]
        for cell in numbers.cells
    ]
    others = [*numbers.starts, *numbers.floors]
    padding = [""] * (len(axes) - 1)
    rows += [[cell.name, *padding, "", *_metrics(numbers, cell), "", ""] for cell in others]
    return Table(head, rows)


def _what(dataset: str, numbers: StudyNumbers) -> str:
    seeds = sorted({len(cell.runs) for cell in numbers.cells})
    of_seeds = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    return (
        f"{dataset}, {numbers.split}: {numbers.users:,} users, {numbers.rows:,} rows. {len(numbers.cells)} cells of "
        f"{of_seeds} seed{'s' if seeds[-1] > 1 else ''} each. Users resampled {numbers.resamples:,} times."
    )


def _metrics_caption(numbers: StudyNumbers) -> str:
    bars = f"Bars: {100 * numbers.level:g} % intervals over users, seeds averaged"
    seeds = "thin lines: each seed" if numbers.axes.swept else "ticks: each seed"
    of_starts = ", ".join(start.name for start in numbers.starts)
    start = f"; dashed, with its interval: {of_starts}" if of_starts else ""
    return f"{bars}; {seeds}{start}{'; dotted: floors, where they are near' if numbers.floors else ''}."


def _pictured(name: str, caption: str, figures: Mapping[str, bytes]) -> Iterator[Block]:
    if name in figures:
        yield Picture(name, caption)


def _training(figures: Mapping[str, bytes]) -> Iterator[Block]:
    names = [name for name in ("curves", "gradients") if name in figures]
    if names:
        yield Heading("During training")
        for name in names:
            yield Picture(name, CAPTIONS[name])


def _metrics(numbers: StudyNumbers, cell: Cell) -> list[str]:
    return [_metric(cell, metric) for metric in numbers.metrics]


def _metric(cell: Cell, metric: str) -> str:
    found = cell.metrics.get(metric)
    if found is None:
        return "-"
    text = f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"
    return text if found.seed_deviation is None else f"{text} ± {found.seed_deviation:.3f}"


def _losses(cell: Cell) -> str:
    return "-" if cell.losses is None else f"{cell.losses[0]:.4g} → {cell.losses[1]:.4g}"


def _time(cell: Cell) -> str:
    return duration(cell.seconds)


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    >>> duration(7.2), duration(200), duration(7300)
    ('7 s', '3.3 min', '2.0 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _sweeps(numbers: StudyNumbers) -> Iterator[Block]:
    if not numbers.sweeps:
        return
    yield Heading("Does it collapse?")
    axes = [axis for axis in numbers.axes.labels if axis != numbers.axes.swept]
    rows = [
        [*(sweep.labels[axis] for axis in axes), sweep.metric, sweep.judgement.diagnosis, _reasons(sweep)]
        for sweep in numbers.sweeps
    ]
    yield Table([*axes, "by", "diagnosis", "what it rests on"], rows)
    yield Paragraph(
        f"Collapsed: the metric with the largest {numbers.axes.swept} is below the best one by more "
        f"than {ERRORS:g} standard errors of that paired difference, over users and seeds together, while the training "
        "loss is lower. The best one was chosen by the same rows, which flatters it: the table of comparisons corrects "
        "for that.",
        "note",
    )


def _reasons(sweep: Sweep) -> str:
    return "; ".join(sweep.judgement.reasons)


def _comparisons(numbers: StudyNumbers) -> Iterator[Block]:
    for table in dict.fromkeys(comparison.pair.table for comparison in numbers.comparisons):
        of_table = [comparison for comparison in numbers.comparisons if comparison.pair.table == table]
        yield Heading(f"Compared: {table}")
        by_pair: dict[tuple[str, str], dict[str, Comparison]] = {}
        for comparison in of_table:
            by_pair.setdefault((comparison.pair.first, comparison.pair.second), {})[comparison.metric] = comparison
        head = ["cell", "against", *(f"{metric}, difference" for metric in numbers.compared)]
        rows = [
            [*pair, *(_difference(found.get(metric)) for metric in numbers.compared)] for pair, found in by_pair.items()
        ]
        yield Table(head, rows)
        yield Paragraph(
            f"Difference on the same rows, seeds averaged, with its {100 * numbers.level:g} % interval and "
            f"Holm's p over the {len(of_table)} comparisons of this table. ▲ better, ▼ worse, ≈ one cannot tell.",
            "note",
        )


def _difference(found: Comparison | None) -> str:
    if found is None:
        return "-"
    of = found.difference
    return f"{of.value:+.4f} [{of.low:+.4f}, {of.high:+.4f}] p {_p(found.adjusted_p)} {MARKS[found.outcome]}"


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def _selection(table: pl.DataFrame | None) -> Iterator[Block]:
    if table is not None and table.height:
        yield Heading("How it was selected")
        yield Table(table.columns, [[_text(value) for value in row] for row in table.rows()])


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else ""
        case float():
            return f"{value:.4g}" if math.isfinite(value) else str(value)
        case _:
            return str(value)


def _compute(numbers: StudyNumbers, shared: Sequence[Shared]) -> Iterator[Block]:
    n_runs = sum(len(cell.runs) for cell in numbers.cells)
    trained = math.fsum(cell.seconds for cell in numbers.cells)
    yield Heading("Compute")
    text = f"{n_runs} trainings took {duration(trained)}, {duration(trained / n_runs)} each."
    if shared:
        once, saved = (
            math.fsum(values) for values in zip(*((part.seconds, part.saved) for part in shared), strict=True)
        )
        text += (
            f" What experiments share took {duration(once)}, once; each on its own would have taken {duration(saved)} "
            f"more, {saved / (trained + once):.1f} times what was spent. What was tried before the selection counts as "
            "sharing too."
        )
    yield Paragraph(text)
    if shared:
        cells = [[p.name, f"{p.seconds:.1f}", str(p.needed_by), duration(p.saved)] for p in shared]
        yield Table(["computed once", "seconds", "experiments that need it", "saved"], cells)


def _notes(numbers: StudyNumbers) -> list[str]:
    return [
        "A cell's value is the mean over rows and seeds. Its interval is that of other users with these seeds; what "
        "another seed does is the deviation beside it, and neither says anything of the other.",
        "Comparisons resample users, whole, on the same rows, and correct for their number.",
    ]


def _named(labels: Mapping[str, str]) -> str:
    return " ".join(labels.values()) or "the sweep"
