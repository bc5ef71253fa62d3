"""How items become tokens.

A representation gives every item its tokens and every history a prompt; the engine sees tokens only.
"""

from typing import Protocol

import numpy as np
from jaxtyping import Int

from training.io.ragged import Ragged


class Representation(Protocol):
    """What the engine asks. Dimensions: k histories."""

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        ...

    @property
    def n_tokens(self) -> int:
        """Size of the vocabulary."""
        ...

    @property
    def n_scored(self) -> int:
        """The first so many tokens share all the probability: others are never in a completion."""
        ...

    @property
    def pad(self) -> int:
        """Fills up lines; never scored, never seen by another token."""
        ...

    @property
    def completions(self) -> Ragged:
        """The tokens of each item, which are what is scored; no item's tokens begin those of another."""
        ...

    @property
    def bridge(self) -> Int[np.ndarray, " _"]:
        """Tokens between a history and what follows it, the same for all rows; given, not scored."""
        ...

    @property
    def n_candidates(self) -> int:
        """How many candidates each prompt lists; 0, where it is only a history. The others here are then asked for."""
        ...

    def prompts(self, histories: Ragged, candidates: Ragged | None = None) -> Ragged:
        """Tokens of each prompt. Without candidates, where a history begins another its tokens begin those of it."""
        ...

    def prompt_tokens(self, histories: Ragged, candidates: Ragged | None = None) -> Int[np.ndarray, " k"]:
        """Length of each prompt in tokens."""
        ...

    def fit(self, histories: Ragged, context: int, candidates: Ragged | None = None) -> Ragged:
        """Histories without their oldest items, as far as prompt, bridge and any completion need the space.

        Raises:
            ValueError: the context cannot hold one item and any other, behind any of the lists of candidates.
        """
        ...
