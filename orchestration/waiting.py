"""How a run waits for a slot of a pool: asleep.

Dagster's executors (both, in 1.13) ask again at once: until a training ends, each run that waits for the device keeps
a processor busy, which the training may need.
"""

import time
from functools import wraps

from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext

PAUSE_S = 0.05
"""Between two questions of a run. Events of its other steps are as late as this, for each step that waits."""


def wait_asleep() -> None:
    """From now on in this process, a claim that is refused takes a moment."""
    ask = InstanceConcurrencyContext.claim
    if hasattr(ask, "__wrapped__"):
        return

    @wraps(ask)
    def claim(self: InstanceConcurrencyContext, concurrency_key: str, step_key: str, step_priority: int = 0) -> bool:
        is_claimed = ask(self, concurrency_key, step_key, step_priority)
        if not is_claimed:
            time.sleep(PAUSE_S)
        return is_claimed

    InstanceConcurrencyContext.claim = claim
