"""Whether a preference policy collapsed, from what its training said: a check, and a gate of promotion."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from assets.lake.checks import Check
from assets.lake.versions import Version
from assets.learning.curves import Curves
from contracts.config import PreferenceExperiment
from evaluation.statistics.collapse import Judgement, judge_run
from training.loop.replies import Replies

CHECK = "does_not_collapse"
USERS = "diagnostic/validation_users"


def judge_training(experiment: PreferenceExperiment, curves: Curves) -> Judgement:
    """The verdict on a training, whole or so far, by the metric that its weights are chosen by."""
    return judge_run(curves, metric=experiment.budget.select_by, users=int(curves[USERS][0][1]))


class StopOnCollapse:
    """Answers every validation of a training: it ends at the first one that shows a collapse."""

    def __init__(self, experiment: PreferenceExperiment, output: Path, say: Callable[[str], None]) -> None:
        self.experiment, self.replies, self.say = experiment, Replies(output), say
        self.replies.promise()

    def __call__(self, step: int, curves: Curves) -> None:
        """Judges the curves so far, and answers."""
        judgement = judge_training(self.experiment, curves)
        is_collapsed = judgement.diagnosis == "collapsed"
        if is_collapsed:
            self.say(f"collapsed at step {step}: {'; '.join(judgement.reasons)}")
        self.replies.give(step, end=is_collapsed)

    def close(self) -> None:
        """Removes the replies: they are not a result."""
        shutil.rmtree(self.replies.folder)


def collapse_check(judgement: Judgement) -> Check:
    """Warns of a collapse; the policy is published all the same, to be looked at."""
    detail = {"verdict": judgement.diagnosis, "message": "; ".join(judgement.reasons), **judgement.numbers}
    return Check(CHECK, judgement.diagnosis != "collapsed", detail, blocks=False)


def collapse_of(policy: Version) -> dict[str, Any] | None:
    """The diagnosis of a published policy, with its reasons and numbers; None for a policy that is not judged."""
    return next((dict(found["detail"]) for found in policy.manifest["checks"] if found["name"] == CHECK), None)
