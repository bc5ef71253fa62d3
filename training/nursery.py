"""Starts commands without waiting for their libraries: torch and transformers are imported once, a command is a fork.

python -m training.nursery     answers requests on stdin, one JSON line each: {"module", "arguments", "log"}

The answers on stdout: {"pid"} when the command has started, {"exit_code"} when it has ended (negative: a signal).
One command runs at a time, in a session of its own, and it dies with the nursery, which dies with its parent. A fork is
safe here: nothing has computed yet, so there are no threads and no CUDA context to inherit.
"""

import ctypes
import importlib
import json
import os
import runpy
import sys
import traceback
from typing import Any

from training.command import die_with_parent

PR_SET_NAME = 15  # linux/prctl.h
PRELOADED = (
    "training.io.policy_folder",
    "training.loop.loop",
    "training.objectives",
    "training.engine.catalogue_scores",
)


def serve() -> None:
    """Answers requests until stdin ends."""
    die_with_parent()
    for module in PRELOADED:
        importlib.import_module(module)
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _run(request)
        _answer({"pid": pid})
        _, status = os.waitpid(pid, 0)
        _answer({"exit_code": os.waitstatus_to_exitcode(status)})


def _run(request: dict[str, Any]) -> None:
    """The forked child: never returns."""
    parent = os.getppid()
    os.setsid()
    ctypes.CDLL(None).prctl(PR_SET_NAME, request["module"][:15].encode(), 0, 0, 0)  # what `top` and `ps -o comm` show
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.environ["BORDERLINE_PARENT_PID"] = str(parent)
    sys.argv = [request["module"], *request["arguments"]]
    code = 1
    try:
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = _exit_code(end)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # the nursery's own clean-up is not the child's to do


def _exit_code(end: SystemExit) -> int:
    if end.code is None:
        return 0
    if isinstance(end.code, int):
        return end.code
    print(end.code, file=sys.stderr)
    return 1


def _answer(message: dict[str, int]) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    serve()
