"""Negatives drawn without a look at their scores: uniformly, by popularity, from the targets of other rows of a batch.

A draw is a hash of the row: it does not depend on other rows drawn for, on their order, or on how many there are at a
time. Dimensions: r rows, i items, n draws, d proposals.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from contracts.config import Pool
from contracts.draws import Bits, random_bits
from training.io.ragged import Ragged
from training.io.rows import Rows

ABSENT = -1
"""Stands where a row has fewer items left than were asked for."""
Items = Int[np.ndarray, " _"]


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

    def propose(bits: Bits) -> Int[np.ndarray, "r d"]:
        return (bits % np.uint64(n_items)).astype(np.int64)

    def rest(row: int, left: Items) -> Items:
        return left[np.argsort(random_bits(seed, f"{stream}, rest", row_id[row, None], left), kind="stable")]

    return _draw(is_excluded, row_id, n, seed, stream, 2 * n + 16, propose, rest)


def draw_by_popularity(
    is_excluded: Bool[np.ndarray, "r i"],
    row_id: Int[np.ndarray, " r"],
    n: int,
    seed: int,
    popularity: Int[np.ndarray, " i"],
) -> Int[np.ndarray, "r n"]:
    """Distinct items, each drawn in proportion to its popularity among those neither excluded nor drawn before.

    Proposals in proportion to popularity, rejected as in `draw_uniform`. What a row lacks after those is drawn by the
    smallest of independent exponential times with the popularities as rates, which is the same law (Efraimidis and
    Spirakis 2006, https://doi.org/10.1016/j.ipl.2005.11.003). An item of popularity 0 is never drawn.
    """
    stream, cumulative = "popular negatives", np.cumsum(popularity)
    if cumulative[-1] == 0:
        return np.full((len(row_id), n), ABSENT)

    def propose(bits: Bits) -> Int[np.ndarray, "r d"]:
        return np.searchsorted(cumulative, (bits % np.uint64(cumulative[-1])).astype(np.int64), side="right")

    def rest(row: int, left: Items) -> Items:
        left = left[popularity[left] > 0]
        bits = random_bits(seed, f"{stream}, rest", row_id[row, None], left)
        chance = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return left[np.argsort(-np.log1p(-chance) / popularity[left], kind="stable")]

    return _draw(is_excluded, row_id, n, seed, stream, 4 * n + 32, propose, rest)


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

    def propose(bits: Bits) -> Int[np.ndarray, "r d"]:
        return batches.target[start[:, None] + (bits % size[:, None].astype(np.uint64)).astype(np.int64)]

    def rest(row: int, left: Items) -> Items:
        members = np.arange(start[row], start[row] + size[row])
        bits = random_bits(seed, f"{stream}, rest", row_id[row, None], batches.row_id[members])
        targets = batches.target[members[np.argsort(bits, kind="stable")]]
        _, first = np.unique(targets, return_index=True)
        distinct = targets[np.sort(first)]
        return distinct[np.isin(distinct, left)]

    return _draw(is_excluded, row_id, n, seed, stream, 2 * n + 16, propose, rest)


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


def is_repeat(items: Int[np.ndarray, "r n"]) -> Bool[np.ndarray, "r n"]:
    """True where the same item stands further left in its row.

    >>> is_repeat(np.array([[3, 1, 3, 1, 2]]))
    array([[False, False,  True,  True, False]])
    """
    order = np.argsort(items, axis=1, kind="stable")
    in_order = np.take_along_axis(items, order, axis=1)
    repeats = np.zeros(items.shape, dtype=bool)
    np.put_along_axis(repeats, order[:, 1:], in_order[:, 1:] == in_order[:, :-1], axis=1)
    return repeats


def _draw(
    is_excluded: Bool[np.ndarray, "r i"],
    row_id: Int[np.ndarray, " r"],
    n: int,
    seed: int,
    stream: str,
    n_proposals: int,
    propose: Callable[[Bits], Int[np.ndarray, "r d"]],
    rest: Callable[[int, Items], Items],
) -> Int[np.ndarray, "r n"]:
    """The first n proposals of each row that are neither excluded nor repeated; then what `rest` puts in order.

    Args:
        is_excluded: per row and item.
        row_id: of each row.
        n: to draw.
        seed: of the hashes.
        stream: of the hashes.
        n_proposals: to each row, of which `propose` makes items out of random bits.
        propose: bits [r d] → items [r d].
        rest: index of a row that is short, and its items that are neither excluded nor drawn → those that may be
            drawn, in the order in which they are.
    """
    n_rows = len(row_id)
    if n == 0 or n_rows == 0:
        return np.full((n_rows, n), ABSENT)
    drawn = propose(random_bits(seed, stream, row_id[:, None], np.arange(n_proposals)))
    is_fresh = ~np.take_along_axis(is_excluded, drawn, axis=1) & ~is_repeat(drawn)
    place = np.where(is_fresh, np.cumsum(is_fresh, axis=1) - 1, n)
    chosen = np.full((n_rows, n_proposals + 1), ABSENT)
    np.put_along_axis(chosen, np.minimum(place, n), drawn, axis=1)
    chosen = chosen[:, :n].copy()
    for row in np.flatnonzero((chosen == ABSENT).any(axis=1)):
        have = chosen[row][chosen[row] != ABSENT]
        left = np.setdiff1d(np.flatnonzero(~is_excluded[row]), have, assume_unique=True)
        more = rest(int(row), left)[: n - len(have)]
        chosen[row, : len(have) + len(more)] = np.concatenate([have, more])
    return chosen
