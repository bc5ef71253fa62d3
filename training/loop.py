"""The training loop of SFT and preference optimisation alike: the policy scores items, a criterion makes losses of it.

Dimensions: r rows, c items scored per row.
"""

import math
import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from training.checkpoint import PolicyCard, save_policy
from training.config import Budget, ComputeConfig, Descent, Lion, PreferenceSpec, SftSpec
from training.policy import Policy
from training.scoring import rank_targets, ranking_metrics
from training.tables import Rows
from training.telemetry import Telemetry
from training.windows import Windows, cut, lay_out, plan_steps

MAX_LOGITS = 2**26
"""Most logits of one forward pass (256 MiB in float32), beside `micro_batch_tokens`."""
ROWS_NAMED = 10


class Criterion(Protocol):
    """What distinguishes SFT from preference optimisation."""

    def items(self, row: Int[np.ndarray, " r"]) -> Int[np.ndarray, "r c"]:
        """Which items the policy must score after each row's history."""
        ...

    def losses(self, row: Int[np.ndarray, " r"], logps: Float[Tensor, "r c"]) -> Float[Tensor, " r"]:
        """The loss of each row, not reduced."""
        ...

    def diagnostics(self, row: Int[np.ndarray, " r"], logps: Float[Tensor, "r c"]) -> dict[str, float]:
        """Numbers that tell how training goes, over the rows of one step."""
        ...

    def probed(self, policy: Policy) -> dict[str, float]:
        """Numbers that tell how training goes, on rows that are the same at every validation."""
        ...


class Diverged(FloatingPointError):
    """A loss or gradient is NaN or infinite. The weights that were best so far are back in the policy."""

    def __init__(self, message: str, best: "Best | None") -> None:
        super().__init__(message)
        self.best = best


@dataclass(frozen=True)
class Best:
    """The weights to keep."""

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
) -> Best:
    """Trains the policy and leaves in it the weights that were best on the validation rows.

    Args:
        policy: trained in place.
        train: the rows to learn from; every step takes whole windows.
        validation: rows whose targets are ranked over the full catalogue, to choose the weights.
        criterion: losses of rows.
        optimizer, budget, seed: of the experiment.
        compute: how a step is cut to fit; its loss does not depend on that.
        telemetry: receives everything that a curve is drawn from.
        measure_start: rank the validation rows before the first step too: to be looked at, not to be kept.

    Raises:
        Diverged: a loss or gradient that is not finite.
    """
    torch.manual_seed(seed)  # of dropout
    plan = plan_steps(train, batch_size=budget.batch_size, epochs=budget.epochs, seed=seed)
    total = sum(len(steps) for steps in plan)
    validate_at = {max(1, round(total * k / budget.validations)) for k in range(1, budget.validations + 1)}
    stepper = _optimizer(policy, optimizer)
    best: Best | None = None
    stale = step = 0
    if measure_start:
        telemetry.write("validation", _measure(policy, validation))
        telemetry.write("diagnostic", criterion.probed(policy))
    telemetry.start_clock()
    meter = _Meter()
    for epoch, steps in enumerate(plan):
        for at, windows in enumerate(steps, start=1):
            step += 1
            telemetry.at(step, epoch + at / len(steps))
            is_logged = step % compute.log_every == 0 or step in (1, total)
            rate = learning_rate(optimizer, step, total)
            for group in stepper.param_groups:
                group["lr"] = rate
            try:
                loss, norm, diagnostics = _step(
                    policy, train.take(windows), criterion, stepper, optimizer.clip, compute, is_logged
                )
            except FloatingPointError as error:
                raise _diverged(policy, f"{error} at step {step} of {total} (epoch {epoch + 1})", best) from error
            meter.add(loss, int(train.members.lengths[windows].sum()))
            if is_logged:
                telemetry.write("train", {**meter.read(), "learning_rate": rate, "gradient_norm": norm})
                if diagnostics:
                    telemetry.write("diagnostic", diagnostics)
            telemetry.progress("steps", step, total)
            if step not in validate_at:
                continue
            with meter.paused():
                try:
                    metrics = _measure(policy, validation)
                except FloatingPointError as error:
                    raise _diverged(policy, f"{error} At the validation after step {step} of {total}.", best) from error
            telemetry.write("validation", metrics)
            if probed := criterion.probed(policy):
                telemetry.write("diagnostic", probed)
            value = metrics[budget.select_by]
            if best is None or value > best.value:
                best, stale = Best(value, step, metrics, policy.snapshot()), 0
                telemetry.write("checkpoint", {f"best_{budget.select_by}": value})
            else:
                stale += 1
            if budget.patience is not None and stale >= budget.patience:
                policy.restore(best.weights)
                return best
    assert best is not None  # the last step is one of validate_at
    policy.restore(best.weights)
    return best


def fit_and_save(
    policy: Policy,
    train: Windows,
    validation: Rows,
    criterion: Criterion,
    card: PolicyCard,
    spec: SftSpec | PreferenceSpec,
    telemetry: Telemetry,
) -> dict[str, float]:
    """Trains as the experiment says and writes OUTPUT/policy; or, if it diverged, OUTPUT/last_good_policy.

    Returns:
        The validation metrics of the weights that were kept.
    """
    experiment = spec.experiment
    try:
        best = fit(
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
        )
    except Diverged as error:
        if error.best is not None:
            save_policy(spec.output / "last_good_policy", policy, card.selected(error.best.value, error.best.step))
        raise
    save_policy(spec.output / "policy", policy, card.selected(best.value, best.step))
    return {**best.metrics, "selected_step": best.step}


def _step(
    policy: Policy,
    windows: Windows,
    criterion: Criterion,
    stepper: torch.optim.Optimizer,
    clip: float,
    compute: ComputeConfig,
    is_logged: bool,
) -> tuple[float, float, dict[str, float]]:
    """One optimizer step: mean loss of its rows, norm of the gradient before clipping, diagnostics when due."""
    loss, scored = accumulate(policy, windows, criterion, compute)
    norm = float(torch.nn.utils.clip_grad_norm_(policy.trained_parameters().values(), clip))
    if not math.isfinite(norm):
        raise FloatingPointError(
            f"gradient must be finite, got norm {norm} over rows {_named(windows.rows.row_id[windows.members.values])}"
        )
    stepper.step()
    stepper.zero_grad()
    if not is_logged:
        return loss, norm, {}
    return (
        loss,
        norm,
        criterion.diagnostics(np.concatenate([row for row, _ in scored]), torch.cat([logps for _, logps in scored])),
    )


def accumulate(
    policy: Policy, windows: Windows, criterion: Criterion, compute: ComputeConfig
) -> tuple[float, list[tuple[np.ndarray, Tensor]]]:
    """Adds to the gradients that of the mean loss over all rows of the windows, however many passes they are cut into.

    Returns:
        The mean loss; and per pass its rows and their log-probabilities, detached.
    """
    policy.model.train()
    n_rows = len(windows.members.values)
    loss, scored = 0.0, []
    parts = cut(
        windows,
        policy.vocabulary,
        criterion.items,
        max_tokens=compute.micro_batch_tokens,
        max_rows=max(1, MAX_LOGITS // policy.vocabulary.n_items),
    )
    for part in parts:
        trunks = lay_out(windows, part, policy.vocabulary)
        logps = policy.item_logps(trunks, criterion.items(trunks.row))
        losses = criterion.losses(trunks.row, logps)
        total = losses.sum() / n_rows
        value = float(total.detach())
        if not math.isfinite(value):
            bad = ~torch.isfinite(losses.detach()).cpu().numpy()
            raise FloatingPointError(
                f"loss must be finite, got {value} from rows {_named(windows.rows.row_id[trunks.row[bad]])}"
            )
        total.backward()
        loss += value
        scored.append((trunks.row, logps.detach()))
    return loss, scored


def learning_rate(config: Descent, step: int, total: int) -> float:
    """At step 1 .. total: linear warm-up from 0, then the schedule, which reaches 0 behind the last step.

    >>> config = Descent(lr=1.0, schedule="linear", warmup=0.5)
    >>> [learning_rate(config, step, 4) for step in (1, 2, 3, 4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    warmup = round(config.warmup * total)
    if step <= warmup:
        return config.lr * step / warmup
    done = (step - 1 - warmup) / max(1, total - warmup)
    match config.schedule:
        case "constant":
            return config.lr
        case "linear":
            return config.lr * (1.0 - done)
        case "cosine":
            return config.lr * 0.5 * (1.0 + math.cos(math.pi * done))


def _optimizer(policy: Policy, config: Descent) -> torch.optim.Optimizer:
    weights = list(policy.trained_parameters().values())
    groups = [  # gains of normalisation layers are scales, which decay would only distort
        {"params": [weight for weight in weights if weight.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [weight for weight in weights if weight.dim() < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if isinstance(config, Lion):
        from lion_pytorch import Lion as LionOptimizer  # a package that a machine without Lion experiments can lack

        return LionOptimizer(groups, lr=config.lr)
    return torch.optim.AdamW(groups, lr=config.lr, fused=True)


def _measure(policy: Policy, validation: Rows) -> dict[str, float]:
    return ranking_metrics(*rank_targets(policy, validation))


def _diverged(policy: Policy, what: str, best: Best | None) -> Diverged:
    if best is None:
        kept = "No weights were measured before, none are kept."
    else:
        policy.restore(best.weights)
        kept = f"The weights of step {best.step} are kept."
    return Diverged(f"{what}. {kept} Lower the learning rate, or look at these rows.", best)


def _named(row_id: np.ndarray) -> str:
    names = ", ".join(map(str, np.sort(row_id)[:ROWS_NAMED]))
    return names if len(row_id) <= ROWS_NAMED else f"{names} and {len(row_id) - ROWS_NAMED} more"


class _Meter:
    """Mean loss and speed since the last reading, without the time of validations."""

    def __init__(self) -> None:
        self._reset()

    def add(self, loss: float, rows: int) -> None:
        self.losses.append(loss * rows)
        self.rows += rows

    def read(self) -> dict[str, float]:
        elapsed = time.perf_counter() - self.started
        metrics = {"loss": math.fsum(self.losses) / self.rows, "rows_per_s": round(self.rows / max(elapsed, 1e-9), 1)}
        self._reset()
        return metrics

    def paused(self) -> "_Pause":
        return _Pause(self)

    def _reset(self) -> None:
        self.losses: list[float] = []
        self.rows = 0
        self.started = time.perf_counter()


class _Pause:
    def __init__(self, meter: _Meter) -> None:
        self.meter = meter

    def __enter__(self) -> None:
        self.at = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.meter.started += time.perf_counter() - self.at
