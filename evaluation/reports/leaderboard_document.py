"""A leaderboard as a document: for a terminal, as Markdown, and as one page of HTML that needs nothing else."""

from collections.abc import Callable

from contracts.words import FULL
from evaluation.leakage.repeats import MANY_LAST
from evaluation.reports import costs, document
from evaluation.reports.document import (
    FRONT,
    LEAK,
    MARKS,
    Block,
    Bullets,
    Data,
    Heading,
    Notes,
    Picture,
    Table,
)
from evaluation.reports.leaderboard import COVERAGE, Leaderboard, LeaderboardRow, as_json, metric_order
from evaluation.reports.leaderboard_figures import board_title, cost_png, intervals_png
from evaluation.statistics.significance import Interval

CHOICES = ("objective", "representation", "seed")
CellOf = Callable[[LeaderboardRow, str], str]


def as_text(board: Leaderboard, *, width: int = 120) -> str:
    """Plain text for a terminal of `width` columns; means over users follow below where users have several rows."""
    blocks: list[Block] = [Bullets(_statements(board)), _metric_table(board, "", _judged)]
    if any(row.user_means for row in board.rows):
        blocks.append(_metric_table(board, "user means", lambda row, metric: _number(row, row.user_means.get(metric))))
    if board.costs:
        blocks.append(_cost_table(board, "cost"))
    return document.as_text([*blocks, *_below(board)], width=width)


def as_markdown(board: Leaderboard) -> str:
    """Markdown, without pictures."""
    blocks: list[Block] = [Bullets(_statements(board)), _result_table(board)]
    if board.costs:
        blocks.append(_cost_table(board, "experiment"))
    return document.as_markdown([*blocks, *_below(board)])


def as_html(board: Leaderboard) -> str:
    """One page: what was compared, the table, both pictures, what each experiment chose and cost, and the JSON."""
    pictures = {"intervals": intervals_png(board)}
    blocks: list[Block] = [
        Bullets(_statements(board)),
        _result_table(board),
        Picture("intervals", "Each metric with its interval; floors hollow."),
    ]
    if board.costs:
        pictures["costs"] = cost_png(board)
        blocks += [
            Heading("Quality against cost"),
            _cost_table(board, "experiment"),
            Picture("costs", f"{board.sorted_by} against the seconds of training."),
        ]
    blocks += [*_below(board), Data("leaderboard", as_json(board))]
    return document.as_html(f"{board.dataset}, {board.split}", blocks, pictures)


def _result_table(board: Leaderboard) -> Table:
    rows = [[row.experiment, row.kind, *(_judged(row, metric) for metric in board.metrics)] for row in board.rows]
    return Table(["experiment", "kind", *board.metrics], rows, starred=_floors(board))


def _metric_table(board: Leaderboard, corner: str, cell: CellOf) -> Table:
    rows = [[row.experiment, *(cell(row, metric) for metric in board.metrics)] for row in board.rows]
    return Table([corner, *board.metrics], rows, starred=_floors(board))


def _cost_table(board: Leaderboard, corner: str) -> Table:
    """The choices and the cost of each experiment."""
    choices = [name for name in CHOICES if any(name in row.choices for row in board.rows)]
    front = board.pareto_front

    def cells(row: LeaderboardRow) -> list[str]:
        coverage = row.beyond_accuracy.get(COVERAGE)
        return [
            row.experiment,
            *(row.choices.get(name, "-") for name in choices),
            *costs.cells(board.costs.get(row.experiment, costs.Cost())),
            "-" if coverage is None else f"{coverage:.3f}{LEAK if row.leaks else ''}",
            FRONT if row.experiment in front else "",
        ]

    head = [corner, *choices, *costs.HEAD, "coverage", "front"]
    return Table(head, [cells(row) for row in board.rows], starred=_floors(board), align=">")


def _floors(board: Leaderboard) -> list[int]:
    return [place for place, row in enumerate(board.rows) if row.is_floor]


def _below(board: Leaderboard) -> list[Block]:
    seeds: list[Block] = [Bullets(_seed_lines(board))] if board.seed_groups else []
    return [*seeds, Notes(_notes(board))]


def _statements(board: Leaderboard) -> list[str]:
    """The facts that a reader must know before the first number."""
    statements = [
        board_title(board),
        *_leak_statements(board),
        f"protocols: {', '.join(_described(protocol, board.keeps_repeats) for protocol in board.protocols)}",
        f"{100 * board.level:g} % intervals: users resampled {board.resamples:,} times, seed {board.seed}",
    ]
    if board.keeps_repeats:
        statements.append(
            f"users take items again: {board.repeated_targets:.1%} of targets are in their own history, "
            f"{board.last_repeated:.1%} are its last item"
            + (". CAUTION: repeating that item needs no model" if board.last_repeated > MANY_LAST else "")
        )
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


def _leak_statements(board: Leaderboard) -> list[str]:
    if not board.leaks:
        return []
    head = (
        f"LEAKS ACCEPTED: every number marked {LEAK} comes from tables that leak their answers, and is no evidence of "
        "how well anything recommends"
    )
    return [head, *(f"{LEAK} {name}: {reason}" for name, reason in board.leaks.items())]


def _described(protocol: str, keeps_repeats: bool) -> str:
    n = protocol.removeprefix("of_")
    if protocol == FULL:
        return f"full = the whole catalogue {'with' if keeps_repeats else 'without'} the history"
    if keeps_repeats:
        return f"{protocol} = up to {int(n) // 2} items of the history and others never touched, the target among them"
    return f"{protocol} = the target and {int(n) - 1} items never touched"


def _notes(board: Leaderboard) -> list[str]:
    """The meaning of the marks, and the experiments that are left out."""
    notes: list[str] = []
    bases = _bases(board)
    if bases:
        marks = ", ".join(f"{mark} {meaning}" for meaning, mark in MARKS.items())
        others = [f"{row.experiment} against {row.base}" for row in board.rows if row.base not in (None, board.base)]
        against = f"{board.base}{' (' + ', '.join(others) + ')' if others else ''}"
        notes.append(f"{marks}: against {against}, paired bootstrap over users, Holm-corrected")
    if any(row.is_floor for row in board.rows):
        notes.append("* floor: ignores the user")
    if board.costs:
        notes.append(
            "total s: training with all it needs and others may share (start, mining, reference log-probabilities); "
            "ms/user: ranking everything for one row, in a batch; measured once, under whatever else ran"
        )
        notes.append(
            f"{FRONT} none is as good in {board.sorted_by} and {COVERAGE} for as few total seconds; floors aside"
        )
    notes += [f"left out: {experiment}, {reason}" for experiment, reason in board.left_out.items()]
    return notes


def _seed_lines(board: Leaderboard) -> list[str]:
    """The spread over seeds and the error over users: neither says anything of the other."""
    lines = ["several seeds as one line: mean ± deviation from seed to seed (standard error over users)"]
    for group in board.seed_groups:
        values = ", ".join(
            f"{metric} {found.value:.3f} ± {found.seed_deviation:.3f} ({found.user_error:.3f})"
            for metric, found in sorted(group.metrics.items(), key=lambda entry: metric_order(entry[0]))
        )
        lines.append(f"{group.name}, {len(group.seeds)} seeds: {values}")
    return lines


def _bases(board: Leaderboard) -> set[str]:
    return {row.base for row in board.rows if row.base is not None}


def _judged(row: LeaderboardRow, metric: str) -> str:
    """A number with its interval, and the mark of its comparison where there is one."""
    text = _number(row, row.metrics.get(metric))
    comparison = row.comparisons.get(metric)
    return f"{text} {MARKS[comparison.outcome]}" if comparison else text


def _number(row: LeaderboardRow, interval: Interval | None) -> str:
    mark = LEAK if row.leaks else ""
    return f"{interval.value:.3f}{mark} [{interval.low:.3f}, {interval.high:.3f}]" if interval else "-"
