"""Several tokens for each item: what semantic ids and titles come down to. Dimensions: k histories, i items."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Int
from safetensors import safe_open
from safetensors.numpy import save_file

from training.io.ragged import Ragged
from training.representations import Representation
from training.representations.items import ItemVocabulary

TOKENS = "tokens.safetensors"
"""The file in a policy's folder that holds the token lists, so that a policy needs nothing beside its folder."""
LISTING = ("separator", "between", "tail")


@dataclass(frozen=True)
class Listing:
    """How a prompt lists its candidates: before the history, or behind it."""

    n: int
    """Candidates of each prompt."""
    is_first: bool
    """Whether they stand before the history."""
    separator: Int[np.ndarray, " _"]
    """Tokens between two candidates."""
    between: Int[np.ndarray, " _"]
    """Tokens between the candidates and the history."""
    tail: Int[np.ndarray, " _"]
    """Tokens behind both, which end the prompt."""
    pieces: Ragged
    """The separator, then the tokens of each item; the first of a list stands without it."""

    def of(self, candidates: Ragged) -> Ragged:
        """The tokens of each list."""
        pieces = self.pieces.take(candidates.values)
        lists = Ragged(pieces.values, pieces.offsets[candidates.offsets])
        return lists.last(np.maximum(lists.lengths - len(self.separator), 0))

    def tokens(self, candidates: Ragged) -> Int[np.ndarray, " k"]:
        """How many tokens a prompt has more for its list and what stands around it."""
        before = np.concatenate([[0], np.cumsum(self.pieces.lengths[candidates.values])]).astype(np.int64)
        lists = np.diff(before[candidates.offsets]) - len(self.separator)
        return lists + len(self.between) + len(self.tail)


@dataclass(frozen=True)
class TokenLists:
    """A prompt is `start`, then the `pieces` of a history; a completion follows it, behind the `bridge`."""

    n_tokens: int
    """Size of the vocabulary."""
    n_scored: int
    """The first so many tokens share all the probability."""
    pad: int
    """Fills up lines; never scored, never seen by another token."""
    start: Int[np.ndarray, " _"]
    """Stands first in every prompt; at least one token, so that an empty history is a prompt too."""
    bridge: Int[np.ndarray, " _"]
    """Tokens between a history and what follows it; given, not scored."""
    pieces: Ragged
    """The tokens of each item in a history."""
    completions: Ragged
    """The tokens of each item that are scored."""
    files: dict[str, bytes] = field(default_factory=dict)
    """What else belongs into a policy's folder: the tokeniser."""
    listing: Listing | None = None
    """How a prompt lists its candidates; then there is no bridge, and every call here must be given the candidates."""

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return len(self.completions)

    @property
    def n_candidates(self) -> int:
        """How many candidates each prompt lists; 0, where it is a history alone."""
        return 0 if self.listing is None else self.listing.n

    def prompts(self, histories: Ragged, candidates: Ragged | None = None) -> Ragged:
        """Tokens of each prompt. Without candidates, where a history begins another its tokens begin those of it."""
        pieces = self.pieces.take(histories.values)
        lines = Ragged(pieces.values.astype(np.int64), pieces.offsets[histories.offsets])
        if self.listing is None:
            return lines.preceded(self.start)
        listed = self.listing.of(self._given(candidates))
        first, second = (listed, lines) if self.listing.is_first else (lines, listed)
        return first.preceded(self.start).followed(self.listing.between).beside(second).followed(self.listing.tail)

    def prompt_tokens(self, histories: Ragged, candidates: Ragged | None = None) -> Int[np.ndarray, " k"]:
        """Length of each prompt in tokens."""
        lengths = len(self.start) + np.diff(self._tokens_before(histories)[histories.offsets])
        return lengths if self.listing is None else lengths + self.listing.tokens(self._given(candidates))

    def fit(self, histories: Ragged, context: int, candidates: Ragged | None = None) -> Ragged:
        """Histories without their oldest items, as far as prompt, bridge and any completion need the space.

        Raises:
            ValueError: the context cannot hold one item and any other, behind any of the lists of candidates.
        """
        longest = int(self.completions.lengths.argmax())
        fixed = len(self.start) + len(self.bridge) + int(self.completions.lengths[longest]) - 1  # the last is not fed
        holds, remedy = "a prompt with", "Raise it, or shorten these items."
        if self.listing is not None:
            listed = self.listing.tokens(self._given(candidates))
            fixed = fixed + listed
            n = self.listing.n
            holds = f"a prompt with its {n} candidates (up to {listed.max(initial=0)} tokens),"
            remedy = "Raise it, list fewer candidates, or shorten these items."
        widest = int(self.pieces.lengths.argmax())
        needed = int(np.max(fixed, initial=0)) + int(self.pieces.lengths[widest])
        if needed > context:
            raise ValueError(
                f"backbone.context must hold {holds} the longest item (item_id {widest}) and the longest "
                f"completion (item_id {longest}), {needed} tokens, got {context}. {remedy}"
            )
        before = self._tokens_before(histories)
        ends = histories.offsets[1:]
        first = np.searchsorted(before, before[ends] - (context - fixed))
        return histories.last(ends - np.maximum(first, histories.offsets[:-1]))

    @staticmethod
    def _given(candidates: Ragged | None) -> Ragged:
        if candidates is None:
            raise ValueError("a prompt that lists candidates must be given them, got a history alone. Name the list.")
        return candidates

    def _tokens_before(self, histories: Ragged) -> Int[np.ndarray, " _"]:
        return np.concatenate([[0], np.cumsum(self.pieces.lengths[histories.values])]).astype(np.int64)


def refuse_ambiguity(completions: Ragged, names: list[str], what: str, advice: str) -> None:
    """Stops where an item has no tokens, or where the tokens of one item are, or begin, those of another.

    Raises:
        ValueError: naming the items.
    """
    if len(completions) and completions.lengths.min() == 0:
        item = int(completions.lengths.argmin())
        raise ValueError(f"{what} must not be empty, got none for item {names[item]!r}. {advice}")
    lists = sorted((completions[item].tolist(), item) for item in range(len(completions)))
    clashes = [
        (lists[k][1], lists[k + 1][1])
        for k in range(len(lists) - 1)
        if lists[k + 1][0][: len(lists[k][0])] == lists[k][0]
    ]
    if clashes:
        shown = ", ".join(f"{names[a]!r} and {names[b]!r}" for a, b in clashes[:3])
        raise ValueError(
            f"{what} must tell any two items apart, got the same, or one that begins the other, "
            f"{len(clashes)} times: {shown}. {advice}"
        )


def save_representation(representation: Representation, folder: Path) -> list[str]:
    """Writes what the policy card cannot hold; returns the names of the files."""
    if not isinstance(representation, TokenLists):
        return []
    arrays = {
        "start": representation.start,
        "bridge": representation.bridge,
        "pieces": representation.pieces.values,
        "pieces.offsets": representation.pieces.offsets,
        "completions": representation.completions.values,
        "completions.offsets": representation.completions.offsets,
    }
    listing = representation.listing
    if listing is not None:
        arrays |= {f"listing.{name}": getattr(listing, name) for name in LISTING}
        arrays |= {"listing.pieces": listing.pieces.values, "listing.pieces.offsets": listing.pieces.offsets}
    sizes = {name: getattr(representation, name) for name in ("n_tokens", "n_scored", "pad")}
    metadata = {"sizes": json.dumps(sizes), "files": json.dumps(sorted(representation.files))}
    if listing is not None:
        metadata["listing"] = json.dumps({"n": listing.n, "is_first": listing.is_first})
    save_file({name: array.astype(np.int64) for name, array in arrays.items()}, folder / TOKENS, metadata=metadata)
    for name, content in representation.files.items():
        (folder / name).write_bytes(content)
    return [TOKENS, *sorted(representation.files)]


def load_representation(folder: Path, n_items: int) -> Representation:
    """What `save_representation` wrote; one token an item, if it wrote nothing."""
    if not (folder / TOKENS).is_file():
        return ItemVocabulary(n_items)
    with safe_open(folder / TOKENS, framework="np") as file:
        metadata = file.metadata()
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (safe_open is no mapping)
    listing = None
    if "listing" in metadata:
        listing = Listing(
            **json.loads(metadata["listing"]),
            **{name: arrays[f"listing.{name}"] for name in LISTING},
            pieces=Ragged(arrays["listing.pieces"], arrays["listing.pieces.offsets"]),
        )
    return TokenLists(
        **json.loads(metadata["sizes"]),
        start=arrays["start"],
        bridge=arrays["bridge"],
        pieces=Ragged(arrays["pieces"], arrays["pieces.offsets"]),
        completions=Ragged(arrays["completions"], arrays["completions.offsets"]),
        files={name: (folder / name).read_bytes() for name in json.loads(metadata["files"])},
        listing=listing,
    )
