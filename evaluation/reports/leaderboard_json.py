"""A leaderboard as plain values, and back: what is stored of it, and what a program reads."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from evaluation.reports import costs
from evaluation.reports.leaderboard import Comparison, Leaderboard, LeaderboardRow
from evaluation.statistics.seeds import SeededMetric, SeedGroup
from evaluation.statistics.significance import Effect, Interval


def as_json(board: Leaderboard) -> dict[str, Any]:
    """Plain values for `json.dumps`: dataset, split and rows first, then what else a reader may want.

    Costs, and the front that they decide, stand apart from the rows: without them the same input gives the same text.
    """

    def plain(values: Mapping[str, Any], *, leaky: bool) -> dict[str, Any]:
        mark = {"leaky": True} if leaky else {}
        return {name: asdict(value) | mark for name, value in values.items()}

    whole: dict[str, Any] = {
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
                "choices": dict(row.choices),
            }
            for row in board.rows
        ],
        "users": board.users,
        "rows_evaluated": board.rows_evaluated,
        "metrics": list(board.metrics),
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
    if board.costs:
        whole["costs"] = {experiment: costs.as_json(cost) for experiment, cost in board.costs.items()}
        whole["pareto_front"] = list(board.pareto_front)
    return whole


def from_json(plain: Mapping[str, Any]) -> Leaderboard:
    """The leaderboard that `as_json` wrote."""
    return Leaderboard(
        dataset=plain["dataset"],
        split=plain["split"],
        users=plain["users"],
        rows_evaluated=plain["rows_evaluated"],
        metrics=tuple(plain["metrics"]),
        sorted_by=plain["sorted_by"],
        base=plain["base"],
        resamples=plain["resamples"],
        seed=plain["seed"],
        level=plain["level"],
        smallest_detectable=plain["smallest_detectable_difference"],
        rows=tuple(map(_row, plain["rows"])),
        left_out=plain["left_out"],
        seed_groups=tuple(map(_group, plain["seed_groups"])),
        leaks=plain["leaks"],
        shortcuts=tuple(plain["shortcuts"]),
        costs={name: costs.from_json(cost) for name, cost in plain.get("costs", {}).items()},
    )


def _row(plain: Mapping[str, Any]) -> LeaderboardRow:
    return LeaderboardRow(
        experiment=plain["experiment"],
        kind=plain["kind"],
        is_floor=plain["is_floor"],
        metrics={name: Interval(**_unmarked(value)) for name, value in plain["metrics"].items()},
        user_means={name: Interval(**_unmarked(value)) for name, value in plain["user_means"].items()},
        comparisons={name: _comparison(value) for name, value in plain["comparisons"].items()},
        base=plain["base"],
        beyond_accuracy=plain["beyond_accuracy"],
        leaks=tuple(plain["leaks"]),
        choices=plain["choices"],
    )


def _comparison(plain: Mapping[str, Any]) -> Comparison:
    values = _unmarked(plain)
    size = Effect(**values.pop("effect"))
    return Comparison(**values, effect=size)


def _group(plain: Mapping[str, Any]) -> SeedGroup:
    metrics = {name: SeededMetric(**value) for name, value in plain["metrics"].items()}
    return SeedGroup(plain["name"], tuple(plain["seeds"]), metrics)


def _unmarked(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in value.items() if name != "leaky"}
