"""The training loop of SFT and preference optimisation alike: the policy scores items, a criterion makes losses of it.

One process or several (`workers.py`), from the first step or from a checkpoint (`resume_points.py`).
Dimensions: r rows.
"""

import math
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGTERM

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor

from contracts.config import Budget, ComputeConfig, Descent, TrainingSpec
from training.command import LAST_GOOD_POLICY, POLICY, Stopped, StopRequest
from training.criteria.criterion import Criterion
from training.engine.policy import Policy
from training.engine.windows import Windows, plan_steps
from training.io.policy_folder import PolicyCard, save_policy
from training.io.rows import Rows
from training.loop.accumulation import Scored, Scorer, accumulate
from training.loop.optimisation import build_optimizer, learning_rate
from training.loop.peak import Peak
from training.loop.resume import (
    by_rank,
    generator_states,
    made_by,
    made_from,
    optimizer_tensors,
    restore_generators,
    restore_optimizer,
)
from training.loop.resume_points import BestCard, CheckpointFailed, Checkpoints, LoopState, warn
from training.loop.telemetry import Meter, Telemetry
from training.loop.validation import row_values, validate
from training.loop.verdicts import Verdicts
from training.loop.workers import Workers, worker_seed

ROWS_NAMED = 10


class Diverged(FloatingPointError):
    """A loss or gradient is NaN or infinite. The weights that were best so far are back in the policy."""

    def __init__(self, message: str, best: "Kept | None") -> None:
        super().__init__(message)
        self.best = best


class PolicyNotWritten(OSError):
    """The policy could not be written; nothing of it is left, and checkpoints are untouched."""


@dataclass(frozen=True)
class Kept:
    """Weights of one step, and what the validation rows say of them."""

    value: float
    step: int
    metrics: dict[str, float]
    weights: dict[str, Tensor]


def fit(
    policy: Policy,
    train: Windows,
    validation: Rows,
    criterion: Criterion,
    *,
    optimizer: Descent,
    budget: Budget,
    seed: int,
    compute: ComputeConfig,
    telemetry: Telemetry,
    measure_start: bool,
    workers: Workers | None = None,
    checkpoints: Checkpoints | None = None,
    verdicts: Verdicts | None = None,
) -> Kept:
    """Trains the policy and leaves in it the weights that the budget keeps: best on the validation rows, or the last.

    Args:
        policy: trained in place.
        train: the rows to learn from; every step takes whole windows.
        validation: rows whose targets are ranked, to choose the weights or to watch them: over the full catalogue, or
            among the candidates that prompts list.
        criterion: losses of rows.
        optimizer, budget, seed: of the experiment.
        compute: how a step is cut to fit; its loss does not depend on that.
        telemetry: receives everything that a curve is drawn from.
        measure_start: rank the validation rows before the first step too: to be looked at, not to be kept.
        workers: the processes that share each step; this one alone, when absent.
        checkpoints: where to go on from and to save to; without them an interrupted training is lost.
        verdicts: whoever says after each validation whether to go on.

    Raises:
        Diverged: a loss or gradient that is not finite.
        Stopped: a signal asked for it; the step was ended, and saved.
    """
    training = _Training(
        policy,
        train,
        validation,
        criterion,
        optimizer,
        budget,
        seed,
        compute,
        telemetry,
        measure_start,
        workers or Workers(policy.device.device),
        checkpoints,
        verdicts,
    )
    training.prepare()
    training.resume()
    with StopRequest() as stop:
        kept = training.run(stop)
    policy.restore(kept.weights)
    return kept


def fit_and_save(
    policy: Policy,
    train: Windows,
    validation: Rows,
    criterion: Criterion,
    card: PolicyCard,
    spec: TrainingSpec,
    telemetry: Telemetry,
) -> dict[str, float]:
    """Trains as the experiment says and writes OUTPUT/policy; or, if it diverged, OUTPUT/last_good_policy.

    Returns:
        The validation metrics of the weights that were kept.

    Raises:
        PolicyNotWritten: the disk is full, or refuses for another reason.
    """
    experiment, workers = spec.experiment, Workers(policy.device.device)
    checkpoints = None
    if spec.checkpoints is not None:
        computed = made_by(policy.device, spec.compute, workers.size)
        checkpoints = Checkpoints(spec.checkpoints, made_from=made_from(spec), made_by=computed)

    def save(name: str, kept: Kept) -> None:
        if workers.is_main:
            try:
                save_policy(spec.output / name, policy, card.selected(kept.value, kept.step))
            except FileExistsError:
                raise
            except (OSError, SafetensorError) as error:
                raise _not_written(spec.output / name, error, checkpoints) from error
        workers.wait()

    try:
        kept = fit(
            policy,
            train,
            validation,
            criterion,
            optimizer=experiment.optimizer,
            budget=experiment.budget,
            seed=experiment.seed,
            compute=spec.compute,
            telemetry=telemetry,
            measure_start=experiment.kind == "preference",
            workers=workers,
            checkpoints=checkpoints,
            verdicts=_verdicts(spec),
        )
    except Diverged as error:
        if error.best is not None:
            try:
                save(LAST_GOOD_POLICY, error.best)
            except OSError as failure:  # why training ended is what is to be raised
                warn(str(failure))
        raise
    save(POLICY, kept)
    workers.close()
    return {**kept.metrics, "selected_step": kept.step}


@dataclass
class _Training:
    """One training: what it is made of, and how far it is."""

    policy: Policy
    train: Windows
    validation: Rows
    criterion: Criterion
    descent: Descent
    budget: Budget
    seed: int
    compute: ComputeConfig
    telemetry: Telemetry
    measure_start: bool
    workers: Workers
    checkpoints: Checkpoints | None
    verdicts: Verdicts | None

    done: int = 0
    """Optimizer steps."""
    validated: int = -1
    """The last step after which the validation rows were ranked."""
    measured: dict[str, float] = field(default_factory=dict[str, float])
    """Metrics of that validation."""
    best: Kept | None = None
    stale: int = 0
    """Validations since the best one."""
    is_ended: bool = False
    """Whether nothing is left to do but to keep the weights."""

    def prepare(self) -> None:
        """Everything that follows from the experiment alone."""
        torch.manual_seed(worker_seed(self.seed))  # of dropout
        plan = plan_steps(self.train, batch_size=self.budget.batch_size, epochs=self.budget.epochs, seed=self.seed)
        self.steps = [
            (epoch + at / len(steps), windows)
            for epoch, steps in enumerate(plan)
            for at, windows in enumerate(steps, start=1)
        ]
        self.total, n = len(self.steps), self.budget.validations
        self.validate_at = {max(1, round(self.total * k / n)) for k in range(1, n + 1)}
        if self.measure_start:
            self.validate_at.add(0)
        weights = self.policy.trained_parameters().values()
        self.scorer, self.stepper = self.workers.accelerator.prepare(
            Scorer(self.policy), build_optimizer(weights, self.descent)
        )
        self.weights = [weight for group in self.stepper.param_groups for weight in group["params"]]
        self.meter, self.peak = Meter(), Peak(self.validation.user_id)

    def run(self, stop: StopRequest) -> Kept:
        """To the last step, to the end of patience, to a verdict, or to a signal."""
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
                kept = "" if self.checkpoints is None else f"; step {self.done} of {self.total} is saved"
                raise Stopped(stop.number or SIGTERM, kept)
        return self.best if self.best is not None and self.budget.keep == "best" else self.at_hand()

    def step(self, stop: StopRequest) -> tuple[bool, bool]:
        """One optimizer step; then whether a checkpoint is due, and whether a signal asks to stop."""
        step, (epoch, windows) = self.done + 1, self.steps[self.done]
        rate = learning_rate(self.descent, step, self.total)
        for group in self.stepper.param_groups:
            group["lr"] = rate
        batch = self.train.take(windows)
        self.criterion.start_step(step)
        loss, scored = accumulate(self.policy, batch, self.criterion, self.compute, self.workers, self.scorer)
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
        if step % self.compute.log_every == 0 or step in (1, self.total):
            self.telemetry.write("train", {**self.meter.read(), "learning_rate": rate, "gradient_norm": norm})
            row, logps = self.of_all_workers(scored)
            if diagnostics := self.criterion.batch(row).diagnostics(logps):
                self.telemetry.write("diagnostic", diagnostics)
        self.telemetry.progress("steps", step, self.total)
        return is_due > 0, is_stopped > 0

    def validate(self) -> None:
        """Ranks the validation rows, and keeps the weights if they are the best so far."""
        try:
            metrics, rank = validate(self.policy, self.validation, self.workers)
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
        if self.verdicts is None or self.done == 0:
            return False
        said = self.workers.of_main(self.verdicts.wait(self.done, stop) if self.workers.is_main else "go on")
        if said == "interrupted":  # a step more would take the training past a verdict that nobody has given
            raise Stopped(stop.number or SIGTERM, "; no verdict was awaited")
        if said == "end":
            self.telemetry.write("checkpoint", {"stopped_on_collapse": 1})
        return said == "end"

    def at_hand(self) -> Kept:
        """The weights as they are, just measured."""
        return Kept(self.measured[self.budget.select_by], self.done, self.measured, self.policy.snapshot())

    def is_due(self) -> bool:
        """Whether the last checkpoint is old enough for the next."""
        if self.checkpoints is None or not self.workers.is_main:
            return False
        return time.monotonic() - self.checkpoints.saved_at >= self.compute.checkpoint_every_s

    def save(self) -> None:
        """A checkpoint of everything that the next step depends on."""
        if self.checkpoints is None:
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
        self.checkpoints.save(self.done, state, tensors, self.telemetry.kept())
        self.telemetry.write("checkpoint", {"saved_step": self.done, "seconds": round(time.monotonic() - started, 3)})

    def save_end(self) -> None:
        """A checkpoint behind the last step, so that a policy that cannot be written is not trained again."""
        try:
            self.save()
        except CheckpointFailed as error:
            warn(f"no checkpoint of the last step, {self.done}: {error.__cause__}. The policy is written without it.")

    def resume(self) -> None:
        """Goes to where the newest whole checkpoint stands, if there is one, and says so."""
        self.telemetry.mark()
        if self.checkpoints is None:
            return
        folder = self.workers.of_main(self.checkpoints.latest() if self.workers.is_main else None)
        torn = {"torn_checkpoints": self.checkpoints.n_torn} if self.checkpoints.n_torn else {}
        if folder is None:
            if torn:
                self.telemetry.write("checkpoint", torn)
            return
        found = self.checkpoints.load(folder)
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
        """Says which rows it was."""
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


def _not_written(folder: Path, error: Exception, checkpoints: Checkpoints | None) -> PolicyNotWritten:
    step = 0 if checkpoints is None else checkpoints.saved_step
    again = f"it goes on from step {step}" if step else "there is no checkpoint, it starts from the beginning"
    return PolicyNotWritten(
        f"the policy could not be written to {folder}: {error}. Free some space, then run the same command: {again}."
    )


def _verdicts(spec: TrainingSpec) -> Verdicts | None:
    if not spec.experiment.budget.stop_on_collapse:
        return None
    verdicts = Verdicts(spec.output)
    if spec.awaits_verdicts and verdicts.are_promised:
        return verdicts
    print("budget.stop_on_collapse: nobody judges this training, it goes on to its end", file=sys.stderr, flush=True)
    return None


def _named(row_id: np.ndarray) -> str:
    names = ", ".join(map(str, np.sort(row_id)[:ROWS_NAMED]))
    return names if len(row_id) <= ROWS_NAMED else f"{names} and {len(row_id) - ROWS_NAMED} more"
