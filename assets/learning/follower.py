"""What a command of `training` reports while it runs: telemetry lines, given on to the log and to the tracker."""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping

from assets.lake.heartbeat import EVERY_S
from assets.lake.ports import LiveRun, Telemetry
from assets.learning.curves import DRAWN, Curves, named


class Follower:
    """Gives telemetry lines on, and remembers the curves."""

    def __init__(
        self,
        say: Callable[[str], None],
        what: str,
        live: LiveRun | None = None,
        *,
        interrupted: str | None = None,
        on_validation: Callable[[int, Curves], None] | None = None,
    ) -> None:
        self.log = say
        self.what, self.live, self.interrupted = what, live, interrupted
        self.on_validation = on_validation
        self.curves: dict[str, list[tuple[int, float]]] = defaultdict(list)
        self.rates: dict[str, float] = {}
        """Of each unit of work, how many a second since work began, as last reported."""
        self.end: Mapping[str, float] = {}
        """What the command said at its end: of a training, validation metrics of the weights that it kept, and
        `selected_step`; of any, its peaks of memory."""
        self.said_at = -EVERY_S
        self.resumed_from_step = 0
        """Where the command went on from; 0 when it began at the beginning."""
        self.stopped_at: int | None = None
        """The step at which a collapse ended the training before its last one."""

    def __call__(self, entry: Telemetry) -> None:
        """Takes one telemetry line."""
        if entry.kind in DRAWN:
            points = named(entry.kind, entry.metrics)
            for name, value in points.items():
                self.curves[name].append((entry.step, value))
            if self.live is not None:
                self.live.log(points, entry.step)
        if entry.kind == "system" and self.live is not None:
            self.live.log({f"system/{name}": value for name, value in entry.metrics.items()}, entry.step)
        if entry.kind == "progress":
            self.rates |= {k.removesuffix("_per_s"): v for k, v in entry.metrics.items() if k.endswith("_per_s")}
        if entry.kind == "end":
            self.end = entry.metrics
        if "resumed_from_step" in entry.metrics:
            self._resumed(int(entry.metrics["resumed_from_step"]))
        elif "torn_checkpoints" in entry.metrics:
            n = entry.metrics["torn_checkpoints"]
            self._say(f"all {n:.0f} checkpoints are torn, training starts from the beginning")
        elif "stopped_on_collapse" in entry.metrics:
            self._stopped(entry.step)
        elif entry.kind == "validation":
            if self.on_validation is not None:
                self.on_validation(entry.step, self.curves)
            shown = ", ".join(f"{name} {value:.4f}" for name, value in entry.metrics.items())
            self._say(f"validation at step {entry.step} (epoch {entry.epoch:.1f}): {shown}")
        elif entry.kind == "progress" and time.monotonic() - self.said_at > EVERY_S:
            self._say(_progress(entry))

    def _resumed(self, step: int) -> None:
        self.resumed_from_step = step
        self._say(f"resumed from step {step}, where an interrupted run stood ({self.interrupted or 'not tracked'})")
        if self.live is not None:
            self.live.tag({"resumed_from": self.interrupted or "", "resumed_from_step": str(step)})

    def _stopped(self, step: int) -> None:
        self.stopped_at = step
        self._say(f"ended at step {step}, because it collapsed")
        if self.live is not None:
            self.live.tag({"stopped_on_collapse_at_step": str(step)})

    def _say(self, text: str) -> None:
        self.said_at = time.monotonic()
        self.log(f"{self.what}: {text}")


def _progress(entry: Telemetry) -> str:
    for name, done in entry.metrics.items():
        if name.endswith("_done"):
            unit = name.removesuffix("_done")
            total, rate = entry.metrics.get(f"{unit}_total"), entry.metrics.get(f"{unit}_per_s")
            text = f"{done:,.0f}"
            if total:
                text += f" of {total:,.0f} {unit} ({done / total:.0%})"
            if rate:
                text += f", {rate:,.{0 if rate >= 10 else 2}f} {unit}/s"
                if total:
                    text += f", {(total - done) / rate:.0f} s left"
            return text
    return ", ".join(f"{name} {value:g}" for name, value in entry.metrics.items())
