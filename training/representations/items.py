"""One token for each item of the catalogue. Dimensions: k histories, t tokens.

A representation says how an item becomes tokens and a history a prompt; the engine only sees tokens. Titles (text) and
semantic ids (several tokens an item) are further files of this folder with the same four names.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from training.tables import Ragged


@dataclass(frozen=True)
class ItemVocabulary:
    """Token k is item k; behind them come the token that begins every prompt and the one that fills up lines."""

    n_items: int

    @property
    def begin(self) -> int:
        """Stands first in every prompt, so that an empty history is a prompt too."""
        return self.n_items

    @property
    def pad(self) -> int:
        """Fills up lines; never scored, never seen by another token."""
        return self.n_items + 1

    @property
    def n_tokens(self) -> int:
        """Size of the vocabulary."""
        return self.n_items + 2

    def prompt_tokens(self, history_lengths: Int[np.ndarray, " k"]) -> Int[np.ndarray, " k"]:
        """Length of each prompt in tokens."""
        return history_lengths + 1

    def longest_history(self, context: int) -> int:
        """Most items of a history whose prompt fits `context` tokens."""
        return context - 1

    def prompts(self, histories: Ragged) -> Ragged:
        """Tokens of each history.

        >>> ItemVocabulary(n_items=5).prompts(Ragged.of([[3, 0], [4]])).padded(-1)
        array([[ 5,  3,  0],
               [ 5,  4, -1]])
        """
        tokens = np.insert(histories.values.astype(np.int64), histories.offsets[:-1], self.begin)
        return Ragged(tokens, histories.offsets + np.arange(len(histories.offsets)))
