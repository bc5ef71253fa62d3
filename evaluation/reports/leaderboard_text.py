"""A leaderboard as text for a terminal and as Markdown."""

import textwrap
from collections.abc import Callable, Mapping, Sequence

from evaluation.reports import costs
from evaluation.reports.leaderboard import COVERAGE, Leaderboard, LeaderboardRow, metric_order
from evaluation.statistics.significance import Interval, Verdict

LEAK = "†"
MARKS: Mapping[Verdict, str] = {"better": "▲", "worse": "▼", "cannot tell": "≈"}
FRONT = "◆"
CHOICES = ("objective", "representation", "seed")


def as_text(board: Leaderboard, *, width: int = 120) -> str:
    """An aligned table for a terminal of `width` columns; metrics that do not fit beside one another follow below."""
    column = len("  0.312 [0.301, 0.323] ▲") + (len(LEAK) if board.leaks else 0)
    longest = max(len(row.experiment) for row in board.rows) + 2
    per_block = max(1, (width - min(longest, 24)) // column)
    name_width = min(longest, max(12, width - per_block * column))
    lines = [line for statement in statements_of(board) for line in _wrapped(statement, width)]

    def write(metrics: Sequence[str], cell: Callable[[LeaderboardRow, str], str], corner: str) -> None:
        for start in range(0, len(metrics), per_block):
            block = metrics[start : start + per_block]
            lines.append("")
            lines.append("".join([f"{corner:<{name_width}}", *(f"  {name:<{column - 2}}" for name in block)]).rstrip())
            for row in board.rows:
                name = _shortened(("* " if row.is_floor else "  ") + row.experiment, name_width)
                cells = (f"  {cell(row, metric):<{column - 2}}" for metric in block)
                lines.append("".join([f"{name:<{name_width}}", *cells]).rstrip())

    write(board.metrics, cell, "")
    if any(row.user_means for row in board.rows):
        write(board.metrics, lambda row, metric: _number(row, row.user_means.get(metric)), "user means")
    if board.costs:
        lines += ["", *_cost_block(board, name_width, width)]
    if board.seed_groups:
        lines += ["", *(line for statement in _seed_lines(board) for line in _wrapped(statement, width))]
    return "\n".join([*lines, "", *(line for note in notes_of(board) for line in _wrapped(note, width))]) + "\n"


def as_markdown(board: Leaderboard) -> str:
    """A Markdown table under its header, each of the header's statements a list item."""
    head = ["experiment", "kind", *board.metrics]
    lines = [f"- {line}" for line in statements_of(board)]
    lines += ["", "| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for row in board.rows:
        name = f"{row.experiment} *" if row.is_floor else row.experiment
        lines.append("| " + " | ".join([name, row.kind, *(cell(row, metric) for metric in board.metrics)]) + " |")
    if board.costs:
        table = cost_table(board)
        lines += ["", "| " + " | ".join(table[0]) + " |", "|" + " --- |" * len(table[0])]
        lines += ["| " + " | ".join(cells) + " |" for cells in table[1:]]
    lines += ["", *(f"- {line}" for line in _seed_lines(board))] if board.seed_groups else []
    return "\n".join([*lines, "", "; ".join(notes_of(board))]).rstrip() + "\n"


def cost_table(board: Leaderboard) -> list[list[str]]:
    """What each experiment chose and cost: a head, then a row for each in the order of the leaderboard."""
    choices = [name for name in CHOICES if any(name in row.choices for row in board.rows)]
    table = [["experiment", *choices, *costs.HEAD, "coverage", "front"]]
    for row in board.rows:
        coverage = row.beyond_accuracy.get(COVERAGE)
        table.append(
            [
                ("* " if row.is_floor else "") + row.experiment,
                *(row.choices.get(name, "-") for name in choices),
                *costs.cells(board.costs.get(row.experiment, costs.Cost())),
                "-" if coverage is None else f"{coverage:.3f}{LEAK if row.leaks else ''}",
                FRONT if row.experiment in board.pareto_front else "",
            ]
        )
    return table


def _cost_block(board: Leaderboard, name_width: int, width: int) -> list[str]:
    """The table of costs in columns as wide as they need; those that do not fit beside the others follow below."""
    table = cost_table(board)
    names = [_shortened(("" if cells[0].startswith("*") else "  ") + cells[0], name_width) for cells in table]
    names[0] = "cost"
    blocks: list[list[int]] = [[]]
    room = width - name_width
    widths = [max(len(cells[column]) for cells in table) + 2 for column in range(len(table[0]))]
    for column in range(1, len(table[0])):
        if blocks[-1] and sum(widths[other] for other in blocks[-1]) + widths[column] > room:
            blocks.append([])
        blocks[-1].append(column)
    lines: list[str] = []
    for block in blocks:
        lines += [""] if lines else []
        for name, cells in zip(names, table, strict=True):
            shown = (f"{cells[column]:>{widths[column]}}" for column in block)
            lines.append("".join([f"{name:<{name_width}}", *shown]).rstrip())
    return lines


def statements_of(board: Leaderboard) -> list[str]:
    """What a reader must know before the first number."""
    statements = [
        title(board),
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


def title(board: Leaderboard) -> str:
    """Data set, split and size in a line."""
    size = f"{board.users:,} users, {board.rows_evaluated:,} rows"
    return f"{board.dataset}, {board.split}: {size}; best {board.sorted_by} first"


def _leak_statements(board: Leaderboard) -> list[str]:
    if not board.leaks:
        return []
    head = (
        f"LEAKS ACCEPTED: every number marked {LEAK} comes from tables that leak their answers, and is no evidence of "
        "how well anything recommends"
    )
    return [head, *(f"{LEAK} {name}: {reason}" for name, reason in board.leaks.items())]


def _described(protocol: str) -> str:
    if protocol == "full":
        return "full = the whole catalogue without the history"
    return f"{protocol} = the target and {int(protocol.removeprefix('of_')) - 1} items never touched"


def notes_of(board: Leaderboard) -> list[str]:
    """What the marks mean, and who is left out."""
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
    """What another seed would have changed, and what other users would: neither says anything of the other."""
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


def cell(row: LeaderboardRow, metric: str) -> str:
    """A number with its interval, and its verdict where there is one."""
    text = _number(row, row.metrics.get(metric))
    comparison = row.comparisons.get(metric)
    return f"{text} {MARKS[comparison.verdict]}" if comparison else text


def _number(row: LeaderboardRow, interval: Interval | None) -> str:
    mark = LEAK if row.leaks else ""
    return f"{interval.value:.3f}{mark} [{interval.low:.3f}, {interval.high:.3f}]" if interval else "-"


def _shortened(name: str, width: int) -> str:
    """Cuts the middle: names of one study differ at their ends."""
    if len(name) <= width:
        return name
    tail = (width - 1) // 2
    return f"{name[: width - 1 - tail]}…{name[len(name) - tail :]}"


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent="  ", break_long_words=False)
