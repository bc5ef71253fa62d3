"""The leaderboard: experiments side by side on the same rows, each number with its interval and its verdict.

`leaderboard` computes it; the other functions only write it down, as JSON, text for a terminal, Markdown or a picture.
"""

import io
import math
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import polars as pl

from evaluation.seeds import SeedGroup, seed_groups
from evaluation.significance import (
    Column,
    Difference,
    Effect,
    Interval,
    Verdict,
    bootstrap,
    effect,
    holm,
    panel_of,
    smallest_detectable_difference,
    verdict,
)

FLOORS = ("popularity", "random")
"""Experiments that ignore the user: what lies within their reach is not recommendation."""

_MARKS: Mapping[Verdict, str] = {"better": "▲", "worse": "▼", "cannot tell": "≈"}
_LEAK = "†"
_MEASURE_ORDER = ("hit_ratio", "mrr", "recall", "ndcg")


Shortcut = Mapping[str, Any]
"""A rule of the shortcut report: split, rule, and its scores by the names of metrics."""


@dataclass(frozen=True)
class Comparison:
    """One metric of one experiment against the base, on the same rows."""

    difference: float
    low: float
    high: float
    p_value: float
    adjusted_p: float
    """After Holm's correction over every comparison of the leaderboard."""
    verdict: Verdict
    effect: Effect


@dataclass(frozen=True)
class LeaderboardRow:
    """One experiment; dictionaries are keyed by metric, in the leaderboard's order."""

    experiment: str
    kind: str
    is_floor: bool
    metrics: Mapping[str, Interval]
    """Means over rows."""
    user_means: Mapping[str, Interval]
    """Means over users, every user weighing the same; empty where every user has one row, as they are equal then."""
    comparisons: Mapping[str, Comparison]
    """With `base`; empty for an experiment that is compared with none."""
    base: str | None = None
    """The experiment it is compared with."""
    beyond_accuracy: Mapping[str, float] = field(default_factory=dict[str, float])
    """Numbers beside those that are compared: more cut-offs, coverage, diversity, novelty, lift, cold starts."""
    leaks: tuple[str, ...] = ()
    """The accepted leaks that its numbers come from, by the names that the leaderboard explains; empty when clean."""


@dataclass(frozen=True)
class Leaderboard:
    """What was compared, how, and the rows: best first by `sorted_by`, ties by name."""

    dataset: str
    split: str
    users: int
    rows_evaluated: int
    metrics: tuple[str, ...]
    sorted_by: str
    base: str | None
    """The experiment that most others are compared with."""
    resamples: int
    seed: int
    level: float
    smallest_detectable: Mapping[str, float]
    """By metric: the true difference from a base that is found with probability 0.8; empty without bases."""
    rows: tuple[LeaderboardRow, ...]
    left_out: Mapping[str, str]
    """Experiments with numbers that must not stand beside these, and why."""
    seed_groups: tuple[SeedGroup, ...]
    """Experiments that differ in their seed alone, each family as one line."""
    leaks: Mapping[str, str]
    """Accepted leaks of the tables behind any row, and what each lets a reader find out."""
    shortcuts: tuple[Shortcut, ...]
    """What rules without a model score on this split."""

    @property
    def protocols(self) -> tuple[str, ...]:
        """The protocols of its metrics, candidate sets first."""
        return tuple(dict.fromkeys(protocol_of(metric) for metric in self.metrics))


def protocol_of(metric: str) -> str:
    """The protocol that a metric's name carries.

    >>> protocol_of("hit_ratio_at_1_of_20"), protocol_of("ndcg_at_10_full")
    ('of_20', 'full')
    """
    return "full" if metric.endswith("_full") else "of_" + metric.rpartition("_of_")[2]


def leaderboard(
    metrics: Mapping[str, pl.DataFrame],
    kinds: Mapping[str, str],
    *,
    dataset: str,
    split: str,
    bases: Mapping[str, str] | None = None,
    left_out: Mapping[str, str] | None = None,
    beyond: Mapping[str, Mapping[str, float]] | None = None,
    leaks: Mapping[str, Mapping[str, str]] | None = None,
    shortcuts: Sequence[Shortcut] = (),
    floors: Collection[str] = FLOORS,
    sort_by: str | None = None,
    resamples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Leaderboard:
    """Puts experiments side by side on the rows of one split.

    An experiment is "better" or "worse" than its base where the paired user-cluster bootstrap says so after Holm's
    correction over every comparison shown, floors included; else one "cannot tell".

    Args:
        metrics: the metrics table of each experiment; all of the same rows.
        kinds: the kind of each experiment: sft, preference, baseline, foreign.
        dataset: its key.
        split: validation or test.
        bases: for each experiment that is compared, the one it is compared with: what it started from.
        left_out: experiments that were measured on something else, and on what; only named.
        beyond: further numbers of each experiment, by name; written into the JSON alone.
        leaks: for each experiment whose numbers come from accepted leaks, their names and reasons; all are marked.
        shortcuts: what rules without a model score on this split.
        floors: experiments that ignore the user; marked.
        sort_by: a metric; the last one (of the full catalogue, where there is one), when None.
        resamples: at least this many; more where the correction needs smaller p-values than these resamples can show.
        seed: of the resampling; the same for every experiment and metric, so that differences are paired.
        level: of the intervals; 1 - level is the chance of any false "better" or "worse" on the whole leaderboard.

    Raises:
        ValueError: a name that is not among the experiments, or experiments evaluated on different rows.
    """
    bases = {experiment: base for experiment, base in (bases or {}).items() if experiment != base}
    unknown = sorted({*bases, *bases.values()} - set(metrics))
    if unknown:
        raise ValueError(f"bases must name the experiments {sorted(metrics)}, got {unknown}. Evaluate them first.")
    if set(kinds) != set(metrics):
        raise ValueError(f"kinds must name the experiments {sorted(metrics)}, got {sorted(kinds)}.")
    experiments = sorted(metrics)
    panel = panel_of({experiment: metrics[experiment] for experiment in experiments}, split=split)
    names = sorted({metric for _, metric in panel.columns}, key=_metric_order)
    sorted_by = sort_by or names[-1]
    if sorted_by not in names:
        raise ValueError(f"sort_by must be one of {names}, got {sorted_by}.")

    compared = [c for c in panel.columns if c[0] in bases and (bases[c[0]], c[1]) in panel.columns]
    alpha = 1.0 - level
    # The smallest bootstrap p-value is 2 / (resamples + 1): with too few, a long leaderboard could never find anything.
    resamples = max(resamples, math.ceil(10 * len(compared) / alpha))
    pairs = [(column, (bases[column[0]], column[1])) for column in compared]
    found = bootstrap(panel, pairs, resamples=resamples, seed=seed, level=level)
    effects = _effects(metrics, pairs, split)
    intervals, user_intervals = found.intervals, found.user_intervals
    differences = dict(zip(compared, found.differences, strict=True))
    adjusted = dict(zip(compared, holm([differences[column].p_value for column in compared]), strict=True))

    baselines = {experiment for experiment, kind in kinds.items() if kind in ("baseline", "foreign")}

    def row(experiment: str) -> LeaderboardRow:
        mine = [(experiment, metric) for metric in names]
        return LeaderboardRow(
            experiment=experiment,
            kind=kinds[experiment],
            is_floor=experiment in floors,
            metrics={column[1]: intervals[column] for column in mine if column in intervals},
            user_means={column[1]: user_intervals[column] for column in mine if column in user_intervals},
            comparisons={
                column[1]: _comparison(differences[column], adjusted[column], alpha, effects[column])
                for column in mine
                if column in differences
            },
            base=bases.get(experiment),
            beyond_accuracy=dict((beyond or {}).get(experiment, {})),
            leaks=tuple(sorted((leaks or {}).get(experiment, {}))),
        )

    def place(row: LeaderboardRow) -> tuple[float, str]:
        value = row.metrics.get(sorted_by)
        return (-value.value if value else float("inf"), row.experiment)

    return Leaderboard(
        dataset=dataset,
        split=split,
        users=int(panel.user_ids.size),
        rows_evaluated=int(panel.rows.sum()),
        metrics=tuple(names),
        sorted_by=sorted_by,
        base=max(sorted(set(bases.values())), key=list(bases.values()).count, default=None),
        resamples=resamples,
        seed=seed,
        level=level,
        smallest_detectable=_smallest_detectable(differences, names, {*floors, *baselines}, alpha),
        rows=tuple(sorted(map(row, experiments), key=place)),
        left_out=dict(sorted((left_out or {}).items())),
        seed_groups=seed_groups(panel, level=level),
        leaks={name: reason for of_one in (leaks or {}).values() for name, reason in sorted(of_one.items())},
        shortcuts=tuple(shortcuts),
    )


def _effects(
    metrics: Mapping[str, pl.DataFrame], pairs: Collection[tuple[Column, Column]], split: str
) -> dict[Column, Effect]:
    values = {
        (experiment, str(metric)): part
        for experiment in {experiment for pair in pairs for experiment, _ in pair}
        for (metric,), part in metrics[experiment]
        .filter(pl.col("split") == split)
        .partition_by("metric", as_dict=True)
        .items()
    }
    return {first: effect(values[first], values[second]) for first, second in pairs}


def _comparison(difference: Difference, adjusted_p: float, alpha: float, size: Effect) -> Comparison:
    return Comparison(
        difference=difference.value,
        low=difference.low,
        high=difference.high,
        p_value=difference.p_value,
        adjusted_p=adjusted_p,
        verdict=verdict(difference.value, adjusted_p, alpha=alpha),
        effect=size,
    )


def _smallest_detectable(
    differences: Mapping[tuple[str, str], Difference], names: Sequence[str], baselines: Collection[str], alpha: float
) -> dict[str, float]:
    """By metric, for the noisiest difference of a policy: floors and baselines differ from all most."""
    result: dict[str, float] = {}
    for name in names:
        errors = {experiment: d.standard_error for (experiment, metric), d in differences.items() if metric == name}
        trained = {experiment: error for experiment, error in errors.items() if experiment not in baselines}
        if errors:
            noisiest = max((trained or errors).values())
            result[name] = smallest_detectable_difference(noisiest, alpha=alpha, comparisons=len(differences))
    return result


def _metric_order(metric: str) -> tuple[bool, str, int, str]:
    """Candidate sets before the full catalogue; measures in the order of the papers."""
    measure = next((i for i, name in enumerate(_MEASURE_ORDER) if metric.startswith(name)), len(_MEASURE_ORDER))
    protocol = protocol_of(metric)
    return (protocol == "full", protocol, measure, metric)


# Written down


def as_json(board: Leaderboard) -> dict[str, Any]:
    """Plain values for `json.dumps`: dataset, split and rows first, then what else a reader may want."""

    def plain(values: Mapping[str, Any], *, leaky: bool) -> dict[str, Any]:
        mark = {"leaky": True} if leaky else {}
        return {name: asdict(value) | mark for name, value in values.items()}

    return {
        "dataset": board.dataset,
        "split": board.split,
        "rows": [
            {
                "experiment": row.experiment,
                "kind": row.kind,
                "metrics": plain(row.metrics, leaky=bool(row.leaks)),
                "is_floor": row.is_floor,
                "user_means": plain(row.user_means, leaky=bool(row.leaks)),
                "base": row.base,
                "beyond_accuracy": dict(row.beyond_accuracy),
                "comparisons": plain(row.comparisons, leaky=bool(row.leaks)),
                "leaky": bool(row.leaks),
                "leaks": list(row.leaks),
            }
            for row in board.rows
        ],
        "users": board.users,
        "rows_evaluated": board.rows_evaluated,
        "protocols": list(board.protocols),
        "sorted_by": board.sorted_by,
        "base": board.base,
        "resamples": board.resamples,
        "seed": board.seed,
        "level": board.level,
        "smallest_detectable_difference": dict(board.smallest_detectable),
        "left_out": dict(board.left_out),
        "seed_groups": [asdict(group) for group in board.seed_groups],
        "leaks": dict(board.leaks),
        "shortcuts": [dict(shortcut) for shortcut in board.shortcuts],
    }


def as_text(board: Leaderboard, *, width: int = 120) -> str:
    """An aligned table for a terminal of `width` columns; metrics that do not fit beside one another follow below."""
    column = len("  0.312 [0.301, 0.323] ▲") + (len(_LEAK) if board.leaks else 0)
    longest = max(len(row.experiment) for row in board.rows) + 2
    per_block = max(1, (width - min(longest, 24)) // column)
    name_width = min(longest, max(12, width - per_block * column))
    lines = [line for statement in _statements(board) for line in _wrapped(statement, width)]

    def write(metrics: Sequence[str], cell: Callable[[LeaderboardRow, str], str], corner: str) -> None:
        for start in range(0, len(metrics), per_block):
            block = metrics[start : start + per_block]
            lines.append("")
            lines.append("".join([f"{corner:<{name_width}}", *(f"  {name:<{column - 2}}" for name in block)]).rstrip())
            for row in board.rows:
                name = _shortened(("* " if row.is_floor else "  ") + row.experiment, name_width)
                cells = (f"  {cell(row, metric):<{column - 2}}" for metric in block)
                lines.append("".join([f"{name:<{name_width}}", *cells]).rstrip())

    write(board.metrics, _cell, "")
    if any(row.user_means for row in board.rows):
        write(board.metrics, lambda row, metric: _number(row, row.user_means.get(metric)), "user means")
    if board.seed_groups:
        lines += ["", *(line for statement in _seed_lines(board) for line in _wrapped(statement, width))]
    return "\n".join([*lines, "", *(line for note in _notes(board) for line in _wrapped(note, width))]) + "\n"


def as_markdown(board: Leaderboard) -> str:
    """A Markdown table under its header, each of the header's statements a list item."""
    head = ["experiment", "kind", *board.metrics]
    lines = [f"- {line}" for line in _statements(board)]
    lines += ["", "| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for row in board.rows:
        name = f"{row.experiment} *" if row.is_floor else row.experiment
        lines.append("| " + " | ".join([name, row.kind, *(_cell(row, metric) for metric in board.metrics)]) + " |")
    lines += ["", *(f"- {line}" for line in _seed_lines(board))] if board.seed_groups else []
    return "\n".join([*lines, "", "; ".join(_notes(board))]).rstrip() + "\n"


def as_png(board: Leaderboard) -> bytes:
    """A picture: one panel per metric, one interval per experiment, in the order of the table; floors hollow."""
    # Figure and canvas without pyplot: no global state, no display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = board.rows[::-1]
    figure = Figure(figsize=(3.2 * len(board.metrics) + 2.0, 0.36 * len(rows) + 1.6), dpi=120, layout="constrained")
    panels = figure.subplots(1, len(board.metrics), sharey=True, squeeze=False)[0]
    for axes, metric in zip(panels, board.metrics, strict=True):
        base = next((row.metrics.get(metric) for row in rows if row.experiment == board.base), None)
        if base is not None:
            axes.axvspan(base.low, base.high, color="0.92", zorder=0)
        for place, row in enumerate(rows):
            interval = row.metrics.get(metric)
            if interval is None:
                continue
            colour = "0.45" if row.is_floor else "#1f5fa8"
            axes.plot([interval.low, interval.high], [place, place], color=colour, linewidth=1.8)
            fill = "white" if row.is_floor else colour
            axes.plot([interval.value], [place], "o", markersize=5, markeredgecolor=colour, markerfacecolor=fill)
        axes.set_title(metric, fontsize=9)
        axes.grid(axis="x", color="0.9", linewidth=0.6)
        axes.tick_params(labelsize=8)
        axes.set_axisbelow(True)
    panels[0].set_yticks(range(len(rows)), [row.experiment + (_LEAK if row.leaks else "") for row in rows], fontsize=8)
    panels[0].set_ylim(-0.6, len(rows) - 0.4)
    title = _title(board) + (f"; band: {board.base}" if board.base else "")
    title += f"\n{_LEAK} from tables with accepted leaks: {', '.join(board.leaks)}" if board.leaks else ""
    figure.suptitle(title, fontsize=9)  # pyright: ignore[reportUnknownMemberType]: matplotlib leaves **kwargs untyped
    FigureCanvasAgg(figure)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")  # pyright: ignore[reportUnknownMemberType]
    return picture.getvalue()


def _statements(board: Leaderboard) -> list[str]:
    """What a reader must know before the first number."""
    statements = [
        _title(board),
        *_leak_statements(board),
        f"protocols: {', '.join(_described(protocol) for protocol in board.protocols)}",
        f"{100 * board.level:g} % intervals: users resampled {board.resamples:,} times, seed {board.seed}",
    ]
    if board.smallest_detectable:
        sizes = ", ".join(f"{metric} {size:.3f}" for metric, size in board.smallest_detectable.items())
        against = board.base if len(_bases(board)) == 1 else "its base"
        statements.append(
            f"smallest difference from {against} that this {board.split} set can show (power 80 %): {sizes}"
        )
    if board.shortcuts:
        measures = [name for name in board.shortcuts[0] if name not in ("split", "rule")]
        scores = ", ".join(
            f"{rule['rule']} {' / '.join(f'{rule[name]:.3f}' for name in measures)}" for rule in board.shortcuts
        )
        statements.append(f"rules without a model ({' / '.join(measures)}): {scores}")
    return statements


def _title(board: Leaderboard) -> str:
    size = f"{board.users:,} users, {board.rows_evaluated:,} rows"
    return f"{board.dataset}, {board.split}: {size}; best {board.sorted_by} first"


def _leak_statements(board: Leaderboard) -> list[str]:
    if not board.leaks:
        return []
    head = (
        f"LEAKS ACCEPTED: every number marked {_LEAK} comes from tables that leak their answers, and is no evidence of "
        "how well anything recommends"
    )
    return [head, *(f"{_LEAK} {name}: {reason}" for name, reason in board.leaks.items())]


def _described(protocol: str) -> str:
    if protocol == "full":
        return "full = the whole catalogue without the history"
    return f"{protocol} = the target and {int(protocol.removeprefix('of_')) - 1} items never touched"


def _notes(board: Leaderboard) -> list[str]:
    """What the marks mean."""
    notes: list[str] = []
    bases = _bases(board)
    if bases:
        marks = ", ".join(f"{mark} {meaning}" for meaning, mark in _MARKS.items())
        others = [f"{row.experiment} against {row.base}" for row in board.rows if row.base not in (None, board.base)]
        against = f"{board.base}{' (' + ', '.join(others) + ')' if others else ''}"
        notes.append(f"{marks}: against {against}, paired bootstrap over users, Holm-corrected")
    if any(row.is_floor for row in board.rows):
        notes.append("* floor: ignores the user")
    notes += [f"left out: {experiment}, {reason}" for experiment, reason in board.left_out.items()]
    return notes


def _seed_lines(board: Leaderboard) -> list[str]:
    """What another seed would have changed, and what other users would: neither says anything of the other."""
    lines = ["several seeds as one line: mean ± deviation from seed to seed (standard error over users)"]
    for group in board.seed_groups:
        values = ", ".join(
            f"{metric} {found.value:.3f} ± {found.seed_deviation:.3f} ({found.user_error:.3f})"
            for metric, found in sorted(group.metrics.items(), key=lambda entry: _metric_order(entry[0]))
        )
        lines.append(f"{group.name}, {len(group.seeds)} seeds: {values}")
    return lines


def _bases(board: Leaderboard) -> set[str]:
    return {row.base for row in board.rows if row.base is not None}


def _cell(row: LeaderboardRow, metric: str) -> str:
    text = _number(row, row.metrics.get(metric))
    comparison = row.comparisons.get(metric)
    return f"{text} {_MARKS[comparison.verdict]}" if comparison else text


def _number(row: LeaderboardRow, interval: Interval | None) -> str:
    mark = _LEAK if row.leaks else ""
    return f"{interval.value:.3f}{mark} [{interval.low:.3f}, {interval.high:.3f}]" if interval else "-"


def _shortened(name: str, width: int) -> str:
    """Cuts the middle: names of one study differ at their ends."""
    if len(name) <= width:
        return name
    tail = (width - 1) // 2
    return f"{name[: width - 1 - tail]}…{name[len(name) - tail :]}"


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent="  ", break_long_words=False)
