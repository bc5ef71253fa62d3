"""Histories: what a model has seen before each target. L = max_length; x_0 … x_(m-1) are a user's train items.

Train rows of one user are cut into windows, so that one forward pass can carry all rows of a window: window w starts at
item w·(L // 2), reaches L items and one target further, and owns the targets that no earlier window owns. The rows of a
window have nested histories, each the one before it and its target.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from assets.transforms.chunks import Table
from assets.transforms.lists import slices
from assets.transforms.splits import TRAIN
from contracts.config.dataset import Histories, Split
from contracts.words import SPLITS

Ints = NDArray[np.int64]

ELEMENTS = 2_000_000
"""Most history items of a part: some 30 MB with what it takes to gather them."""


def history_parts(
    interactions: Table, histories: Histories, split: Split, *, elements: int = ELEMENTS
) -> Iterator[pl.DataFrame]:
    """The table `histories` of split interactions, in parts: train rows first, then validation, then test.

    Train, sliding: one row for each train interaction of a user after the first. Its history starts where its window
    starts, so it holds at most L items, and at least L - L // 2 + 1 of those that exist. Train, one per user: the
    user's last train interaction after at most L items. Validation and test: each held-out interaction, of a user held
    out whole only the last, after at most L items; for test, these include the validation items before it.

    Nine bytes for each interaction are held in memory, and one part.

    >>> from contracts.config.dataset import Histories, LeaveOneOut
    >>> splits = ["train"] * 4 + ["validation", "test"]
    >>> log = pl.DataFrame({"user_id": [0] * 6, "item_id": [10, 11, 12, 13, 14, 15], "split": splits})
    >>> for part in history_parts(log, Histories(max_length=2), LeaveOneOut()):
    ...     print(*part.rows(), sep="\\n")
    (0, 0, 'train', [10], 11)
    (1, 0, 'train', [10, 11], 12)
    (2, 0, 'train', [11, 12], 13)
    (3, 0, 'validation', [12, 13], 14)
    (4, 0, 'test', [13, 14], 15)

    Args:
        interactions: user_id, item_id, split; by user, then in chronological order.
        histories: L, and which train targets there are.
        split: what assigned the column `split`.
        elements: most history items of a part; changes nothing else.
    """
    log = _load(interactions)
    step = max(1, elements // histories.max_length)
    row_id = 0
    for code, name in enumerate(SPLITS):
        last_only = histories.kind == "one_per_user" if code == TRAIN else split.kind == "user"
        for begin in range(0, len(log.users), step):
            targets = log.targets(code, begin, begin + step, last_only=last_only)
            if len(targets):
                positions = targets - log.starts_of(targets)
                if code == TRAIN and histories.kind == "sliding":
                    seen = positions - window_starts(positions, histories.max_length)
                else:
                    seen = np.minimum(positions, histories.max_length)
                yield _part(log, name, targets, seen, row_id)
                row_id += len(targets)


def window_starts(positions: Ints, max_length: int) -> Ints:
    """Where the window of the train target at each position (0 is a user's first item, never a target) starts.

    The first window owns the targets 1 … L, each later one the L // 2 targets after.

    >>> window_starts(np.array([1, 4, 5, 6, 7, 8]), max_length=4)
    array([0, 0, 2, 2, 4, 4])
    """
    stride = max_length // 2
    return np.maximum(0, -(-(positions - max_length) // stride)) * stride


@dataclass(frozen=True)
class _Log:
    """Split interactions by user, in order. A place is a row of it."""

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    codes: NDArray[np.uint8]
    """Places of the splits in SPLITS."""
    user_starts: Ints
    """Places of the users' first interactions, ascending."""

    def starts_of(self, places: Ints) -> Ints:
        """For each place, where its user starts."""
        return self.user_starts[np.searchsorted(self.user_starts, places, side="right") - 1]

    def targets(self, code: int, begin: int, end: int, *, last_only: bool) -> Ints:
        """Places in [begin, end) of a split with something of the user before them; or only a user's last of them."""
        is_target = self.codes[begin:end] == code
        if last_only:
            following = slice(begin + 1, end + 1)
            goes_on = np.zeros(len(is_target), dtype=bool)
            n = len(self.users[following])
            goes_on[:n] = (self.users[following] == self.users[begin:end][:n]) & (self.codes[following] == code)
            is_target &= ~goes_on
        places = begin + np.flatnonzero(is_target)
        return places[places > self.starts_of(places)]


def _load(interactions: Table) -> _Log:
    split = pl.col("split").replace_strict({name: code for code, name in enumerate(SPLITS)}, return_dtype=pl.UInt8)
    table = interactions.lazy().select(pl.col("user_id", "item_id").cast(pl.Int32), split).collect(engine="streaming")
    users = table["user_id"].to_numpy()
    is_first = np.ones(len(users), dtype=bool)
    is_first[1:] = users[1:] != users[:-1]
    return _Log(users, table["item_id"].to_numpy(), table["split"].to_numpy(), np.flatnonzero(is_first))


def _part(log: _Log, split: str, targets: Ints, seen: Ints, row_id: int) -> pl.DataFrame:
    """Rows of one split with these targets, each after the `seen` items before it."""
    return pl.DataFrame(
        {
            "row_id": np.arange(row_id, row_id + len(targets), dtype=np.int32),
            "user_id": log.users[targets],
            "split": pl.repeat(split, len(targets), dtype=pl.String, eager=True),
            "history": slices(log.items, targets - seen, targets),
            "target": log.items[targets],
        },
        schema_overrides={"history": pl.List(pl.Int32)},
    )
