"""The parent's reply to each validation of a training, continue or end: one small file each, in OUTPUT/replies.

The training waits for it, so that the same run ends at the same step however slowly the parent reads its telemetry.
The folder is the promise to reply: the parent makes it before the training starts, and without it nothing is awaited.
Both sides import this module, so it imports no torch.
"""

import json
import time
from pathlib import Path
from typing import Literal

from contracts.durable import write_json
from training.command import StopRequest

FOLDER = "replies"
POLL_S = 0.05

Reply = Literal["go on", "end", "interrupted"]


class Replies:
    """The replies to one training, for both sides."""

    def __init__(self, output: Path) -> None:
        self.folder = output / FOLDER

    def promise(self) -> None:
        """Promises a reply to every validation."""
        self.folder.mkdir()

    @property
    def are_promised(self) -> bool:
        """Whether a parent will reply."""
        return self.folder.is_dir()

    def give(self, step: int, *, end: bool) -> None:
        """Replies to the validation at `step`; the file appears whole."""
        write_json(self._path(step), {"end": end})

    def wait(self, step: int, stop: StopRequest) -> Reply:
        """The reply to the validation at `step`, as soon as it exists; a signal ends the waiting."""
        path = self._path(step)
        while not path.exists():
            if stop.number:
                return "interrupted"
            time.sleep(POLL_S)
        return "end" if json.loads(path.read_text(encoding="utf-8"))["end"] else "go on"

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:08}.json"
