"""Rows of the tables `histories` and `preference_rows` as flat arrays. Reading and checking files: `readers.py`."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from contracts.draws import random_bits
from training.io.ragged import Ragged


@dataclass(frozen=True)
class Rows:
    """(history, target) pairs: rows of the table `histories`, in its order."""

    row_id: Int[np.ndarray, " r"]
    user_id: Int[np.ndarray, " r"]
    history: Ragged
    """Item ids, oldest first, at least one."""
    target: Int[np.ndarray, " r"]
    candidates: Ragged | None = None
    """The items that each prompt lists, in order, with the target among them; None where a prompt is only a history."""

    def __len__(self) -> int:
        return len(self.row_id)

    def take(self, rows: Int[np.ndarray, " m"]) -> "Rows":
        """The named rows, in that order."""
        candidates = None if self.candidates is None else self.candidates.take(rows)
        return Rows(self.row_id[rows], self.user_id[rows], self.history.take(rows), self.target[rows], candidates)


@dataclass(frozen=True)
class PreferenceRows:
    """The table `preference_rows`, joined with the train rows it was made from."""

    row: Int[np.ndarray, " p"]
    """Index into the train rows."""
    chosen: Int[np.ndarray, " p"]
    rejected: Ragged
    """Distinct within a row."""
    n_duplicates: int
    """Repeats of a rejected item within its row, which were dropped."""

    @property
    def is_asked(self) -> Bool[np.ndarray, "p n+1"]:
        """False marks padding in `items`."""
        width = 1 + int(self.rejected.lengths.max(initial=0))
        return np.arange(width) <= self.rejected.lengths[:, None]

    def items(self, *, padding: int) -> Int[np.ndarray, "p n+1"]:
        """The chosen item of each row, then its rejected ones, then `padding`."""
        return np.concatenate([self.chosen[:, None].astype(np.int64), self.rejected.padded(padding)], axis=1)

    def line(self, n_rows: int) -> Int[np.ndarray, " n"]:
        """For each of n train rows its index here; -1 for a row without preferences."""
        line = np.full(n_rows, -1)
        line[self.row] = np.arange(len(self.row))
        return line


def sampled_rows(rows: Rows, n: int | None) -> Rows:
    """At most n of the rows, in their order. The choice is fixed, and a smaller sample is part of a larger one."""
    if n is None or n >= len(rows):
        return rows
    order = np.argsort(random_bits(0, "validation rows", rows.row_id), kind="stable")
    return rows.take(np.sort(order[:n]))


def joined_rows(parts: Sequence[Rows]) -> Rows:
    """The rows of all parts, in order."""
    listed = [part.candidates for part in parts if part.candidates is not None]
    return Rows(
        np.concatenate([part.row_id for part in parts]),
        np.concatenate([part.user_id for part in parts]),
        Ragged.joined([part.history for part in parts]),
        np.concatenate([part.target for part in parts]),
        Ragged.joined(listed) if listed else None,
    )
