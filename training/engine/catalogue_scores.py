"""Log-probabilities of the catalogue, or of the items asked for, for many rows. Dimensions: r rows, i items.

A row's scores must not depend on which rows are scored beside it. Rounding differs between matrix shapes, so every pass
has one of a few fixed shapes, chosen by the length of the row's trunk, and the output layer sees blocks of one size.
"""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from training.engine.logps import catalogue_logps
from training.engine.policy import Policy
from training.engine.trie_scores import trie_scores
from training.engine.windows import ItemsOf, Windows, cut, lay_out, pass_widths

PASS_TOKENS = 8192
"""Tokens of one pass: as many lines of the padded width as fit."""
BLOCK_ROWS = 512
"""Rows of one output block."""


@torch.no_grad()
def catalogue_scores(policy: Policy, windows: Windows) -> Iterator[tuple[Int[np.ndarray, " r"], Float[Tensor, "r i"]]]:
    """For all rows, block by block: indices of rows, and their log-probabilities over the catalogue (nats, float32).

    Where an item is one token, one state after each history scores them all; elsewhere the catalogue's trie is walked
    after each history.
    """
    with policy.in_evaluation():
        yield from (_direct_scores if policy.is_direct else trie_scores)(policy, windows)


@torch.no_grad()
def item_scores(
    policy: Policy, windows: Windows, items_of: ItemsOf
) -> Iterator[tuple[Int[np.ndarray, " r"], Float[Tensor, "r c"]]]:
    """For all rows, pass by pass: indices of rows, and the log-probabilities of the items asked for (nats, float32)."""
    if policy.is_direct:  # one state scores them all
        for row, logps in catalogue_scores(policy, windows):
            yield row, logps.gather(1, policy.tensor(items_of(row)).long())
        return
    with policy.in_evaluation():
        for part in cut(windows, policy.vocabulary, items_of, max_tokens=PASS_TOKENS, max_rows=len(windows.rows)):
            trunks = lay_out(windows, part, policy.vocabulary)
            yield trunks.row, policy.item_logps(trunks, items_of(trunks.row)).float()


def _direct_scores(policy: Policy, windows: Windows) -> Iterator[tuple[np.ndarray, Tensor]]:
    widths = pass_widths(windows.rows.history.lengths[windows.trunk_row] + 1)
    waiting_rows: list[np.ndarray] = []
    waiting_states: list[Tensor] = []
    n_waiting = 0
    for width in np.unique(widths)[::-1].tolist():
        chosen = np.flatnonzero(widths == width)
        lines = max(1, PASS_TOKENS // width)
        for start in range(0, len(chosen), lines):
            trunks = lay_out(windows, chosen[start : start + lines], policy.vocabulary, (lines, width))
            waiting_rows.append(trunks.row)
            waiting_states.append(policy.states(trunks))
            n_waiting += len(trunks.row)
            if n_waiting >= BLOCK_ROWS:
                rows, states = np.concatenate(waiting_rows), torch.cat(waiting_states)
                whole = n_waiting - n_waiting % BLOCK_ROWS
                yield from _blocks(policy, rows[:whole], states[:whole])
                waiting_rows, waiting_states, n_waiting = [rows[whole:]], [states[whole:]], n_waiting - whole
    if n_waiting:
        yield from _blocks(policy, np.concatenate(waiting_rows), torch.cat(waiting_states))


def _blocks(policy: Policy, rows: np.ndarray, states: Tensor) -> Iterator[tuple[np.ndarray, Tensor]]:
    for start in range(0, len(rows), BLOCK_ROWS):
        block = states[start : start + BLOCK_ROWS]
        n = len(block)
        if n < BLOCK_ROWS:
            block = torch.cat([block, block.new_zeros(BLOCK_ROWS - n, block.shape[1])])
        yield rows[start : start + n], catalogue_logps(block, policy.head)[:n]
