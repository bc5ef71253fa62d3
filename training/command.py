"""What all commands share: one argument, an end for every way to end, and no life after the parent's.

Imports no torch: a wrong specification is refused before seconds of loading.
"""

import argparse
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Self, TypeVar

from pydantic import ValidationError

from contracts.config import Spec
from contracts.words import TELEMETRY
from training.loop.memory import keep_freed_memory, peak_memory
from training.loop.telemetry import TelemetryFailed, TelemetryWriter

POLICY, LAST_GOOD_POLICY = "policy", "last_good_policy"
"""What a training leaves when it ends, and when it diverges."""
PR_SET_PDEATHSIG = 1  # linux/prctl.h

S = TypeVar("S", bound=Spec)


STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """The process was asked to end, by SIGINT, SIGTERM or SIGHUP."""

    def __init__(self, number: int, remark: str = "") -> None:
        super().__init__(signal.Signals(number).name + remark)
        self.number = number


class StopRequest:
    """While it is entered, the first signal to stop is remembered instead of raised, so that a step ends whole.

    A second one is raised at once.
    """

    def __init__(self) -> None:
        self.number = 0
        """The signal; 0 when there was none."""

    def __enter__(self) -> Self:
        self._previous = {number: signal.getsignal(number) for number in STOP_SIGNALS}
        for number, handler in self._previous.items():
            if handler is _stop:  # what was ignored, as in the background of a shell, stays ignored
                signal.signal(number, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            if handler is _stop:
                signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            _stop(number, frame)
        self.number = number


def run_command(
    spec_type: type[S],
    work: Callable[[S, TelemetryWriter], dict[str, float]],
    results: Sequence[str],
    arguments: Sequence[str] | None,
    *,
    shares_work: bool = False,
) -> int:
    """Reads the specification, does the work, and says how it ended.

    Args:
        spec_type: what the JSON file must hold.
        work: gets the specification and the telemetry; returns the metrics of the last line.
        results: names of what `work` can write into the output folder, none of which must be there yet.
        arguments: of the command line; those of this process, when absent.
        shares_work: several processes, started by `torchrun` or `accelerate launch`, can do it together.

    Returns:
        The exit code: 0 done, 2 refused (one line on stderr says why), 128 + n stopped by signal n.
    """
    module = sys.modules[work.__module__]
    name = module.__spec__.name if module.__spec__ else module.__name__  # under `python -m`, __name__ is __main__
    parser = argparse.ArgumentParser(prog=f"python -m {name}", description=module.__doc__)
    parser.add_argument("spec", type=Path, help=f"JSON file: a {spec_type.__name__} of contracts.config")
    path: Path = parser.parse_args(arguments).spec
    die_with_parent()
    keep_freed_memory()
    previous = {number: signal.signal(number, _stop) for number in STOP_SIGNALS}
    try:
        processes = os.environ.get("WORLD_SIZE", "1")
        if processes != "1" and not shares_work:
            raise ValueError(f"{name} must run as one process, got {processes}. Start it without torchrun.")
        spec = _read(spec_type, path, results)
        is_main = os.environ.get("RANK", "0") == "0"
        with TelemetryWriter(spec.output / TELEMETRY if is_main else Path(os.devnull)) as telemetry:
            try:
                metrics = work(spec, telemetry)
            except BaseException:  # an unforeseen error too is followed by an end line, then by its traceback
                with suppress(TelemetryFailed):  # it may be the very disk that the error is about
                    telemetry.write("end", {"success": 0, **peak_memory()})
                raise
            telemetry.write("end", {**metrics, "success": 1, **peak_memory()})
    except (ValueError, OSError, FloatingPointError) as error:
        if not str(error):
            raise
        print(error, file=sys.stderr)
        return 2
    except Stopped as stopped:
        print(f"stopped by {stopped}", file=sys.stderr)
        return 128 + stopped.number
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return 0


def die_with_parent() -> None:
    """Asks the kernel to kill this process when the parent named in BORDERLINE_PARENT_PID ends, or ends if it has."""
    parent = os.environ.get("BORDERLINE_PARENT_PID")
    if parent is None:
        return
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != int(parent):  # it ended before the line above
        sys.exit(f"the parent process {parent} is gone")


def _read(spec_type: type[S], path: Path, results: Sequence[str]) -> S:
    try:
        spec = spec_type.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'the file'}: {e['msg']}" for e in error.errors())
        raise ValueError(f"{path} must be a {spec_type.__name__}, got {wrong}.") from error
    if not spec.output.is_dir():
        raise ValueError(f"output must be a folder that exists, got {spec.output}. Create it first.")
    for result in results:
        if (spec.output / result).exists():
            raise ValueError(f"output must not hold a result yet, got {spec.output / result}. Choose an empty folder.")
    return spec


def _stop(number: int, _: FrameType | None) -> None:
    raise Stopped(number)
