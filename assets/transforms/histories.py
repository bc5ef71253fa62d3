"""Histories: what a model has seen before each target. L = max_length; x_0 … x_(m-1) are a user's train items.

Train rows of one user are cut into windows, so that one forward pass can carry all rows of a window: window w starts at
item w·(L // 2), reaches L items and one target further, and owns the targets that no earlier window owns. The rows of a
window have nested histories, each the one before it and its target.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from assets.datasets import Histories
from assets.transforms.lists import slices

Ints = NDArray[np.int64]


def build_histories(interactions: pl.DataFrame, histories: Histories) -> pl.DataFrame:
    """The table `histories` of split interactions: train rows first, then validation, then test.

    Train: one row for each train interaction of a user after the first. Its history starts where its window starts, so
    it holds at most L items, and at least L - L // 2 + 1 of those that exist. Validation and test: the last L items
    before the target; for test, these include the validation item.

    >>> from assets.datasets import Histories
    >>> splits = ["train"] * 4 + ["validation", "test"]
    >>> log = pl.DataFrame({"user_id": [0] * 6, "item_id": [10, 11, 12, 13, 14, 15], "split": splits})
    >>> for row in build_histories(log, Histories(max_length=2)).rows():
    ...     print(*row)
    0 0 train [10] 11
    1 0 train [10, 11] 12
    2 0 train [11, 12] 13
    3 0 validation [12, 13] 14
    4 0 test [13, 14] 15

    Args:
        interactions: user_id, item_id, split; by user, then in chronological order.
        histories: L.
    """
    users = interactions["user_id"].to_numpy()
    items = interactions["item_id"].cast(pl.Int32).to_numpy()
    splits = interactions["split"]
    places = np.arange(len(users), dtype=np.int64)
    is_first = np.ones(len(users), dtype=bool)
    is_first[1:] = users[1:] != users[:-1]
    user_starts = places[is_first][np.cumsum(is_first) - 1] if len(users) else places  # of each row's user

    is_train = (splits == "train").to_numpy()
    parts = [_train_rows(is_train, user_starts, histories.max_length)]
    for split in ("validation", "test"):
        targets = places[(splits == split).to_numpy() & ~is_first]
        parts.append((targets, np.maximum(user_starts[targets], targets - histories.max_length)))
    targets = np.concatenate([targets for targets, _ in parts])
    starts = np.concatenate([starts for _, starts in parts])
    return pl.DataFrame(
        {
            "row_id": np.arange(len(targets), dtype=np.int32),
            "user_id": users[targets].astype(np.int32),
            "split": splits.gather(targets),
            "history": slices(items, starts, targets),
            "target": items[targets],
        },
        schema_overrides={"history": pl.List(pl.Int32)},
    )


def window_starts(positions: Ints, max_length: int) -> Ints:
    """Where the window of the train target at each position (0 is a user's first item, never a target) starts.

    The first window owns the targets 1 … L, each later one the L // 2 targets after.

    >>> window_starts(np.array([1, 4, 5, 6, 7, 8]), max_length=4)
    array([0, 0, 2, 2, 4, 4])
    """
    stride = max_length // 2
    return np.maximum(0, -(-(positions - max_length) // stride)) * stride


def _train_rows(is_train: NDArray[np.bool_], user_starts: Ints, max_length: int) -> tuple[Ints, Ints]:
    """Places of the train targets, and of the first items of their histories.

    Train interactions precede all others of their user, so a position within train is a position within the user.
    """
    places = np.flatnonzero(is_train)
    positions = places - user_starts[places]
    places, positions = places[positions > 0], positions[positions > 0]
    return places, places - positions + window_starts(positions, max_length)
