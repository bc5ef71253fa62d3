"""The curves of a training: what its telemetry lines say, step by step."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

DRAWN = ("train", "validation", "diagnostic")
"""Kinds of telemetry lines that are points of curves."""
Curves = Mapping[str, Sequence[tuple[int, float]]]
"""`<kind>/<metric>` → (optimizer step, value), by step."""


def named(kind: str, metrics: Mapping[str, float]) -> dict[str, float]:
    """The values of one line by the name of their curve."""
    return {f"{kind}/{name}": value for name, value in metrics.items()}


def read_curves(path: Path) -> Curves:
    """The curves of a training that has ended, from its telemetry file."""
    curves: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if entry["kind"] in DRAWN:
            for name, value in named(entry["kind"], entry["metrics"]).items():
                curves[name].append((entry["step"], value))
    return dict(curves)
