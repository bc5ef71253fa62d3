"""A training command in a process that was forked for it, instead of `python -m training.<stage>` by hand.

Imports no library: the launcher names `run_module` as what the fork shall do.
"""

import ctypes
import os
import runpy
import sys
from pathlib import Path

from training.command import die_with_parent

PR_SET_NAME = 15  # linux/prctl.h


def run_module(module: str, arguments: list[str], log: Path) -> None:
    """Becomes `python -m module arguments`: in a session of its own, writing to `log`, dying with its parent."""
    os.setsid()
    os.environ["BORDERLINE_PARENT_PID"] = str(os.getppid())
    die_with_parent()
    ctypes.CDLL(None).prctl(PR_SET_NAME, module[:15].encode(), 0, 0, 0)  # what `top` and `ps -o comm` show
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
