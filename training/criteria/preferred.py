"""A preference objective over the chosen and rejected items of each row.

Dimensions: r rows of a batch, n negatives, p lines of the table `preference_rows`, i items of the catalogue.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from contracts.config import Objective
from training.criteria.win_rate_probe import WinRateProbe
from training.engine.device import Device
from training.engine.policy import Policy
from training.engine.windows import Windows, cut, lay_out
from training.io.readers import read_reference_logps
from training.io.rows import PreferenceRows, Rows
from training.objectives import OBJECTIVES, Preferences
from training.objectives.diagnostics import diagnose


@dataclass(frozen=True)
class PreferenceTable:
    """The table `preference_rows` with the reference's log-probabilities, one line for each of its rows."""

    line: Int[np.ndarray, " _"]
    """The line of each train row; -1 for a row without preferences."""
    items: Int[np.ndarray, "p n+1"]
    """The chosen item, then the rejected ones; padding repeats the chosen one."""
    n_rejected: Int[np.ndarray, " p"]
    reference_logps: Float[np.ndarray, "p n+1"]
    """In nats; the value in padding has no meaning."""

    @classmethod
    def read(cls, preferences: PreferenceRows, rows: Rows, reference_logps: Path) -> "PreferenceTable":
        """The preferences of train rows, with the log-probabilities that a reference gave them.

        Raises:
            ValueError: the table of log-probabilities lacks a pair, or holds one twice or without a finite value.
        """
        items = preferences.items(padding=-1)
        items = np.where(items < 0, preferences.chosen[:, None], items)
        is_asked = preferences.is_asked
        row_id = np.broadcast_to(rows.row_id[preferences.row, None], items.shape)
        reference = np.zeros(items.shape, dtype=np.float32)
        reference[is_asked] = read_reference_logps(reference_logps, row_id[is_asked], items[is_asked])
        return cls(preferences.line(len(rows)), items.astype(np.int32), preferences.rejected.lengths, reference)


class Preferred:
    """The objective of an experiment.

    Args:
        objective: its kind and hyperparameters.
        table: preferences and reference.
        tokens: the length of each item's completion.
        generator: the source of the objective's draws; None for an objective that draws nothing.
        probe: the rows on which validations measure win rates.
    """

    needs_normaliser = True

    def __init__(
        self,
        objective: Objective,
        table: PreferenceTable,
        tokens: Int[np.ndarray, " i"],
        generator: torch.Generator | None,
        probe: WinRateProbe,
    ) -> None:
        self.kind, self.table, self.tokens = objective.kind, table, tokens
        self.generator, self.probe = generator, probe
        self.hyperparameters: dict[str, Any] = objective.hyperparameters
        if generator is not None:
            self.hyperparameters["generator"] = generator

    def start_step(self, step: int) -> None:
        """Nothing changes from step to step."""

    def batch(self, row: Int[np.ndarray, " r"]) -> "PreferenceBatch":
        """The chosen and rejected items of these rows."""
        line = self.table.line[row]
        return PreferenceBatch(self, line, self.table.items[line].astype(np.int64))

    @torch.no_grad()
    def largest_log_ratio(self, policy: Policy, windows: Windows, *, max_tokens: int, max_rows: int) -> float:
        """The largest absolute log-ratio (nats) of policy to reference over these windows; NaN where one is NaN."""
        ratios: list[float] = []
        parts = cut(
            windows,
            policy.vocabulary,
            lambda row: self.batch(row).items,
            max_tokens=max_tokens,
            max_rows=max_rows,
        )
        for part in parts:
            trunks = lay_out(windows, part, policy.vocabulary)
            batch = self.batch(trunks.row)
            prefs = batch.preferences(policy.item_logps(trunks, batch.items))
            log_ratios = torch.cat([prefs.chosen_log_ratio, prefs.rejected_log_ratio.flatten()])
            ratios.append(log_ratios.abs().max().item())
        return float(np.max(ratios))


@dataclass(frozen=True)
class PreferenceBatch:
    """Some rows, with the items they prefer and reject."""

    criterion: Preferred
    line: Int[np.ndarray, " r"]
    items: Int[np.ndarray, "r n+1"]

    def losses(self, logps: Float[Tensor, "r n+1"]) -> Float[Tensor, " r"]:
        """The losses that the objective defines."""
        return OBJECTIVES[self.criterion.kind](self.preferences(logps), **self.criterion.hyperparameters)

    def diagnostics(self, logps: Float[Tensor, "r n+1"]) -> dict[str, float]:
        """Margins, win rate, boundary and violations; see `diagnose`."""
        numbers = diagnose(self.preferences(logps), self.criterion.kind, **self.criterion.hyperparameters)
        return {name: float(value) for name, value in numbers.items()}

    def preferences(self, logps: Float[Tensor, "r n+1"]) -> Preferences:
        """What an objective reads, on the device of the log-probabilities."""
        table, device = self.criterion.table, logps.device
        reference = torch.from_numpy(table.reference_logps[self.line]).to(device)
        n_rejected = torch.from_numpy(table.n_rejected[self.line]).to(device)
        tokens = torch.from_numpy(self.criterion.tokens[self.items]).to(device)
        return Preferences(
            policy_chosen=logps[:, 0],
            policy_rejected=logps[:, 1:],
            reference_chosen=reference[:, 0],
            reference_rejected=reference[:, 1:],
            is_negative=torch.arange(logps.shape[1] - 1, device=device) < n_rejected[:, None],
            chosen_tokens=tokens[:, 0],
            rejected_tokens=tokens[:, 1:],
        )


def generator_of(objective: Objective, device: Device, seed: int) -> torch.Generator | None:
    """The generator of an objective's draws, on the device of its log-probabilities; None if it draws nothing."""
    return torch.Generator(device.device).manual_seed(seed) if objective.needs_generator else None
