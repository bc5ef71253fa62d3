"""What a command says while it works: one JSON object a line, each on disk at once for those who follow the file."""

import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Self

Kind = Literal["train", "validation", "diagnostic", "progress", "checkpoint", "end"]

PROGRESS_INTERVAL_S = 0.5


class TelemetryFailed(OSError):
    """A line could not be written."""


class TelemetryWriter:
    """Writes `telemetry.jsonl` in the output folder of a command."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("w", encoding="utf-8", buffering=1)  # a resume point has the lines before
        self._mark = 0
        self._started, self._done_before = time.monotonic(), 0
        self._last_progress = -math.inf
        self.step, self.epoch = 0, 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            self._file.close()
        except OSError as error:
            if kind is None:  # else it is what was said already: the line that could not be written, tried again
                raise self._failed(error) from error

    def at(self, step: int, epoch: float) -> None:
        """Where the following lines belong: optimizer steps done, and epochs (with a fraction)."""
        self.step, self.epoch = step, round(epoch, 6)

    def write(self, kind: Kind, metrics: Mapping[str, float | int]) -> None:
        """One line. A metric without a finite value (a mean over nothing) is left out: JSON has no NaN.

        Raises:
            TelemetryFailed: the disk is full, or refuses for another reason.
        """
        line = {
            "step": self.step,
            "epoch": self.epoch,
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "kind": kind,
            "metrics": {name: value for name, value in metrics.items() if math.isfinite(value)},
        }
        self._append(json.dumps(line, allow_nan=False) + "\n")

    def progress(self, unit: str, done: int, total: int) -> None:
        """How far, and how fast (per second since the start); at most two lines a second, and always the last."""
        now = time.monotonic()
        if done < total and now - self._last_progress < PROGRESS_INTERVAL_S:
            return
        self._last_progress = now
        rate = (done - self._done_before) / max(now - self._started, 1e-9)
        self.write("progress", {f"{unit}_done": done, f"{unit}_total": total, f"{unit}_per_s": round(rate, 2)})

    def start_clock(self, done: int = 0) -> None:
        """Rates count from here: loading is over, and so much was done by a process before this one."""
        self._started, self._done_before = time.monotonic(), done

    def mark(self) -> None:
        """What `kept` gives begins here."""
        self._mark = self._file.tell()

    def kept(self) -> str:
        """The lines since the mark without progress, for a resume point."""
        with self.path.open(encoding="utf-8") as file:
            file.seek(self._mark)
            return "".join(line for line in file if json.loads(line)["kind"] != "progress")

    def repeat(self, kept: str) -> None:
        """The lines of the process that this one continues."""
        self._append(kept)

    def _append(self, lines: str) -> None:
        try:
            self._file.write(lines)
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> TelemetryFailed:
        return TelemetryFailed(
            f"telemetry could not be written to {self.path}: {error}. Free some space, then run the same command: "
            "it goes on from what it has saved."
        )


class Meter:
    """Mean loss and speed since the last reading, without the time of validations and resume points."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.rows = self.rows_timed = 0
        self.start()

    def start(self) -> None:
        """The clock."""
        self.started, self.rows_timed = time.perf_counter(), 0

    def add(self, loss: float, rows: int) -> None:
        """The mean loss of one step's rows."""
        self.losses.append(loss * rows)
        self.rows += rows
        self.rows_timed += rows

    def read(self) -> dict[str, float]:
        """Loss and rows per second; both begin anew."""
        elapsed = time.perf_counter() - self.started
        loss, speed = math.fsum(self.losses) / self.rows, self.rows_timed / max(elapsed, 1e-9)
        self.losses, self.rows = [], 0
        self.start()
        return {"loss": loss, "rows_per_s": round(speed, 1)}

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stops the clock."""
        at = time.perf_counter()
        yield
        self.started += time.perf_counter() - at
