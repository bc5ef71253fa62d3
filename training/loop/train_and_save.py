"""From a run to the policy in OUTPUT: the loop with its workers, resume points and replies, and what it leaves behind.

What the two commands that train have in common after they have read their tables.
"""

import sys

from safetensors import SafetensorError

from contracts.config import TrainingSpec
from training.command import LAST_GOOD_POLICY, POLICY
from training.io.policy_folder import PolicyCard, save_policy
from training.loop.loop import Diverged, Kept, Run, fit
from training.loop.origin import made_by, made_from
from training.loop.replies import Replies
from training.loop.resume_points import ResumePoints, warn
from training.loop.workers import Workers


class PolicyNotWritten(OSError):
    """The policy could not be written; nothing of it is left, and resume points are untouched."""


def train_and_save(run: Run, card: PolicyCard, spec: TrainingSpec) -> dict[str, float]:
    """Trains as the experiment says and writes OUTPUT/policy; a run that diverged leaves OUTPUT/last_good_policy.

    Returns:
        The validation metrics of the weights that were kept.

    Raises:
        Diverged: a loss or gradient that is not finite.
        PolicyNotWritten: the disk is full, or refuses for another reason.
    """
    policy, workers = run.policy, Workers(run.policy.device.device)
    resume_points = None
    if spec.checkpoints is not None:
        computed = made_by(policy.device, spec.compute, workers.size)
        resume_points = ResumePoints(spec.checkpoints, made_from=made_from(spec), made_by=computed)

    def save(name: str, kept: Kept) -> None:
        if workers.is_main:
            try:
                save_policy(spec.output / name, policy, card.selected(kept.value, kept.step))
            except FileExistsError:
                raise
            except (OSError, SafetensorError) as error:
                step = 0 if resume_points is None else resume_points.saved_step
                again = f"it resumes from step {step}" if step else "without a resume point it starts anew"
                raise PolicyNotWritten(
                    f"the policy could not be written to {spec.output / name}: {error}. Free some space, then run the "
                    f"same command: {again}."
                ) from error
        workers.wait()

    try:
        kept = fit(run, workers=workers, resume_points=resume_points, replies=_replies(spec))
    except Diverged as error:
        if error.best is not None:
            try:
                save(LAST_GOOD_POLICY, error.best)
            except OSError as failure:  # the reason why training ended is the error to raise
                warn(str(failure))
        raise
    save(POLICY, kept)
    workers.close()
    return {**kept.metrics, "selected_step": kept.step}


def _replies(spec: TrainingSpec) -> Replies | None:
    if not spec.experiment.budget.stop_on_collapse:
        return None
    replies = Replies(spec.output)
    if spec.awaits_replies and replies.are_promised:
        return replies
    print("budget.stop_on_collapse: nobody judges this training, it runs to its end", file=sys.stderr, flush=True)
    return None
