"""The training loop: the policy scores items, a criterion makes losses of the scores, an optimizer moves the weights.

One process or several (`workers.py`), from the first step or from a resume point (`resume_points.py`). What is read
before a training and written after it is not here: see `train_and_save.py`. Dimensions: r rows.
"""

import math
import sys
import time
from dataclasses import dataclass
from signal import SIGTERM

import numpy as np
import torch
from torch import Tensor

from contracts.config import ComputeConfig, PreferenceExperiment, SftExperiment
from training.command import Stopped, StopRequest
from training.criteria.criterion import Criterion
from training.engine.policy import Policy
from training.engine.windows import Windows, plan_steps
from training.io.rows import Rows
from training.loop.accumulation import Scored, Scorer, accumulate
from training.loop.optimisation import build_optimizer, learning_rate
from training.loop.peak import Peak
from training.loop.replies import Replies
from training.loop.resume_points import BestCard, LoopState, ResumePointFailed, ResumePoints, warn
from training.loop.states import (
    by_rank,
    generator_states,
    optimizer_tensors,
    restore_generators,
    restore_optimizer,
)
from training.loop.telemetry import Meter, TelemetryWriter
from training.loop.validation import row_values, validate
from training.loop.workers import Workers, worker_seed

ROWS_NAMED = 10


class Diverged(FloatingPointError):
    """A loss or gradient is NaN or infinite. The weights that were best so far are back in the policy."""

    def __init__(self, message: str, best: "Kept | None") -> None:
        super().__init__(message)
        self.best = best


@dataclass(frozen=True)
class Run:
    """What a training is made of."""

    policy: Policy
    """Trained in place."""
    train: Windows
    """The rows to learn from; every step takes whole windows."""
    validation: Rows
    """Rows whose targets are ranked, to choose the weights or to watch them: over the full catalogue, or among the
    candidates that prompts list."""
    criterion: Criterion
    experiment: SftExperiment | PreferenceExperiment
    """Its optimizer, budget and seed. A preference experiment is also measured before its first step."""
    compute: ComputeConfig
    """How a step is cut to fit; the loss does not depend on it."""
    telemetry: TelemetryWriter
    keeps_repeats: bool = False
    """Whether a validation ranks items of the history too, as the data set keeps repeats."""


@dataclass(frozen=True)
class Kept:
    """The weights of one step, and their metrics on the validation rows."""

    value: float
    step: int
    metrics: dict[str, float]
    weights: dict[str, Tensor]


def fit(
    run: Run,
    *,
    workers: Workers | None = None,
    resume_points: ResumePoints | None = None,
    replies: Replies | None = None,
) -> Kept:
    """Trains the policy and leaves in it the weights that the budget keeps, the best ones or the last.

    Args:
        run: what is trained, and how.
        workers: the processes that share each step; only this one, when absent.
        resume_points: where to resume from and to save to; without them an interrupted training is lost.
        replies: the parent's answers to validations; without them the training runs to its end.

    Raises:
        Diverged: a loss or gradient that is not finite.
        Stopped: a signal asked for it; the step was ended, and saved.
    """
    training = _Training(run, workers or Workers(run.policy.device.device), resume_points, replies)
    training.resume()
    with StopRequest() as stop:
        kept = training.to_the_end(stop)
    run.policy.restore(kept.weights)
    return kept


class _Training:
    """A run under way: its plan, its optimizer, and how far it is."""

    def __init__(self, run: Run, workers: Workers, resume_points: ResumePoints | None, replies: Replies | None) -> None:
        self.run, self.workers, self.resume_points, self.replies = run, workers, resume_points, replies
        self.policy, self.criterion, self.telemetry = run.policy, run.criterion, run.telemetry
        self.budget, self.descent, self.seed = run.experiment.budget, run.experiment.optimizer, run.experiment.seed
        torch.manual_seed(worker_seed(self.seed))  # dropout draws from it
        plan = plan_steps(run.train, batch_size=self.budget.batch_size, epochs=self.budget.epochs, seed=self.seed)
        self.steps = [
            (epoch + at / len(steps), windows)
            for epoch, steps in enumerate(plan)
            for at, windows in enumerate(steps, start=1)
        ]
        self.total, n = len(self.steps), self.budget.validations
        self.validate_at = {max(1, round(self.total * k / n)) for k in range(1, n + 1)}
        if run.experiment.kind == "preference":  # the start is measured too: to be looked at, never to be kept
            self.validate_at.add(0)
        weights = self.policy.trained_parameters().values()
        self.scorer, self.stepper = workers.accelerator.prepare(
            Scorer(self.policy), build_optimizer(weights, self.descent)
        )
        self.weights = [weight for group in self.stepper.param_groups for weight in group["params"]]
        self.meter, self.peak = Meter(), Peak(run.validation.user_id)
        self.done = 0
        """Optimizer steps."""
        self.validated = -1
        """The last step after which the validation rows were ranked."""
        self.measured: dict[str, float] = {}
        """Metrics of that validation."""
        self.best: Kept | None = None
        self.stale = 0
        """Validations since the best one."""
        self.is_ended = False
        """Whether only the weights are left to be kept."""

    def to_the_end(self, stop: StopRequest) -> Kept:
        """Trains to the last step, to the end of patience, to a reply that ends it, or to a signal."""
        self.telemetry.start_clock(self.done)
        self.meter.start()
        while not self.is_ended:
            if self.done in self.validate_at and self.validated < self.done:
                with self.meter.paused():
                    self.validate()
                    self.is_ended = self.is_over(stop) and self.best is not None
                    if self.is_ended:
                        self.save_end()
                continue
            is_due, is_stopped = self.step(stop)
            if is_due or is_stopped:
                with self.meter.paused():
                    self.save()
            if is_stopped:
                kept = "" if self.resume_points is None else f"; step {self.done} of {self.total} is saved"
                raise Stopped(stop.number or SIGTERM, kept)
        return self.best if self.best is not None and self.budget.keep == "best" else self.at_hand()

    def step(self, stop: StopRequest) -> tuple[bool, bool]:
        """One optimizer step; then whether a resume point is due, and whether a signal asks to stop."""
        step, (epoch, windows) = self.done + 1, self.steps[self.done]
        rate = learning_rate(self.descent, step, self.total)
        for group in self.stepper.param_groups:
            group["lr"] = rate
        batch = self.run.train.take(windows)
        self.criterion.start_step(step)
        loss, scored = accumulate(self.policy, batch, self.criterion, self.run.compute, self.workers, self.scorer)
        norm = self.workers.clip(self.weights, self.descent.clip)
        self.stepper.step()
        self.stepper.zero_grad()
        # The one moment of a step at which the host waits for the device, or for other workers.
        (total_loss, is_due, is_stopped), norm = self.workers.read(loss, [self.is_due(), stop.number > 0], alike=norm)
        if not (math.isfinite(total_loss) and math.isfinite(norm)):
            what = self.not_finite(total_loss, norm, batch, scored)
            raise self.diverged(f"{what} at step {step} of {self.total} (epoch {math.ceil(epoch)})")
        self.done = step
        self.telemetry.at(step, epoch)
        self.meter.add(total_loss, len(batch.members.values))
        if step % self.run.compute.log_every == 0 or step in (1, self.total):
            self.telemetry.write("train", {**self.meter.read(), "learning_rate": rate, "gradient_norm": norm})
            row, logps = self.of_all_workers(scored)
            if diagnostics := self.criterion.batch(row).diagnostics(logps):
                self.telemetry.write("diagnostic", diagnostics)
        self.telemetry.progress("steps", step, self.total)
        return is_due > 0, is_stopped > 0

    def validate(self) -> None:
        """Ranks the validation rows, and keeps the weights if they are the best so far."""
        try:
            metrics, rank = validate(self.policy, self.run.validation, self.workers, self.run.keeps_repeats)
        except FloatingPointError as error:
            raise self.diverged(f"{error} At the validation after step {self.done} of {self.total}.") from error
        self.validated, self.measured = self.done, metrics
        of_rows = row_values(self.policy.vocabulary.n_candidates)[self.budget.select_by](rank)
        error = self.peak.fall_error(of_rows)
        of_fall = {} if error is None else {f"{self.budget.select_by}_fall_error": error}
        self.telemetry.write("validation", {**metrics, **of_fall})
        if self.criterion.probe is not None:
            self.telemetry.write("diagnostic", self.criterion.probe.win_rates(self.policy))
        if self.done == 0:
            return
        value = metrics[self.budget.select_by]
        if self.best is None or value > self.best.value:
            self.best, self.stale = self.at_hand(), 0
            self.telemetry.write("checkpoint", {f"best_{self.budget.select_by}": value})
        else:
            self.stale += 1

    def is_over(self, stop: StopRequest) -> bool:
        """Whether a validation was the last one."""
        is_out_of_patience = self.budget.patience is not None and self.stale >= self.budget.patience
        if self.done == self.total or is_out_of_patience:
            return True
        if self.replies is None or self.done == 0:
            return False
        reply = self.workers.of_main(self.replies.wait(self.done, stop) if self.workers.is_main else "go on")
        if reply == "interrupted":  # one more step would take the training past a reply that nobody gave
            raise Stopped(stop.number or SIGTERM, "; no reply was awaited")
        if reply == "end":
            self.telemetry.write("checkpoint", {"stopped_on_collapse": 1})
        return reply == "end"

    def at_hand(self) -> Kept:
        """The weights as they are, just measured."""
        return Kept(self.measured[self.budget.select_by], self.done, self.measured, self.policy.snapshot())

    def is_due(self) -> bool:
        """Whether the last resume point is old enough for the next."""
        if self.resume_points is None or not self.workers.is_main:
            return False
        return time.monotonic() - self.resume_points.saved_at >= self.run.compute.checkpoint_every_s

    def save(self) -> None:
        """Saves everything that the next step depends on."""
        if self.resume_points is None:
            return
        random = self.workers.gathered(generator_states(self.criterion.generator, self.policy.device.device))
        if not self.workers.is_main:
            return
        started, best = time.monotonic(), self.best
        state = LoopState(
            validated=self.validated,
            measured=self.measured,
            stale=self.stale,
            is_ended=self.is_ended,
            best=best and BestCard(value=best.value, step=best.step, metrics=best.metrics),
            loss_sums=self.meter.losses,
            loss_rows=self.meter.rows,
        )
        tensors = {
            "weights": self.policy.snapshot(),
            "optimizer": optimizer_tensors(self.stepper, self.policy.trained_parameters()),
            "random": by_rank(random),
            "best": best.weights if best else {},
            "peak": self.peak.tensors(),
        }
        self.resume_points.save(self.done, state, tensors, self.telemetry.kept())
        self.telemetry.write("checkpoint", {"saved_step": self.done, "seconds": round(time.monotonic() - started, 3)})

    def save_end(self) -> None:
        """Saves after the last step, so that a policy that cannot be written is not trained again."""
        try:
            self.save()
        except ResumePointFailed as error:
            warn(f"no resume point of the last step, {self.done}: {error.__cause__}. The policy is written without it.")

    def resume(self) -> None:
        """Goes to the newest whole resume point, if there is one, and says so."""
        self.telemetry.mark()
        if self.resume_points is None:
            return
        folder = self.workers.of_main(self.resume_points.newest() if self.workers.is_main else None)
        torn = {"torn_checkpoints": self.resume_points.n_torn} if self.resume_points.n_torn else {}
        if folder is None:
            if torn:
                self.telemetry.write("checkpoint", torn)
            return
        found = self.resume_points.load(folder)
        state, weights = found.card.state, self.policy.trained_parameters()
        self.policy.restore(found.tensors["weights"])
        restore_optimizer(self.stepper, weights, found.tensors["optimizer"])
        self.done, self.validated, self.stale = found.card.step, state.validated, state.stale
        self.measured, self.is_ended = state.measured, state.is_ended
        if state.best is not None:
            self.best = Kept(**dict(state.best), weights=found.tensors["best"])
        self.peak.restore(found.tensors["peak"])
        self.meter.losses, self.meter.rows = list(state.loss_sums), state.loss_rows
        self.telemetry.repeat(found.telemetry)
        self.telemetry.at(self.done, self.steps[self.done - 1][0])
        self.telemetry.write("checkpoint", {"resumed_from_step": self.done, **torn})
        if self.workers.is_main:
            print(f"resumed from step {self.done} of {self.total}: {folder}", file=sys.stderr, flush=True)
        device = self.policy.device.device
        restore_generators(
            found.tensors["random"], self.workers.rank, self.criterion.generator, device, seed=self.seed, step=self.done
        )

    def of_all_workers(self, scored: Scored) -> tuple[np.ndarray, Tensor]:
        """The rows that all workers scored in a step, and their log-probabilities."""
        if self.workers.size > 1:
            mine = [(row, logps.cpu()) for row, logps in scored]
            scored = [part for parts in self.workers.gathered(mine) for part in parts]
        return np.concatenate([row for row, _ in scored]), torch.cat([logps for _, logps in scored])

    def not_finite(self, loss: float, norm: float, batch: Windows, scored: Scored) -> str:
        """Names the rows of a loss or gradient that is not finite."""
        if math.isfinite(loss):
            return (
                f"gradient must be finite, got norm {norm} over rows {_named(batch.rows.row_id[batch.members.values])}"
            )
        losses = [(row, self.criterion.batch(row).losses(logps)) for row, logps in scored]
        bad = [row[~torch.isfinite(of_rows).cpu().numpy()] for row, of_rows in losses]
        rows = np.concatenate([row for of_worker in self.workers.gathered(bad) for row in of_worker])
        return f"loss must be finite, got {loss} from rows {_named(batch.rows.row_id[rows])}"

    def diverged(self, what: str) -> Diverged:
        """Puts the best weights back."""
        if self.best is None:
            kept = "No weights were measured before, none are kept."
        else:
            self.policy.restore(self.best.weights)
            kept = f"The weights of step {self.best.step} are kept."
        return Diverged(f"{what}. {kept} Lower the learning rate, or look at these rows.", self.best)


def _named(row_id: np.ndarray) -> str:
    names = ", ".join(map(str, np.sort(row_id)[:ROWS_NAMED]))
    return names if len(row_id) <= ROWS_NAMED else f"{names} and {len(row_id) - ROWS_NAMED} more"
