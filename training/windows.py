"""Which rows share one forward pass: rows whose histories are prefixes of one another. Dimensions: r rows, w windows, t tokens.

In the table `histories` the rows of one window follow each other, each history being the one before it plus its target.
The longest is the trunk: the model reads it once, and every row is scored at the end of its own prefix.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from training.draws import random_bits
from training.representations.items import ItemVocabulary
from training.tables import Ragged, Rows


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
    """The windows of consecutive rows of one user, each history being the previous one plus the previous target."""
    history, n = rows.history, len(rows)
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
    """One forward pass: the tokens of some windows, and where each of their rows is scored."""

    tokens: Int[np.ndarray, "w t"]
    """Padded on the right, where a causal model never looks back from."""
    row: Int[np.ndarray, " r"]
    """Index of each row."""
    window: Int[np.ndarray, " r"]
    """Which line of `tokens` each row stands in."""
    prompt_tokens: Int[np.ndarray, " r"]
    """How many tokens of that line are the row's prompt."""


def lay_out(
    windows: Windows, chosen: Int[np.ndarray, " w"], vocabulary: ItemVocabulary, shape: tuple[int, int] | None = None
) -> Trunks:
    """The tokens of the chosen windows, as many lines of as many tokens as they need, or filled up to `shape`."""
    history = windows.rows.history.take(windows.trunk_row[chosen])
    members = windows.members.take(chosen)
    tokens = vocabulary.prompts(history, None if shape is None else shape[1])
    if shape is not None:
        tokens = np.concatenate([tokens, np.full((shape[0] - len(tokens), shape[1]), vocabulary.pad)])
    return Trunks(
        tokens=tokens,
        row=members.values,
        window=members.owners,
        prompt_tokens=vocabulary.prompt_tokens(windows.rows.history.lengths[members.values]),
    )


def plan_steps(windows: Windows, *, batch_size: int, epochs: int, seed: int) -> list[list[Int[np.ndarray, " _"]]]:
    """For each epoch, for each optimizer step, the windows it takes: whole windows in an order of that epoch's own.

    A step takes windows until it has at least `batch_size` rows; a remainder too small for a step joins the last one.
    The order is a hash of the seed, the epoch and the window's first row: it does not depend on which other windows exist.
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
    windows: Windows, chosen: Int[np.ndarray, " _"], *, max_tokens: int, max_rows: int, split_saving: int
) -> Iterator[Int[np.ndarray, " _"]]:
    """Parts of one step that each fit a forward pass, longest windows first so that little is padding.

    Args:
        max_tokens: most tokens of one pass, padding included; a longer single window is a pass of its own.
        max_rows: most rows of one pass; a single window with more is a pass of its own.
        split_saving: a pass is also ended where the padding this saves in the remaining windows outweighs this many tokens,
            which is what another pass costs.
    """
    lengths = windows.rows.history.lengths[windows.trunk_row[chosen]] + 1
    order = np.argsort(-lengths, kind="stable")
    chosen, lengths, sizes = chosen[order], lengths[order], windows.members.lengths[chosen[order]]
    start = 0
    while start < len(chosen):
        width = int(lengths[start])
        end = min(start + max(1, max_tokens // width), len(chosen))
        within = int(np.searchsorted(np.cumsum(sizes[start:end]), max_rows, side="right"))
        end = start + max(1, min(end - start, within))
        # Ending at e narrows the windows from e on to lengths[e].
        saved = (width - lengths[start + 1 : end]) * (end - np.arange(start + 1, end))
        if len(saved) and saved.max() > split_saving:
            end = start + 1 + int(saved.argmax())
        yield chosen[start:end]
        start = end
