"""How a run waits for a slot of a pool: asleep, and awake to signals.

Dagster's executors (both, in 1.13) ask again at once: until a training ends, each run that waits for the device keeps
a processor busy, which the training may need. The one that works in this process does not look at signals meanwhile.
"""

import time
from functools import wraps

from dagster._core.errors import raise_execution_interrupts
from dagster._core.execution.plan.active import ActiveExecution
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext

PAUSE_S = 0.05
"""Between two questions of a run. Events of its other steps are as late as this, for each step that waits."""


def wait_asleep() -> None:
    """From now on in this process, a claim that is refused takes a moment, in which a signal can end the run."""
    ask, sleep = InstanceConcurrencyContext.claim, ActiveExecution.sleep_til_ready
    if hasattr(ask, "__wrapped__"):
        return

    @wraps(ask)
    def claim(self: InstanceConcurrencyContext, concurrency_key: str, step_key: str, step_priority: int = 0) -> bool:
        is_claimed = ask(self, concurrency_key, step_key, step_priority)
        if not is_claimed:
            time.sleep(PAUSE_S)
        return is_claimed

    @wraps(sleep)
    def sleep_til_ready(self: ActiveExecution) -> None:  # asked by the executor that works in this process alone
        with raise_execution_interrupts():
            time.sleep(PAUSE_S)
            sleep(self)

    InstanceConcurrencyContext.claim, ActiveExecution.sleep_til_ready = claim, sleep_til_ready
