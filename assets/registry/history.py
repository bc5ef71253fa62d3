"""The promotion history: every decision about who serves, a line each, with every number it rests on."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from assets.lake.versions import Version

HISTORY_FILE, VERDICT_FILE = "history.jsonl", "verdict.json"
"""All lines, and the last one."""
Line = Mapping[str, Any]


@dataclass(frozen=True)
class Decision:
    """What became of the alias `champion`."""

    outcome: str
    """promoted, kept, overridden or rolled back."""
    champion: str | None
    """The version that serves now."""
    previous: str | None
    """The one that served before."""
    challenger: str | None
    reason: str
    gates: Mapping[str, Any]

    def line(self, run_id: str) -> dict[str, Any]:
        """The decision as a line of the history."""
        return {"at": datetime.now(UTC).isoformat(timespec="seconds"), "run_id": run_id, **self.__dict__}


def read_history(version: Version | None) -> list[Line]:
    """The lines of a version of `promotion`, oldest first; none without one."""
    if version is None or not (version.folder / HISTORY_FILE).exists():
        return []
    return [json.loads(line) for line in version.path(HISTORY_FILE).read_text(encoding="utf-8").splitlines()]


def write_history(folder: Path, history: Sequence[Line]) -> None:
    """Leaves the lines, and the last one for itself."""
    (folder / VERDICT_FILE).write_text(json.dumps(history[-1], indent=1), encoding="utf-8")
    (folder / HISTORY_FILE).write_text("\n".join(map(json.dumps, history)) + "\n", encoding="utf-8")


def champion_of(version: Version) -> str | None:
    """The version that serves since this decision."""
    return json.loads(version.path(VERDICT_FILE).read_text(encoding="utf-8"))["champion"]


def served_before(champion: str | None, history: Sequence[Line]) -> str | None:
    """The version that served before the champion; None, when none did.

    A rollback takes the last one away for good, so that a second one goes further back, not to what the first one left.
    A version that was given the alias in the registry itself counts too.
    """
    served: list[str] = []
    for entry in history:
        now, previous = entry["champion"], entry["previous"]
        if previous is not None and served[-1:] != [previous]:
            served.append(previous)
        if entry["outcome"] == "rolled back" and now in served:
            served = served[: len(served) - served[::-1].index(now)]
        elif now is not None and served[-1:] != [now]:
            served.append(now)
    if champion is not None and served[-1:] != [champion]:
        served.append(champion)
    return served[-2] if len(served) > 1 else None
