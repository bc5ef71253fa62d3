"""Which rows share one forward pass: rows whose histories are prefixes of one another.

In the table `histories` the rows of one window follow each other, each history being the one before it plus its target.
The longest is the trunk: the model reads it once, and every row is scored at the end of its own prefix.
Dimensions: r rows, w windows, t tokens.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from contracts.draws import random_bits
from training.io.ragged import Ragged
from training.io.rows import Rows
from training.representations import Representation

SMALL_PASS = 2048
"""Tokens up to which windows of any length share a pass: smaller ones would cost more in calls than in padding."""

WIDTH_STEP = 8
"""Where rows must not depend on their neighbours, prompts are padded to the next multiple of this many tokens."""

ItemsOf = Callable[[Int[np.ndarray, " r"]], Int[np.ndarray, "r c"]]


@dataclass(frozen=True)
class Windows:
    """A partition of rows into windows."""

    rows: Rows
    members: Ragged
    """For each window, indices of its rows, by growing history; the last one's history is the trunk."""

    def __len__(self) -> int:
        return len(self.members)

    @property
    def trunk_row(self) -> Int[np.ndarray, " w"]:
        """For each window, the index of the row with the longest history."""
        return self.members.values[self.members.offsets[1:] - 1]

    def take(self, windows: Int[np.ndarray, " m"]) -> "Windows":
        """The named windows."""
        return Windows(self.rows, self.members.take(windows))

    def keep(self, is_kept: Bool[np.ndarray, " r"]) -> "Windows":
        """The same windows without the rows that are not kept; a window left without rows is dropped."""
        kept = is_kept[self.members.values]
        counts = np.bincount(self.members.owners[kept], minlength=len(self))
        offsets = np.concatenate([[0], np.cumsum(counts[counts > 0])]).astype(np.int64)
        return Windows(self.rows, Ragged(self.members.values[kept], offsets))


def find_windows(rows: Rows) -> Windows:
    """The windows of consecutive rows of one user, each history being the previous one plus the previous target.

    Where prompts list candidates, no two rows have one in common: each row is a window of its own.
    """
    history, n = rows.history, len(rows)
    if rows.candidates is not None:
        return Windows(rows, Ragged(np.arange(n), np.arange(n + 1)))
    lengths = history.lengths
    extends = np.zeros(n, dtype=bool)
    if n > 1:
        extends[1:] = (np.diff(rows.user_id) == 0) & (np.diff(lengths) == 1)
        extends[1:] &= history.values[history.offsets[2:] - 1] == rows.target[:-1]
    # Compare every other item with the item at the same place in the row before.
    owners = history.owners
    within = np.arange(len(history.values)) - history.offsets[owners]
    compared = np.flatnonzero(extends[owners] & (within < lengths[owners] - 1))
    previous = history.offsets[owners[compared] - 1] + within[compared]
    extends[owners[compared[history.values[compared] != history.values[previous]]]] = False
    starts = np.flatnonzero(~extends)
    return Windows(rows, Ragged(np.arange(n), np.concatenate([starts, [n]]).astype(np.int64)))


@dataclass(frozen=True)
class Trunks:
    """One forward pass: the trunks of some windows one after the other, unpadded, and where each row is scored."""

    tokens: Int[np.ndarray, " t"]
    offsets: Int[np.ndarray, " w+1"]
    """Window k is `tokens[offsets[k] : offsets[k + 1]]`."""
    row: Int[np.ndarray, " r"]
    """Index of each row."""
    window: Int[np.ndarray, " r"]
    """The window that each row is in."""
    prompt_tokens: Int[np.ndarray, " r"]
    """How many tokens of its window are the row's prompt."""


def lay_out(
    windows: Windows, chosen: Int[np.ndarray, " _"], vocabulary: Representation, shape: tuple[int, int] | None = None
) -> Trunks:
    """The tokens of the chosen windows; with `shape`, that many windows of that many tokens, filled up with padding."""
    trunks = windows.rows.take(windows.trunk_row[chosen])
    prompts = vocabulary.prompts(trunks.history, trunks.candidates)
    if shape is not None:
        n_windows, width = shape
        tokens = np.full(shape, vocabulary.pad, dtype=np.int64)
        tokens[: len(prompts)] = prompts.padded(vocabulary.pad, width)
        prompts = Ragged(tokens.reshape(-1), np.arange(n_windows + 1) * width)
    members = windows.members.take(chosen)
    rows = windows.rows.take(members.values)
    lengths = vocabulary.prompt_tokens(rows.history, rows.candidates)
    return Trunks(prompts.values, prompts.offsets, members.values, members.owners, lengths)


def pass_widths(lengths: Int[np.ndarray, " k"]) -> Int[np.ndarray, " k"]:
    """The width of the pass that each prompt belongs to, in tokens: few widths, so that rounding is the same in each.

    >>> pass_widths(np.array([1, 8, 9]))
    array([ 8,  8, 16])
    """
    return -(-lengths // WIDTH_STEP) * WIDTH_STEP


def plan_steps(windows: Windows, *, batch_size: int, epochs: int, seed: int) -> list[list[Int[np.ndarray, " _"]]]:
    """For each epoch, for each optimizer step, the windows it takes: whole windows in an order of that epoch's own.

    A step takes windows until it has at least `batch_size` rows; a remainder too small for a step joins the last one.
    The order is a hash of the seed, the epoch and the window's first row: whatever other windows exist.
    """
    sizes, first_row = (
        windows.members.lengths,
        windows.rows.row_id[windows.members.values[windows.members.offsets[:-1]]],
    )
    epochs_of_steps = []
    for epoch in range(epochs):
        order = np.argsort(random_bits(seed, "epoch order", np.array(epoch), first_row), kind="stable")
        steps: list[Int[np.ndarray, " _"]] = []
        start = rows = 0
        for at, size in enumerate(sizes[order].tolist(), start=1):
            rows += size
            if rows >= batch_size:
                steps.append(order[start:at])
                start, rows = at, 0
        if start < len(order):
            steps.append(np.concatenate([steps.pop(), order[start:]]) if steps else order)
        epochs_of_steps.append(steps)
    return epochs_of_steps


def cut(
    windows: Windows, vocabulary: Representation, items_of: ItemsOf, *, max_tokens: int, max_rows: int
) -> Iterator[Int[np.ndarray, " _"]]:
    """Parts of the windows that each fit a forward pass: few tokens and few rows, or a single window.

    Longest first, and in a pass of some size none less than half as long as the longest, which attention pads to.

    Args:
        windows: to be cut.
        vocabulary: which tells how long prompts and completions are.
        items_of: the items to be scored after each row's history, whose branches are counted as if they shared nothing.
        max_tokens, max_rows: of one pass.
    """
    trunks = windows.rows.take(windows.trunk_row)
    tokens = vocabulary.prompt_tokens(trunks.history, trunks.candidates)
    lengths, bridge = vocabulary.completions.lengths, len(vocabulary.bridge)
    if bridge or lengths.max(initial=1) > 1:
        fed = bridge + (lengths[items_of(windows.members.values)] - 1).sum(axis=1)
        tokens = tokens + np.bincount(windows.members.owners, weights=fed, minlength=len(windows)).astype(np.int64)
    order = np.argsort(-tokens, kind="stable")
    lengths = tokens[order]
    tokens, rows = np.cumsum(tokens[order]), np.cumsum(windows.members.lengths[order])
    start = 0
    while start < len(order):
        tokens_before, rows_before = (tokens[start - 1], rows[start - 1]) if start else (0, 0)
        is_similar = (2 * lengths >= lengths[start]) | (tokens - tokens_before <= SMALL_PASS)
        fits = is_similar & (tokens - tokens_before <= max_tokens) & (rows - rows_before <= max_rows)
        end = max(start + 1, int(np.flatnonzero(fits)[-1]) + 1 if fits.any() else 0)
        yield order[start:end]
        start = end
