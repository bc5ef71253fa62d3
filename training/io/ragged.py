"""Lists of different lengths as two flat arrays: the form in which histories, tokens and negatives are held."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

Int32Array = Int[np.ndarray, " _"]


@dataclass(frozen=True)
class Ragged:
    """Lists of different lengths: list k is `values[offsets[k] : offsets[k + 1]]`."""

    values: Int32Array
    offsets: Int[np.ndarray, " k+1"]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, k: int) -> Int32Array:
        return self.values[self.offsets[k] : self.offsets[k + 1]]

    @property
    def lengths(self) -> Int[np.ndarray, " k"]:
        """Number of values in each list."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> Int[np.ndarray, " _"]:
        """The list of each value."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @classmethod
    def of(cls, lists: Sequence[Sequence[int]]) -> "Ragged":
        """From Python lists.

        >>> Ragged.of([[1, 2], [], [3]]).offsets
        array([0, 2, 2, 3])
        """
        values = np.array([value for row in lists for value in row], dtype=np.int32)
        return cls(values, np.concatenate([[0], np.cumsum([len(row) for row in lists])]).astype(np.int64))

    @classmethod
    def empty(cls, n: int) -> "Ragged":
        """So many lists without a value."""
        return cls(np.zeros(0, dtype=np.int32), np.zeros(n + 1, dtype=np.int64))

    @classmethod
    def joined(cls, parts: "Sequence[Ragged]") -> "Ragged":
        """The lists of all parts, in order."""
        lengths = np.concatenate([np.zeros(1, dtype=np.int64), *[part.lengths for part in parts]])
        return cls(np.concatenate([np.zeros(0, dtype=np.int32), *[part.values for part in parts]]), np.cumsum(lengths))

    def take(self, lists: Int[np.ndarray, " m"]) -> "Ragged":
        """The named lists, in that order."""
        lengths = self.offsets[1:][lists] - self.offsets[:-1][lists]  # of few among millions: not those of all
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
        return Ragged(self.values[np.repeat(self.offsets[lists], lengths) + within], offsets)

    def preceded(self, values: Int[np.ndarray, " n"]) -> "Ragged":
        """Each list preceded by the same values.

        >>> Ragged.of([[1, 2], [3]]).preceded(np.array([7])).values
        array([7, 1, 2, 7, 3], dtype=int32)
        """
        n = len(values)
        joined = np.insert(self.values, np.repeat(self.offsets[:-1], n), np.tile(values, len(self)))
        return Ragged(joined, self.offsets + n * np.arange(len(self.offsets)))

    def followed(self, values: Int[np.ndarray, " n"]) -> "Ragged":
        """Each list followed by the same values.

        >>> Ragged.of([[1, 2], [3]]).followed(np.array([7])).values
        array([1, 2, 7, 3, 7], dtype=int32)
        """
        n = len(values)
        joined = np.insert(self.values, np.repeat(self.offsets[1:], n), np.tile(values, len(self)))
        return Ragged(joined, self.offsets + n * np.arange(len(self.offsets)))

    def beside(self, others: "Ragged") -> "Ragged":
        """Each list followed by the list of the same index in `others`.

        >>> Ragged.of([[1, 2], [3]]).beside(Ragged.of([[4], []])).padded(-1)
        array([[ 1,  2,  4],
               [ 3, -1, -1]])
        """
        pairs = Ragged.joined([self, others]).take(np.arange(2 * len(self)).reshape(2, -1).T.reshape(-1))
        return Ragged(pairs.values, pairs.offsets[::2])

    def last(self, n: "int | Int[np.ndarray, ' k']") -> "Ragged":
        """The last n values of each list; a shorter list stays whole."""
        keep = np.minimum(self.lengths, n)
        offsets = np.concatenate([[0], np.cumsum(keep)]).astype(np.int64)
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], keep)
        return Ragged(self.values[np.repeat(self.offsets[1:] - keep, keep) + within], offsets)

    def distinct(self) -> "Ragged":
        """Each list without repeats; the first of equal values stays.

        >>> Ragged.of([[2, 1, 2], [2]]).distinct().values
        array([2, 1, 2], dtype=int32)
        """
        owners = self.owners
        order = np.lexsort((self.values, owners))  # stable: of equal values the first stays first
        repeats = (np.diff(owners[order]) == 0) & (np.diff(self.values[order]) == 0)
        is_kept = np.ones(len(self.values), dtype=bool)
        is_kept[order[1:][repeats]] = False
        lengths = np.bincount(owners[is_kept], minlength=len(self))
        return Ragged(self.values[is_kept], np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))

    def padded(self, fill: int, width: int | None = None) -> Int[np.ndarray, "k w"]:
        """One row for each list, filled up with `fill` on the right.

        >>> Ragged.of([[1, 2], [3]]).padded(-1)
        array([[ 1,  2],
               [ 3, -1]])
        """
        lengths = self.lengths
        table = np.full((len(self), int(lengths.max(initial=0)) if width is None else width), fill, dtype=np.int64)
        owners = self.owners
        table[owners, np.arange(len(self.values)) - self.offsets[owners]] = self.values
        return table
