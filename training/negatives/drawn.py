"""Negatives drawn without a look at their scores: uniformly, by popularity, from the targets of other rows of a batch.

A draw is a hash of the row: it does not depend on other rows drawn for, on their order, or on how many there are at a
time. Dimensions: r rows, i items, n draws, d proposals.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from contracts.config import Pool
from contracts.distinct import ABSENT, draw_by_weight, draw_distinct
from contracts.draws import random_bits, unit
from training.io.ragged import Ragged
from training.io.rows import Rows

Items = Int[np.ndarray, "..."]


def touched_or_target(touched: Ragged, rows: Rows, n_items: int) -> Bool[np.ndarray, "r i"]:
    """What is never drawn for a row: the items that its user touched in train, by user in `touched`, and its target."""
    found = np.zeros((len(rows), n_items), dtype=bool)
    seen = touched.take(rows.user_id)
    found[seen.owners, seen.values] = True
    found[np.arange(len(rows)), rows.target] = True
    return found


def draw_uniform(
    is_excluded: Bool[np.ndarray, "r i"],
    row_id: Int[np.ndarray, " r"],
    n: int,
    seed: int,
    *,
    stream: str = "uniform negatives",
) -> Int[np.ndarray, "r n"]:
    """Distinct items drawn uniformly from those not excluded; ABSENT where a row has fewer.

    Draw j of a row is a hash of (stream, seed, row id, j); excluded and repeated items are rejected. The few rows left
    short by that order their remaining items by a hash of (stream, seed, row id, item).
    """
    n_items = is_excluded.shape[1]

    def propose(rows: Items, start: int, stop: int) -> Items:
        bits = random_bits(seed, stream, row_id[rows, None], np.arange(start, stop))
        return (bits % np.uint64(n_items)).astype(np.int64)

    def rest(row: int, have: Items) -> Items:
        left = np.setdiff1d(np.flatnonzero(~is_excluded[row]), have, assume_unique=True)
        return left[np.argsort(random_bits(seed, f"{stream}, rest", row_id[row, None], left), kind="stable")]

    return draw_distinct(len(row_id), n, propose, lambda *at: _cells(is_excluded, *at), rest, proposals=2 * n + 16)


def draw_by_popularity(
    is_excluded: Bool[np.ndarray, "r i"],
    row_id: Int[np.ndarray, " r"],
    n: int,
    seed: int,
    popularity: Int[np.ndarray, " i"],
) -> Int[np.ndarray, "r n"]:
    """Distinct items, each drawn in proportion to its popularity among those neither excluded nor drawn before.

    ABSENT where a row has fewer; an item of popularity 0 is never drawn. Numbers are hashes as in `draw_uniform`.
    """
    stream = "popular negatives"

    def numbers(rows: Items, start: int, stop: int, limit: int) -> Items:
        bits = random_bits(seed, stream, row_id[rows, None], np.arange(start, stop))
        return (bits % np.uint64(limit)).astype(np.int64)

    def chances(row: int, items: Items) -> Float[np.ndarray, " _"]:
        return unit(random_bits(seed, f"{stream}, rest", row_id[row, None], items))

    return draw_by_weight(
        popularity,
        len(row_id),
        n,
        numbers,
        chances,
        lambda *at: _cells(is_excluded, *at),
        proposals=4 * n + 32,
    )


@dataclass(frozen=True)
class Batches:
    """All train rows in batches: put in an order by a hash of (seed, row id), and cut into parts of equal size."""

    row_id: Int[np.ndarray, " r"]
    """Batch by batch."""
    target: Int[np.ndarray, " r"]
    starts: Int[np.ndarray, " b+1"]
    """Batch k is `starts[k] : starts[k + 1]`."""
    by_id: Int[np.ndarray, " r"]
    """What puts `row_id` in ascending order."""

    @classmethod
    def of(cls, row_id: Int[np.ndarray, " r"], target: Int[np.ndarray, " r"], size: int, seed: int) -> "Batches":
        """Batches of at most `size` rows, all of the same size or one less."""
        order = np.lexsort((row_id, random_bits(seed, "in-batch negatives, batches", row_id)))
        n_batches = -(-len(row_id) // size)
        starts = np.arange(n_batches + 1) * len(row_id) // max(n_batches, 1)
        row_id = row_id[order]
        return cls(row_id, target[order], starts, np.argsort(row_id))

    def spans(self, row_id: Int[np.ndarray, " m"]) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
        """Where the batch of each row starts and how many rows it has."""
        position = self.by_id[np.searchsorted(self.row_id, row_id, sorter=self.by_id)]
        batch = np.searchsorted(self.starts, position, side="right") - 1
        return self.starts[batch], self.starts[batch + 1] - self.starts[batch]


def draw_in_batch(
    is_excluded: Bool[np.ndarray, "r i"], row_id: Int[np.ndarray, " r"], n: int, seed: int, batches: Batches
) -> Int[np.ndarray, "r n"]:
    """Distinct targets of other rows of a row's batch, none excluded; ABSENT where the batch has fewer.

    Rows of the batch are drawn uniformly, so a target comes as often as it is one: by popularity, nearly. A row's own
    target has to be among the excluded.
    """
    stream = "in-batch negatives"
    start, size = batches.spans(row_id)

    def propose(rows: Items, first: int, stop: int) -> Items:
        bits = random_bits(seed, stream, row_id[rows, None], np.arange(first, stop))
        return batches.target[start[rows, None] + (bits % size[rows, None].astype(np.uint64)).astype(np.int64)]

    def rest(row: int, have: Items) -> Items:
        members = np.arange(start[row], start[row] + size[row])
        bits = random_bits(seed, f"{stream}, rest", row_id[row, None], batches.row_id[members])
        targets = batches.target[members[np.argsort(bits, kind="stable")]]
        _, first = np.unique(targets, return_index=True)
        distinct = targets[np.sort(first)]
        return distinct[~is_excluded[row, distinct] & ~np.isin(distinct, have)]

    return draw_distinct(len(row_id), n, propose, lambda *at: _cells(is_excluded, *at), rest, proposals=2 * n + 16)


@dataclass(frozen=True)
class BlindMiners:
    """Draws what a pool holds beside the hardest and the uniform negatives."""

    pool: Pool
    seed: int
    popularity: Int[np.ndarray, " i"]
    """Train interactions of each item."""
    batches: Batches
    """Of all train rows."""

    def draw(self, is_touched: Bool[np.ndarray, "r i"], row_id: Int[np.ndarray, " r"]) -> Int[np.ndarray, "r n"]:
        """In-batch negatives, then popular ones: as many columns as the pool asks for, or the catalogue has items."""
        n_items, parts = is_touched.shape[1], [np.full((len(row_id), 0), ABSENT)]
        if self.pool.in_batch:
            n = min(self.pool.in_batch, n_items)
            parts.append(draw_in_batch(is_touched, row_id, n, self.seed, self.batches))
        if self.pool.popularity:
            n = min(self.pool.popularity, n_items)
            parts.append(draw_by_popularity(is_touched, row_id, n, self.seed, self.popularity))
        return np.concatenate(parts, axis=1)


def _cells(table: Bool[np.ndarray, "r i"], rows: Items, items: Items) -> Bool[np.ndarray, "k c"]:
    return table[rows[:, None], items]
