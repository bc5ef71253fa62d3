"""The face: the command line and a small Python API. Nothing imports it.

    import borderline

    borderline.run("demo", ["sft", "dmpo-k15"])
    borderline.leaderboard("demo")

Importing it is fast: libraries are loaded by the first call that needs them.
"""

from borderline.api import evaluate, leaderboard, load_policy, run, table

__version__ = "0.1.0"
__all__ = ["evaluate", "leaderboard", "load_policy", "run", "table"]
