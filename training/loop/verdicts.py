"""What whoever started a training says of its validations: go on, or end. One small file for each, in OUTPUT/verdicts.

The training waits for it, so that the same run ends at the same step however slowly the other side reads its telemetry.
The folder is the promise to answer: it is made before the training starts, and where it is missing nothing is awaited.
Imports no torch: both sides use it.
"""

import json
import time
from pathlib import Path
from typing import Literal

from training.command import StopRequest

FOLDER = "verdicts"
POLL_S = 0.05

Verdict = Literal["go on", "end", "interrupted"]


class Verdicts:
    """Both sides of one training's verdicts."""

    def __init__(self, output: Path) -> None:
        self.folder = output / FOLDER

    def promise(self) -> None:
        """Says that every validation will be answered."""
        self.folder.mkdir()

    @property
    def are_promised(self) -> bool:
        """Whether anybody will answer."""
        return self.folder.is_dir()

    def give(self, step: int, *, end: bool) -> None:
        """Says how it goes on after the validation at `step`; the file appears whole."""
        path = self._path(step)
        staged = path.with_suffix(".tmp")
        staged.write_text(json.dumps({"end": end}), encoding="utf-8")
        staged.rename(path)

    def wait(self, step: int, stop: StopRequest) -> Verdict:
        """What was said of the validation at `step`, as soon as it is; a signal ends the waiting."""
        path = self._path(step)
        while not path.exists():
            if stop.number:
                return "interrupted"
            time.sleep(POLL_S)
        return "end" if json.loads(path.read_text(encoding="utf-8"))["end"] else "go on"

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:08}.json"
