"""One token for each item of the catalogue. Dimensions: k histories, t tokens."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from training.io.ragged import Ragged


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

    @property
    def n_scored(self) -> int:
        """All tokens that are items."""
        return self.n_items

    @property
    def completions(self) -> Ragged:
        """One token each."""
        return Ragged(np.arange(self.n_items), np.arange(self.n_items + 1))

    @property
    def bridge(self) -> Int[np.ndarray, " 0"]:
        """None: the next item follows the last one."""
        return np.zeros(0, dtype=np.int64)

    @property
    def n_candidates(self) -> int:
        """None: a prompt is only a history."""
        return 0

    def prompt_tokens(self, histories: Ragged, candidates: Ragged | None = None) -> Int[np.ndarray, " k"]:
        """Length of each prompt in tokens."""
        return histories.lengths + 1

    def fit(self, histories: Ragged, context: int, candidates: Ragged | None = None) -> Ragged:
        """Histories without the oldest items of those whose prompt is longer than the context."""
        return histories.last(context - 1)

    def prompts(self, histories: Ragged, candidates: Ragged | None = None) -> Ragged:
        """Tokens of each history.

        >>> ItemVocabulary(n_items=5).prompts(Ragged.of([[3, 0], [4]])).padded(-1)
        array([[ 5,  3,  0],
               [ 5,  4, -1]])
        """
        tokens = np.insert(histories.values.astype(np.int64), histories.offsets[:-1], self.begin)
        return Ragged(tokens, histories.offsets + np.arange(len(histories.offsets)))
