"""Starts a training command as several processes of this machine: `torchrun`, dying with its parent, and brief.

python -m training.launch 2 training.sft SPEC.json

The same by hand: torchrun --nproc-per-node 2 -m training.sft SPEC.json, or accelerate launch with the same arguments.
"""

import os
import sys
from collections.abc import Sequence

from training.command import die_with_parent


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code of the first process that failed."""
    processes, module, *rest = sys.argv[1:] if arguments is None else arguments
    die_with_parent()
    os.environ["BORDERLINE_PARENT_PID"] = str(os.getpid())  # of the processes to come
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(processes))))
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    try:
        torchrun(["--standalone", "--nproc-per-node", processes, "-m", module, *rest])
    except ChildFailedError as error:  # which has said why: the table of failures that torchrun adds hides it
        return max(1, error.get_first_failure()[1].exitcode)
    except SignalException as stopped:
        return 128 + stopped.sigval
    return 0


if __name__ == "__main__":
    sys.exit(main())
