"""Libraries that training commands share, loaded once by multiprocessing's fork server; commands are forks of it.

Only the fork server imports this module. A fork is safe because the server never computes: it has neither threads nor a
CUDA context that a command could inherit. Anything that computes does not belong here.
"""

import os

from training.command import die_with_parent

if "BORDERLINE_PARENT_PID" in os.environ:
    os.setsid()  # a signal to the group of the parent, such as Ctrl-C, reaches the parent, which ends its command
    die_with_parent()  # the server's own pipe to its parent stays open while a command runs

import training.engine.catalogue_scores
import training.io.policy_folder
import training.loop.loop
import training.objectives  # noqa: F401
